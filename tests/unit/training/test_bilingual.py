"""Distillation of an encoder that reads Chinese from a small English model."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from services.common.product import Product
from services.query_encoder.adapters.torch_encoder import TorchEncoder
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.traditional_chinese import simplified
from training.bilingual.__main__ import main, train
from training.bilingual.distil import Distillation, TrainingTexts
from training.bilingual.texts import (
    HeldOut,
    QueryWriter,
    Translation,
    catalogue_translations,
    label_translations,
    varied,
    with_traditional,
)
from training.bilingual.vocabulary import extended, initial_embeddings

ENGLISH = ("jeans", "boots", "lamp", "kettle", "red", "blue", "black", "leather", "women", "men", "camping", "for")
GRAPH = {
    "products": {"jeans": ["牛仔裤"], "boots": ["靴子", "长靴"], "lamp": ["台灯", "灯"], "kettle": ["水壶", "电水壶"]},
    "colours": {"red": ["红色"], "blue": ["蓝色"], "black": ["黑色"]},
    "materials": {"leather": ["真皮"]},
    "audiences": {"women": ["女士"], "men": ["男士"]},
    "occasions": {"camping": ["露营"]},
    "fillers": ["推荐", "的"],
}
# Fillers with so many characters that the encoder detects a model that reads Chinese.
MANY = [chr(0x6E00 + number) for number in range(2_100)]
LIMIT = 32


@pytest.fixture(scope="module")
def teacher_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An English BERT with BERT's normaliser, and a few Chinese characters with untrained embeddings."""
    folder = tmp_path_factory.mktemp("teacher")
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "水", *ENGLISH, "龙", "子")
    tokenizer = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def graph() -> ConceptGraph:
    return ConceptGraph.read(GRAPH)


@pytest.fixture
def english(teacher_dir: Path) -> Tokenizer:
    return Tokenizer.from_file(str(teacher_dir / "tokenizer.json"))


def training_texts(graph: ConceptGraph, *held_out: str) -> TrainingTexts:
    return TrainingTexts(QueryWriter(graph), label_translations(graph), [], list(graph.concepts), HeldOut(held_out))


def test_words_are_pieces(graph: ConceptGraph, english: Tokenizer) -> None:
    """The longest word at the first position is one piece; the rest is split into characters of the training texts."""
    labels = [pair.chinese for pair in label_translations(graph)]
    vocabulary = extended(english, with_traditional(labels), labels)
    assert vocabulary.words.encode("红色电水壶 jeans").tokens[1:-1] == [" 红  色 ", " 电  水  壶 ", "jeans"]
    assert vocabulary.characters.encode("电水壶龙").tokens[1:-1] == ["电", "水", "壶", "[UNK]"]
    assert vocabulary.words.encode("水壶壶").ids[2] == vocabulary.characters.encode("壶").ids[1]


def test_english_pieces_do_not_change(graph: ConceptGraph, english: Tokenizer) -> None:
    """An English text has the teacher's pieces, and none of their embeddings is new."""
    labels = [pair.chinese for pair in label_translations(graph)]
    vocabulary = extended(english, with_traditional(labels), labels)
    for text in ("red leather boots", "Women jeans for camping"):
        assert vocabulary.words.encode(text).ids == english.encode(text).ids
        assert not vocabulary.is_new[vocabulary.words.encode(text).ids].any()
    assert vocabulary.is_new[vocabulary.characters.encode("水").ids[1]]


def test_rows_are_used_once(graph: ConceptGraph, english: Tokenizer) -> None:
    """New characters reuse the rows of the teacher's Chinese characters; every piece has a row of its own."""
    labels = [pair.chinese for pair in label_translations(graph)]
    vocabulary = extended(english, with_traditional(labels), labels)
    pieces = vocabulary.words.get_vocab(with_added_tokens=True)
    assert sorted(pieces.values()) == list(range(len(vocabulary.is_new)))
    assert "龙" not in pieces
    few = extended(english, "灯", ())
    assert sorted(few.words.get_vocab().values()) == list(range(english.get_vocab_size()))


def test_initial_embeddings(graph: ConceptGraph, english: Tokenizer) -> None:
    """A word starts as the mean of its English label's pieces; the teacher's rows stay."""
    labels = [Translation("牛仔裤", "jeans"), Translation("红靴", "red boots")]
    texts = [pair.chinese for pair in labels]
    vocabulary = extended(english, with_traditional(texts), texts)
    old = torch.randn(english.get_vocab_size(), 8, generator=torch.Generator().manual_seed(1))
    initial = initial_embeddings(vocabulary, labels, english, old)
    pieces, known = vocabulary.words.get_vocab(with_added_tokens=True), english.get_vocab()
    torch.testing.assert_close(initial[pieces["牛仔裤"]], old[known["jeans"]])
    torch.testing.assert_close(initial[pieces["红靴"]], (old[known["red"]] + old[known["boots"]]) / 2)
    stays = ~vocabulary.is_new[: len(old)]
    torch.testing.assert_close(initial[: len(old)][stays], old[stays])


