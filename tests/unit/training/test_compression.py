"""Pruning and quantization of a small model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from services.common.arrays import FloatArray
from services.common.product import Product
from services.query_encoder.adapters.layer_shapes import layers_of
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import PooledEncoder, load_model
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.ports import TextKind
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.compression.compress import Variant, proposed
from training.compression.importance import Importance, importance, least_layers
from training.compression.pruning import pruned, save
from training.compression.quality import measure_dense
from training.compression.recovery import recover
from training.compression.sample import Sample, draw
from training.compression.settings import Cut
from training.search.data import Pair

WORDS = (
    "red", "blue", "green", "black", "white", "pink", "shoe", "lamp", "chair", "cable", "mug", "tent", "wool", "steel",
    "oak", "brass",
)  # fmt: skip
LAYERS, HEADS, WIDTH = 3, 4, 64


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of three layers with four heads each and the vocabulary of these tests."""
    folder = tmp_path_factory.mktemp("model")
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS)
    tokenizer = Tokenizer(models.WordLevel({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=WIDTH, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def pairs(count: int = 64) -> list[Pair]:
    random = np.random.default_rng(2)
    titles = [random.choice(WORDS, 4, replace=False) for _ in range(count)]
    return [Pair(" ".join(title[:2]), str(number), " ".join(title)) for number, title in enumerate(titles)]


def scores(seed: int = 0) -> Importance:
    torch.manual_seed(seed)
    return Importance([torch.rand(HEADS) for _ in range(LAYERS)], [torch.rand(WIDTH) for _ in range(LAYERS)])


def vectors(model: PooledEncoder, texts: Sequence[str], model_dir: Path) -> torch.Tensor:
    ids = [BatchTokenizer(model_dir).batches([text], 16, 16, "query") for text in texts]
    with torch.no_grad():
        found = [model(torch.from_numpy(i), torch.from_numpy(m)) for batches in ids for _, i, m in batches]
    return torch.cat(found)


def zeroed(model_dir: Path, cut: Cut, given: Importance) -> PooledEncoder:
    """The whole model with zero outputs of the least important heads and units."""
    model = load_model(model_dir)
    ranked = sorted((float(s), layer, head) for layer, row in enumerate(given.heads) for head, s in enumerate(row))
    with torch.no_grad():
        for _, layer, head in ranked[: round(cut.heads * LAYERS * HEADS)]:
            layers_of(model.body)[layer].attention.output.dense.weight[:, head * 8 : head * 8 + 8] = 0
        for layer, row in enumerate(given.units):
            least = row.argsort()[: round(cut.units * WIDTH)]
            layers_of(model.body)[layer].output.dense.weight[:, least] = 0
    return model


def test_pruning_removes_exactly_the_chosen_parts(model_dir: Path) -> None:
    """A pruned model's vectors are those of the whole one with zeros for the pruned heads and units."""
    cut, given = Cut(heads=0.25, units=0.5), scores()
    texts = ["red shoe", "black oak chair lamp", "mug"]
    smaller = pruned(load_model(model_dir), cut, given)
    expected = vectors(zeroed(model_dir, cut, given), texts, model_dir)
    torch.testing.assert_close(vectors(smaller, texts, model_dir), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, vectors(load_model(model_dir), texts, model_dir), atol=1e-3)


@pytest.mark.parametrize("cut", [Cut(heads=0.34, units=0.25), Cut(layers=1)])
def test_a_pruned_model_is_served_like_any_other(model_dir: Path, tmp_path: Path, cut: Cut) -> None:
    """Saved, exported and quantized by the encoder's own code, the vectors agree with torch, in a smaller file."""
    smaller = pruned(load_model(model_dir), cut, scores(), (1,) if cut.layers else ())
    save(smaller, model_dir, tmp_path / "pruned")
    texts = ["red shoe", "black oak chair lamp", "mug"]
    reference = vectors(smaller, texts, model_dir).numpy()
    settings = QueryEncoderSettings(model_dir=tmp_path / "pruned", model_cache_dir=tmp_path / "cache")
    for backend, nearest in (("torch", 0.99999), ("onnx-fp32", 0.99999), ("onnx-int8", 0.95)):
        served = build_encoder(settings.model_copy(update={"backend": backend}), threads=1).encode(texts, 16, "query")
        assert (served * reference).sum(1).min() > nearest, backend
    whole, less = (
        sum(weights.numel() for weights in load_model(folder).parameters())
        for folder in (model_dir, tmp_path / "pruned")
    )
    assert less < 0.9 * whole


def test_every_layer_keeps_a_head(model_dir: Path) -> None:
    """At least one head remains in each layer, whatever the share."""
    uneven = Importance([torch.full((HEADS,), float(layer)) for layer in range(LAYERS)], scores().units)
    smaller = pruned(load_model(model_dir), Cut(heads=0.7), uneven)
    heads = [layer.attention.self.num_attention_heads for layer in layers_of(smaller.body)]
    assert heads == [1, 1, 2]


def test_parts_without_effect_score_zero(model_dir: Path) -> None:
    """A head and a unit whose output is ignored score zero; the others do not."""
    model = load_model(model_dir)
    with torch.no_grad():
        layers_of(model.body)[1].attention.output.dense.weight[:, 8:16] = 0
        layers_of(model.body)[2].output.dense.weight[:, 5] = 0
    found = importance(model, BatchTokenizer(model_dir), pairs())
    assert found.heads[1][1] == 0
    assert (found.heads[0] > 0).all()
    assert found.units[2].argmin() == 5


def test_a_layer_without_effect_is_removed_first(model_dir: Path) -> None:
    """Layers are removed greedily by how far the vectors move without them."""
    model = load_model(model_dir)
    with torch.no_grad():
        for part in (layers_of(model.body)[1].attention.output.dense, layers_of(model.body)[1].output.dense):
            part.weight.zero_()
            part.bias.zero_()
    texts = [pair.text for pair in pairs(8)]
    one, two = least_layers(model, BatchTokenizer(model_dir), texts, 2)
    assert one == (1,)
    assert len(two) == 2
    assert 1 in two


def test_recovery_brings_the_vectors_back(model_dir: Path) -> None:
    """After a short distillation the pruned model's vectors are nearer to the whole one's, on other texts."""
    teacher, tokenizer = load_model(model_dir), BatchTokenizer(model_dir)
    student = pruned(teacher, Cut(heads=0.5, units=0.5), scores())
    texts = ["pink tent", "brass lamp white", "steel mug red oak"]

    def cosine() -> float:
        return float((vectors(student, texts, model_dir) * vectors(teacher, texts, model_dir)).sum(1).mean())

    before = cosine()
    recover(student, teacher, tokenizer, pairs(), steps=60, seed=0)
    assert cosine() > before + 0.1 * (1 - before)


def variant(name: str, latency_ms: float, ndcg: float) -> Variant:
    return Variant(name, Path("models") / name, 1_000, latency_ms, ndcg)


def test_the_fastest_within_the_tolerance_is_proposed() -> None:
    """Within the tolerance the time decides; if no copy is within it, none is proposed."""
    whole = variant("", 9.0, 0.400)
    copies = [variant("a", 6.0, 0.399), variant("b", 4.0, 0.3981), variant("c", 1.0, 0.396)]
    assert proposed(whole, copies, 0.005) == copies[1]
    assert proposed(whole, copies, 0.001) is None


def products(count: int = 40) -> list[Product]:
    return [Product(id=str(n), title=f"{WORDS[n % 16]} {WORDS[(n * 5 + 3) % 16]} thing{n}") for n in range(count)]


def test_judged_products_are_always_searched() -> None:
    """A sample holds every product that its queries were made from, and is filled up with others."""
    sample = draw(products(), queries=6, size=12, pairs=8, seed=1)
    ids = {product.id for product in sample.products}
    assert {id for judged in sample.judgements.values() for id in judged} <= ids
    assert len(ids) == 12
    assert draw(products(), 6, 12, 8, 1) == sample


def test_other_products_measure_and_train() -> None:
    """Queries are generated from titles, and the products of the training pairs are not measured."""
    sample = draw(products(), queries=10, size=0, pairs=100, seed=1)
    titles = {product.id: product.title for product in sample.products}
    for query, right in sample.judgements.items():
        assert set(query.split()) <= set(titles[next(iter(right))].split())
    measured = {titles[product_id] for right in sample.judgements.values() for product_id in right}
    assert not measured & {pair.text for pair in sample.pairs}
    assert len(sample.pairs) == 20


class ByFirstWord:
    """An encoder whose vectors depend on the first word alone."""

    model_version, dimensions = "first@1", len(WORDS)

    def encode(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> FloatArray:
        rows = [[float(text.split()[0] == word) for word in WORDS] for text in texts]
        return np.array(rows, np.float32)


def test_quality_is_that_of_the_vectors() -> None:
    """NDCG@10 is 1 if the right product is nearest, and 0 if it is not among ten or the query has no vector."""
    shop = [Product(id=str(n), title=f"{WORDS[n % 8]} item{n}") for n in range(160)]
    judged = {"red": {"0": 3.0, "8": 3.0}, "pink": {"0": 3.0}, "unreadable": {"1": 3.0}}
    found = measure_dense(ByFirstWord(), Sample([shop[0], shop[8], *shop[1:8], *shop[9:]], judged, []))
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_pairs_have_the_served_text() -> None:
    """The text of a pair is the one that the encoder reads on import."""
    sample = draw(products(), 5, 0, 10, 0)
    assert sample.pairs
    assert {pair.text for pair in sample.pairs} <= {product_text(product) for product in products()}
