"""A student that reads Chinese, taught by a small English model made here."""

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
from training.bilingual.distil import Distillation, Lessons
from training.bilingual.texts import HeldOut, Pair, QueryWriter, catalogue_pairs, label_pairs, varied, with_traditional
from training.bilingual.vocabulary import extended, first_embeddings

ENGLISH = ("jeans", "boots", "lamp", "kettle", "red", "blue", "black", "leather", "women", "men", "camping", "for")
GRAPH = {
    "products": {"jeans": ["牛仔裤"], "boots": ["靴子", "长靴"], "lamp": ["台灯", "灯"], "kettle": ["水壶", "电水壶"]},
    "colours": {"red": ["红色"], "blue": ["蓝色"], "black": ["黑色"]},
    "materials": {"leather": ["真皮"]},
    "audiences": {"women": ["女士"], "men": ["男士"]},
    "occasions": {"camping": ["露营"]},
    "fillers": ["推荐", "的"],
}
# So many that the encoder takes the model for one that reads Chinese; no text of the tests has them but as fillers.
MANY = [chr(0x6E00 + number) for number in range(2_100)]
LIMIT = 32


@pytest.fixture(scope="module")
def teacher_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An English BERT with BERT's own normaliser, and a few Chinese characters that mean nothing to it."""
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


def lessons(graph: ConceptGraph, *held_out: str) -> Lessons:
    return Lessons(QueryWriter(graph), label_pairs(graph), [], list(graph.concepts), HeldOut(held_out))


def test_words_are_pieces_and_the_rest_is_characters(graph: ConceptGraph, english: Tokenizer) -> None:
    """The longest word that begins first is one piece; what no word covers is read by characters, taught ones only."""
    labels = [pair.chinese for pair in label_pairs(graph)]
    vocabulary = extended(english, with_traditional(labels), labels)
    assert vocabulary.whole.encode("红色电水壶 jeans").tokens[1:-1] == [" 红  色 ", " 电  水  壶 ", "jeans"]
    assert vocabulary.characters.encode("电水壶龙").tokens[1:-1] == ["电", "水", "壶", "[UNK]"]
    assert vocabulary.whole.encode("水壶壶").ids[2] == vocabulary.characters.encode("壶").ids[1]


def test_english_is_read_as_before(graph: ConceptGraph, english: Tokenizer) -> None:
    """An English text has the very pieces that it had, and none of their rows is fresh."""
    labels = [pair.chinese for pair in label_pairs(graph)]
    vocabulary = extended(english, with_traditional(labels), labels)
    for text in ("red leather boots", "Women jeans for camping"):
        assert vocabulary.whole.encode(text).ids == english.encode(text).ids
        assert not vocabulary.fresh[vocabulary.whole.encode(text).ids].any()
    assert vocabulary.fresh[vocabulary.characters.encode("水").ids[1]]


def test_rows_are_used_once(graph: ConceptGraph, english: Tokenizer) -> None:
    """Rows of the old Chinese characters go to new ones; every piece has a row of its own."""
    labels = [pair.chinese for pair in label_pairs(graph)]
    vocabulary = extended(english, with_traditional(labels), labels)
    pieces = vocabulary.whole.get_vocab(with_added_tokens=True)
    assert sorted(pieces.values()) == list(range(len(vocabulary.fresh)))
    assert "龙" not in pieces
    few = extended(english, "灯", ())
    assert sorted(few.whole.get_vocab().values()) == list(range(english.get_vocab_size()))


def test_a_word_begins_with_what_it_means(graph: ConceptGraph, english: Tokenizer) -> None:
    """A word's first embedding is the mean of its English label's pieces; the teacher's rows stay."""
    labels = [Pair("牛仔裤", "jeans"), Pair("红靴", "red boots")]
    texts = [pair.chinese for pair in labels]
    vocabulary = extended(english, with_traditional(texts), texts)
    old = torch.randn(english.get_vocab_size(), 8, generator=torch.Generator().manual_seed(1))
    grown = first_embeddings(vocabulary, labels, english, old)
    pieces, known = vocabulary.whole.get_vocab(with_added_tokens=True), english.get_vocab()
    torch.testing.assert_close(grown[pieces["牛仔裤"]], old[known["jeans"]])
    torch.testing.assert_close(grown[pieces["红靴"]], (old[known["red"]] + old[known["boots"]]) / 2)
    stays = ~vocabulary.fresh[: len(old)]
    torch.testing.assert_close(grown[: len(old)][stays], old[stays])


