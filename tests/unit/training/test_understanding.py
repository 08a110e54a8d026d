"""Training of query understanding from a catalogue alone, from events and from labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from catalog.products import read_catalogue
from demo.catalogue import build_catalogue, write_catalogue
from services.common.product import Product
from services.common.scripts import has_han
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.adapters.understanding_files import load_understander
from services.query_encoder.bulk_reading import BulkReader
from services.query_encoder.domain.lexicon import Lexicon, learn
from services.query_encoder.domain.understanding import Source, Understanding
from services.query_encoder.domain.understanding_network import UnderstandingNetwork, hashed_grams
from services.query_encoder.domain.understanding_rules import INTENTS
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.understanding.__main__ import main as train
from training.understanding.__main__ import open_shop, queries_of_events
from training.understanding.labels import read_labels
from training.understanding.queries import TEMPLATES, Example, QueryGenerator, read_templates, tags_of_catalogue
from training.understanding.train import Examples, TorchNetwork, UnderstandingTraining, inputs_of

CATEGORIES = ["", "Home > Mugs", "Home > Towels", "Shoes > Boots"]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("shop") / "catalogue.jsonl.gz"
    write_catalogue(file, build_catalogue(size=240))
    return file


@pytest.fixture(scope="module")
def products(catalogue: Path) -> list[Product]:
    return read_catalogue(catalogue)


@pytest.fixture(scope="module")
def registry(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one version."""
    folder = tmp_path_factory.mktemp("registry")
    train(catalogue, folder, queries=3_000, epochs=14)
    return folder


def generator(products: Sequence[Product], seed: int = 1) -> QueryGenerator:
    tags = tags_of_catalogue(products, ("audience", "colour", "material"), 3, 100)
    return QueryGenerator(products, embedded_domain().graph, read_templates(TEMPLATES), tags, seed)


def understood(version: Path, products: Sequence[Product], texts: Sequence[str]) -> list[Understanding]:
    settings = QueryEncoderSettings()
    encoder, lexicon = build_encoder(settings, 1), Lexicon()
    lexicon.add(learn(products), 1)
    understander = load_understander(version, embedded_domain(), encoder.model_version)
    reader = BulkReader(encoder, embedded_domain(), lexicon, settings)
    return [understander.understand(query.reading, query.vector, lexicon) for query in reader.read(texts)]


def test_generated_queries_are_labelled(products: list[Product]) -> None:
    """Every intent occurs in both languages; product queries have a category, greetings none; no placeholder stays."""
    generated = list(generator(products).examples(3_000))
    assert {(e.intent, has_han(e.text)) for e in generated} == {(i, zh) for i in INTENTS for zh in (True, False)}
    paths = {product.category for product in products}
    for example in generated:
        assert not set("{}()|") & set(example.text)
        assert set(example.categories or ()) <= paths
        assert example.categories or example.intent != "find"
    assert not any(example.categories for example in generated if example.text in ("hello", "你好"))
    jeans = [e for e in generated if e.text.endswith("牛仔裤") and e.intent == "find"]
    assert {example.categories for example in jeans} == {("Clothing > Jeans",)}


def test_queries_depend_on_the_seed(products: list[Product]) -> None:
    """Equal seeds give equal queries, other seeds other queries."""
    first, again, other = (list(generator(products, seed).examples(50)) for seed in (1, 1, 2))
    assert first == again != other


def test_tags_are_in_the_text(products: list[Product]) -> None:
    """A named person is an audience; a colour that is not among the words of the query is no tag."""
    generated = [e for e in generator(products).examples(3_000) if e.intent == "find" and not has_han(e.text)]
    wives = [example for example in generated if "my wife" in example.text]
    assert wives
    assert all(("audience", "women") in example.tags for example in wives)
    for example in generated:
        colours = {value for name, value in example.tags if name == "colour"}
        assert "navy" not in colours or "navy" in example.text or "blue" in example.text


def test_from_a_catalogue_alone(registry: Path, products: list[Product]) -> None:
    """Without labels the model learns intents, categories and sentiments, also in words of no rule or template."""
    (version,) = (registry / "understanding").iterdir()
    assert version.name == "0001"
    texts = ["it was supposed to be delivered on monday", "something to keep my coffee hot at work",
             "we were wondering about a comfy pair of trousers in denim",
             "one star, such a waste of my time"]  # fmt: skip
    late, coffee, denim, unhappy = understood(version, products, texts)
    assert (late.intent.value, late.intent.source) == ("order", Source.MODEL)
    assert late.category is None
    assert coffee.intent.value in ("find", "advice")
    assert denim.category is not None
    assert denim.category.value.startswith("Clothing")
    assert unhappy.sentiment.value == "negative"