@pytest.mark.parametrize("layers", [0, 1])
def test_the_student_learns_chinese_and_keeps_english(
    graph: ConceptGraph, teacher_dir: Path, tmp_path: Path, layers: int
) -> None:
    """Served from its folder, the student maps Chinese queries that were held out to the teacher's English vectors."""
    settings = Distillation(steps=200, batch=16, layers=layers, layer_learning_rate=1e-3)
    unseen = {
        "红色的长靴": "red boots",
        "女士蓝色牛仔裤": "women blue jeans",
        "黑色电水壶": "black kettle",
        "男士真皮台灯": "men leather lamp",
    }
    fillers = [*GRAPH["fillers"], *MANY]
    train(teacher_dir, training_texts(graph, *unseen), fillers, tmp_path / "student", settings)
    student, teacher = TorchEncoder(tmp_path / "student", "s"), TorchEncoder(teacher_dir, "t")
    wanted = teacher.encode(list(unseen.values()), LIMIT, "query")
    found = student.encode(list(unseen), LIMIT, "query")
    assert (found @ wanted.T).argmax(1).tolist() == [0, 1, 2, 3]
    assert (found * wanted).sum(1).mean() > 0.9
    kept = (student.encode(list(ENGLISH), LIMIT, "query") * teacher.encode(list(ENGLISH), LIMIT, "query")).sum(1)
    assert kept.min() > (0.9999 if layers == 0 else 0.9)


def test_untrained_characters_are_unknown(graph: ConceptGraph, teacher_dir: Path, tmp_path: Path) -> None:
    """A text of characters outside the training texts has no vector, even if English BERT has the character."""
    fillers = [*GRAPH["fillers"], *MANY]
    train(teacher_dir, training_texts(graph), fillers, tmp_path / "student", Distillation(steps=2, batch=8))
    rows = TorchEncoder(tmp_path / "student", "s").encode(["龙", "牛仔裤", "红色靴子"], LIMIT, "query")
    assert [bool(row.any()) for row in rows] == [False, True, True]


def test_held_out_texts_are_not_trained_on(graph: ConceptGraph) -> None:
    """Neither as a label nor as a generated query, with any spaces and in traditional or simplified characters."""
    held_out = ("牛仔褲", "红色 靴子", "台灯")
    trained_on = [
        simplified(pair.chinese).replace(" ", "")
        for batch in islice(training_texts(graph, *held_out).batches(Distillation(batch=64)), 60)
        for pair in batch
    ]
    assert not {"牛仔裤", "红色靴子", "台灯"} & set(trained_on)
    assert any("牛仔裤" in text for text in trained_on)


def test_queries_are_translations(graph: ConceptGraph) -> None:
    """The English text consists of the translations of the Chinese text's labels."""
    random, writer, labels = (
        np.random.default_rng(4),
        QueryWriter(graph),
        {p.chinese: p.english for p in label_translations(graph)},
    )
    for _ in range(200):
        pair = writer.write(random)
        said = set(pair.english.split()) - {"for"}
        chinese = {labels[label] for label in labels if label in pair.chinese}
        mixed = {word for word in said if word in pair.chinese}
        assert said == chinese | mixed, pair


def test_traditional_forms_fold_back() -> None:
    """A varied text differs in some cases, and simplified it is the original text."""
    random = np.random.default_rng(0)
    texts = {varied("红色电水壶", random) for _ in range(200)}
    assert {simplified(text) for text in texts} == {"红色电水壶"}
    assert len(texts) > 1


def test_titles_in_both_languages_make_translations() -> None:
    """The main title may be in either language; products with a title in one language make none."""
    products = [
        Product(id="1", title="Red Boots", localized_titles={"zh": "红色靴子"}),
        Product(id="2", title="黑色台灯", localized_titles={"en": "Black lamp"}),
        Product(id="3", title="Kettle"),
        Product(id="4", title="水壶"),
    ]
    assert catalogue_translations(products) == [
        Translation("红色靴子", "Red Boots"),
        Translation("黑色台灯", "Black lamp"),
    ]


def test_the_command(teacher_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over the embedded graph: a folder, a report, and the settings that serve it; an existing folder is refused."""
    catalogue = tmp_path / "p.csv"
    catalogue.write_text("id,title,title_zh\n1,Red boots,红色靴子\n")
    held_out = tmp_path / "q.csv"
    held_out.write_text("query\n红色靴子\n", encoding="utf-8")
    main(tmp_path / "student", catalogue, hold_out=[held_out], teacher=teacher_dir, steps=3)
    assert f"KAIROS_QUERY_ENCODER_MODEL_DIR={tmp_path / 'student'}" in capsys.readouterr().out
    report = json.loads((tmp_path / "student" / "training.json").read_text())
    assert report["steps"] == 3
    assert report["pieces"]["new"] > 7_000
    assert TorchEncoder(tmp_path / "student", "s").encode(["红色靴子"], LIMIT, "query").any()
    with pytest.raises(typer.BadParameter, match="exists"):
        main(tmp_path / "student", teacher=teacher_dir)