@pytest.mark.parametrize("layers", [0, 1])
def test_the_student_learns_chinese_and_keeps_english(
    graph: ConceptGraph, teacher_dir: Path, tmp_path: Path, layers: int
) -> None:
    """Served from its folder, the student finds the teacher's English by Chinese queries that it never saw."""
    settings = Distillation(steps=200, batch=16, layers=layers, layer_learning_rate=1e-3)
    unseen = {
        "红色的长靴": "red boots",
        "女士蓝色牛仔裤": "women blue jeans",
        "黑色电水壶": "black kettle",
        "男士真皮台灯": "men leather lamp",
    }
    fillers = [*GRAPH["fillers"], *MANY]
    train(teacher_dir, lessons(graph, *unseen), fillers, tmp_path / "student", settings)
    student, teacher = TorchEncoder(tmp_path / "student", "s"), TorchEncoder(teacher_dir, "t")
    wanted = teacher.encode(list(unseen.values()), LIMIT)
    found = student.encode(list(unseen), LIMIT)
    assert (found @ wanted.T).argmax(1).tolist() == [0, 1, 2, 3]
    assert (found * wanted).sum(1).mean() > 0.9
    kept = (student.encode(list(ENGLISH), LIMIT) * teacher.encode(list(ENGLISH), LIMIT)).sum(1)
    assert kept.min() > (0.9999 if layers == 0 else 0.9)


def test_what_nobody_taught_is_unknown(graph: ConceptGraph, teacher_dir: Path, tmp_path: Path) -> None:
    """A text of characters that no lesson had has no vector, also where English BERT had the character."""
    fillers = [*GRAPH["fillers"], *MANY]
    train(teacher_dir, lessons(graph), fillers, tmp_path / "student", Distillation(steps=2, batch=8))
    rows = TorchEncoder(tmp_path / "student", "s").encode(["龙", "牛仔裤", "红色靴子"], LIMIT)
    assert [bool(row.any()) for row in rows] == [False, True, True]


def test_held_out_texts_never_teach(graph: ConceptGraph) -> None:
    """Neither as a label nor as a written query, however spaced and in whichever characters it was held out."""
    held_out = ("牛仔褲", "红色 靴子", "台灯")
    taught = [
        simplified(pair.chinese).replace(" ", "")
        for batch in islice(lessons(graph, *held_out).batches(Distillation(batch=64)), 60)
        for pair in batch
    ]
    assert not {"牛仔裤", "红色靴子", "台灯"} & set(taught)
    assert any("牛仔裤" in text for text in taught)


def test_queries_say_the_same_in_both_languages(graph: ConceptGraph) -> None:
    """Each label in the Chinese text has its English in the other, and nothing else is said there."""
    random, writer, labels = (
        np.random.default_rng(4),
        QueryWriter(graph),
        {p.chinese: p.english for p in label_pairs(graph)},
    )
    for _ in range(200):
        pair = writer.write(random)
        said = set(pair.english.split()) - {"for"}
        chinese = {labels[label] for label in labels if label in pair.chinese}
        mixed = {word for word in said if word in pair.chinese}
        assert said == chinese | mixed, pair


def test_traditional_forms_fold_back() -> None:
    """A varied text is the same once simplified, and now and then it is another one."""
    random = np.random.default_rng(0)
    texts = {varied("红色电水壶", random) for _ in range(200)}
    assert {simplified(text) for text in texts} == {"红色电水壶"}
    assert len(texts) > 1


def test_titles_in_both_languages_teach() -> None:
    """Whichever language the title itself is in; products in one language only do not."""
    products = [
        Product(id="1", title="Red Boots", localized_titles={"zh": "红色靴子"}),
        Product(id="2", title="黑色台灯", localized_titles={"en": "Black lamp"}),
        Product(id="3", title="Kettle"),
        Product(id="4", title="水壶"),
    ]
    assert catalogue_pairs(products) == [Pair("红色靴子", "Red Boots"), Pair("黑色台灯", "Black lamp")]


def test_the_command(teacher_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over the embedded graph: a folder, a report, and the settings that serve it; never in place of another folder."""
    catalogue = tmp_path / "p.csv"
    catalogue.write_text("id,title,title_zh\n1,Red boots,红色靴子\n")
    held_out = tmp_path / "q.csv"
    held_out.write_text("query\n红色靴子\n", encoding="utf-8")
    main(tmp_path / "student", catalogue, hold_out=[held_out], teacher=teacher_dir, steps=3)
    assert f"KAIROS_QUERY_ENCODER_MODEL_DIR={tmp_path / 'student'}" in capsys.readouterr().out
    report = json.loads((tmp_path / "student" / "training.json").read_text())
    assert report["steps"] == 3
    assert report["pieces"]["fresh"] > 7_000
    assert TorchEncoder(tmp_path / "student", "s").encode(["红色靴子"], LIMIT).any()
    with pytest.raises(typer.BadParameter, match="already"):
        main(tmp_path / "student", teacher=teacher_dir)