def test_numpy_and_torch_agree() -> None:
    """The served network in numpy has the logits of the trained one in torch."""
    settings = UnderstandingTraining(hidden=8)
    torch.manual_seed(0)
    network = TorchNetwork(5, 7, settings).eval()
    exported = UnderstandingNetwork(
        *(a.detach().numpy() for a in (network.trunk.weight.T, network.grams.weight, network.trunk.bias,
                                       network.output.weight.T, network.output.bias))
    )  # fmt: skip
    vector, grams = np.random.default_rng(0).normal(size=5).astype(np.float32), hashed_grams("where is my 订单")
    with torch.inference_mode():
        expected = network(
            torch.from_numpy(vector[None]),
            torch.from_numpy(grams),
            torch.tensor([0]),
            torch.tensor([float(len(grams))]),
        )[0].numpy()
    np.testing.assert_allclose(exported.logits(vector, grams), expected, rtol=1e-4, atol=1e-4)


def test_labels_are_learned(catalogue: Path, registry: Path, products: list[Product], tmp_path: Path) -> None:
    """The next version answers a labelled query with its labels."""
    query = "the usual please"
    (before,) = understood(registry / "understanding" / "0001", products, [query])
    intent = "order" if before.intent.value != "order" else "browse"
    file = tmp_path / "labels.csv"
    file.write_text(
        f"query,head,label\n{query},intent,{intent}\n{query},category,Clothing > Jeans\n{query},sentiment,\n"
    )
    train(catalogue, registry, labels=file, label_weight=100, queries=1_000, epochs=16)
    (after,) = understood(registry / "understanding" / "0002", products, [query])
    assert after.intent.value == intent
    assert after.category is not None
    assert after.category.value == "Clothing > Jeans"
    about = json.loads((registry / "understanding" / "0002" / "understanding.json").read_text())
    assert (about["labelled"], about["encoder"]) == (1, QueryEncoderSettings().model_version)


def test_labels_of_a_file(tmp_path: Path) -> None:
    """Rows of one query are one example, a category includes all below it, and rows without a label are skipped."""
    file = tmp_path / "labels.csv"
    file.write_text(
        "query,head,label,guess\nHot mug,category,Home,x\nhot mug,intent,find,x\nhello,category,none,x\n"
        "boots,intent,,x\nboots,tags,audience=women,x\n"
    )
    assert read_labels(file, CATEGORIES, 5.0) == [
        Example("hot mug", "find", ("Home > Mugs", "Home > Towels"), weight=5.0),
        Example("hello", None, (), weight=5.0),
        Example("boots", tags=(("audience", "women"),), weight=5.0),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("q,mood,find", "head 'mood'"), ("q,intent,buy", "intent 'buy'"), ("q,category,Garden", "no category 'Garden'"),
        ("q,tags,women", "name=value"),
    ],
)  # fmt: skip
def test_wrong_labels(tmp_path: Path, row: str, problem: str) -> None:
    """A wrong label is refused with its line and the allowed values."""
    file = tmp_path / "labels.csv"
    file.write_text(f"query,head,label\n{row}\n")
    with pytest.raises(ValueError, match=problem) as refused:
        read_labels(file, CATEGORIES, 1.0)
    assert "line 2" in str(refused.value)


def test_queries_of_events(products: list[Product], tmp_path: Path) -> None:
    """A query has the category of the majority of the interactions after it, in any language."""
    boots = [product.id for product in products if product.category == "Shoes > Boots"]
    tea = next(product.id for product in products if product.category.endswith("> Tea"))
    rows = [("短靴子", boots[0]), ("短靴子", boots[1]), ("短靴子", tea), ("warm", boots[0]), ("warm", tea)]
    lines = [
        {"event_id": str(n), "user_id": "u", "item_id": item, "type": "click", "query": query}
        for n, (query, item) in enumerate(rows)
    ]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    found = queries_of_events(open_shop(products, QueryEncoderSettings(), 1), file)
    assert [(example.text, example.categories, example.intent) for example in found] == [
        ("短靴子", ("Shoes > Boots",), "find")
    ]


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    """A catalogue without categories and templates of another form are refused by name."""
    file = tmp_path / "p.csv"
    file.write_text("id,title\n1,Mug\n")
    with pytest.raises(typer.BadParameter, match="category"):
        train(file, tmp_path)
    (tmp_path / "t.yaml").write_text("find: {}\n")
    with pytest.raises(ValueError, match="has no 'advice'"):
        read_templates(tmp_path / "t.yaml")


def test_without_grams() -> None:
    """With `use_grams` False the network has no n-grams as input."""
    one = Examples(
        np.ones((1, 5), np.float32), [hashed_grams("where is my order")], np.zeros(1, np.int64),
        np.zeros((1, 2), np.float32), np.zeros(1, np.int64), np.zeros((1, 3), np.float32),
        np.zeros((1, 3), np.float32), np.ones(1, np.float32),
    )  # fmt: skip
    _, grams, _, counts = inputs_of(one, UnderstandingTraining(use_grams=False), None)
    assert len(grams) == 0
    assert counts.tolist() == [0]
