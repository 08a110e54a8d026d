"""Training query understanding from a catalogue alone, from events and from labels."""

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
from services.query_encoder.adapters.concept_files import embedded_graph
from services.query_encoder.adapters.understanding_files import load_understander
from services.query_encoder.bulk_reading import BulkReader
from services.query_encoder.domain.lexicon import Lexicon, learn
from services.query_encoder.domain.understanding import Source, Understanding
from services.query_encoder.domain.understanding_network import UnderstandingNetwork, hashed_grams
from services.query_encoder.domain.understanding_rules import INTENTS
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.understanding.__main__ import chosen_after, open_shop
from training.understanding.__main__ import main as train
from training.understanding.labels import read_labels
from training.understanding.queries import TEMPLATES, Example, QueryMaker, read_templates, tags_of_catalogue
from training.understanding.train import UnderstandingTraining, _inputs, _Network

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
    """With one version in it."""
    folder = tmp_path_factory.mktemp("registry")
    train(catalogue, folder, queries=3_000, epochs=14)
    return folder


def maker(products: Sequence[Product], seed: int = 1) -> QueryMaker:
    tags = tags_of_catalogue(products, ("audience", "colour", "material"), 3, 100)
    return QueryMaker(products, embedded_graph(), read_templates(TEMPLATES), tags, seed)


def ask(version: Path, products: Sequence[Product], texts: Sequence[str]) -> list[Understanding]:
    settings = QueryEncoderSettings()
    encoder, lexicon = build_encoder(settings, 1), Lexicon()
    lexicon.add(learn(products), 1)
    understander = load_understander(version, embedded_graph(), encoder.model_version)
    reader = BulkReader(encoder, embedded_graph(), lexicon, settings)
    return [understander.understand(query.reading, query.vector, lexicon) for query in reader.read(texts)]


def test_queries_label_themselves(products: list[Product]) -> None:
    """Every intent in both languages; things have a category, greetings have none; no place of a template is left."""
    made = list(maker(products).examples(3_000))
    assert {(e.intent, has_han(e.text)) for e in made} == {(i, zh) for i in INTENTS for zh in (True, False)}
    paths = {product.category for product in products}
    for example in made:
        assert not set("{}()|") & set(example.text)
        assert set(example.categories or ()) <= paths
        assert example.categories or example.intent != "find"
    assert not any(example.categories for example in made if example.text in ("hello", "你好"))
    jeans = [e for e in made if e.text.endswith("牛仔裤") and e.intent == "find"]
    assert {example.categories for example in jeans} == {("Clothing > Jeans",)}


def test_the_same_seed_makes_the_same_queries(products: list[Product]) -> None:
    """And another one others."""
    first, again, other = (list(maker(products, seed).examples(50)) for seed in (1, 1, 2))
    assert first == again != other


def test_tags_are_what_the_text_says(products: list[Product]) -> None:
    """A person that is named is an audience; a colour that was left out of the title is no tag."""
    made = [e for e in maker(products).examples(3_000) if e.intent == "find" and not has_han(e.text)]
    wives = [example for example in made if "my wife" in example.text]
    assert wives
    assert all(("audience", "women") in example.tags for example in wives)
    for example in made:
        colours = {value for name, value in example.tags if name == "colour"}
        assert "navy" not in colours or "navy" in example.text or "blue" in example.text


def test_from_a_catalogue_alone(registry: Path, products: list[Product]) -> None:
    """Trained without a label, it tells intents, categories and feelings in words of no rule and no template."""
    (version,) = (registry / "understanding").iterdir()
    assert version.name == "0001"
    texts = ["it was supposed to be delivered on monday", "something to keep my coffee hot at work",
             "we were wondering about a comfy pair of trousers in denim",
             "one star, such a waste of my time"]  # fmt: skip
    late, coffee, denim, unhappy = ask(version, products, texts)
    assert (late.intent.value, late.intent.source) == ("order", Source.MODEL)
    assert late.category is None
    assert coffee.intent.value in ("find", "advice")
    assert denim.category is not None
    assert denim.category.value.startswith("Clothing")
    assert unhappy.sentiment.value == "negative"


def test_the_same_everywhere(products: list[Product]) -> None:
    """What serves, in numpy, answers as what was trained, in torch."""
    settings = UnderstandingTraining(hidden=8)
    torch.manual_seed(0)
    network = _Network(5, 7, settings).eval()
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


def test_a_label_teaches(catalogue: Path, registry: Path, products: list[Product], tmp_path: Path) -> None:
    """What a person said of a query holds in the next version."""
    query = "the usual please"
    (before,) = ask(registry / "understanding" / "0001", products, [query])
    wanted = "order" if before.intent.value != "order" else "browse"
    file = tmp_path / "labels.csv"
    file.write_text(
        f"query,head,label\n{query},intent,{wanted}\n{query},category,Clothing > Jeans\n{query},sentiment,\n"
    )
    train(catalogue, registry, labels=file, label_weight=100, queries=1_000, epochs=16)
    (after,) = ask(registry / "understanding" / "0002", products, [query])
    assert after.intent.value == wanted
    assert after.category is not None
    assert after.category.value == "Clothing > Jeans"
    about = json.loads((registry / "understanding" / "0002" / "understanding.json").read_text())
    assert (about["labelled"], about["encoder"]) == (1, QueryEncoderSettings().model_version)


def test_labels_of_a_file(tmp_path: Path) -> None:
    """Rows of one query go together, a category above stands for all below it; rows without a label are left out."""
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
    """Refused, with the line and what would be right."""
    file = tmp_path / "labels.csv"
    file.write_text(f"query,head,label\n{row}\n")
    with pytest.raises(ValueError, match=problem) as refused:
        read_labels(file, CATEGORIES, 1.0)
    assert "line 2" in str(refused.value)


def test_what_was_chosen_after_a_query(products: list[Product], tmp_path: Path) -> None:
    """A query belongs to the category of most of what was clicked after it, in whatever language."""
    boots = [product.id for product in products if product.category == "Shoes > Boots"]
    tea = next(product.id for product in products if product.category.endswith("> Tea"))
    rows = [("短靴子", boots[0]), ("短靴子", boots[1]), ("短靴子", tea), ("warm", boots[0]), ("warm", tea)]
    lines = [
        {"event_id": str(n), "user_id": "u", "item_id": item, "type": "click", "query": query}
        for n, (query, item) in enumerate(rows)
    ]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    found = chosen_after(open_shop(products, QueryEncoderSettings(), 1), file)
    assert [(example.text, example.categories, example.intent) for example in found] == [
        ("短靴子", ("Shoes > Boots",), "find")
    ]


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    """A catalogue without categories and templates of another form say so."""
    file = tmp_path / "p.csv"
    file.write_text("id,title\n1,Mug\n")
    with pytest.raises(typer.BadParameter, match="category"):
        train(file, tmp_path)
    (tmp_path / "t.yaml").write_text("find: {}\n")
    with pytest.raises(ValueError, match="has no 'advice'"):
        read_templates(tmp_path / "t.yaml")


def test_no_grams_is_a_network_of_the_vector_alone() -> None:
    """Left out, n-grams say nothing, whatever the query."""
    from training.understanding.train import Examples

    one = Examples(
        np.ones((1, 5), np.float32), [hashed_grams("where is my order")], np.zeros(1, np.int64),
        np.zeros((1, 2), np.float32), np.zeros(1, np.int64), np.zeros((1, 3), np.float32),
        np.zeros((1, 3), np.float32), np.ones(1, np.float32),
    )  # fmt: skip
    _, grams, _, counts = _inputs(one, UnderstandingTraining(use_grams=False), None)
    assert len(grams) == 0
    assert counts.tolist() == [0]
