"""What query understanding is trained on: generated queries, clicked ones and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from catalog.products import read_catalogue
from demo.catalogue import build_catalogue, write_catalogue
from services.common.product import Product
from services.common.scripts import has_han
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.understanding_network import UnderstandingNetwork, hashed_grams
from services.query_encoder.domain.understanding_rules import INTENTS
from services.query_encoder.settings import QueryEncoderSettings
from training.search.clicks import SearchedList
from training.understanding.labels import read_labels
from training.understanding.queries import TEMPLATES, Example, QueryGenerator, read_templates, tags_of_catalogue
from training.understanding.settings import UnderstandingTraining
from training.understanding.shop import clicked_queries, open_shop
from training.understanding.train import Examples, TorchNetwork, inputs_of

CATEGORIES = ["", "Home > Mugs", "Home > Towels", "Shoes > Boots"]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("shop") / "catalogue.jsonl.gz"
    write_catalogue(file, build_catalogue(size=240))
    return file


@pytest.fixture(scope="module")
def products(catalogue: Path) -> list[Product]:
    return read_catalogue(catalogue)


def generator(products: Sequence[Product], seed: int = 1) -> QueryGenerator:
    tags = tags_of_catalogue(products, ("audience", "colour", "material"), 3, 100)
    return QueryGenerator(products, embedded_domain().graph, read_templates(TEMPLATES), tags, seed)


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


def test_clicked_queries(products: list[Product]) -> None:
    """A query has the category of the majority of the products chosen after it, in any language."""
    boots = [product.id for product in products if product.category == "Shoes > Boots"]
    tea = next(product.id for product in products if product.category.endswith("> Tea"))
    chosen = [("短靴子", boots[0]), ("短靴子", boots[1]), ("短靴子", tea), ("warm", boots[0]), ("warm", tea)]
    searches = [SearchedList(query, "s", 0.0, [tea, item], [1, 2], [0, 1]) for query, item in chosen if item != tea]
    searches += [SearchedList(query, "s", 0.0, [item], [], [3]) for query, item in chosen if item == tea]
    found = clicked_queries(products, searches)
    assert [(example.text, example.categories, example.intent) for example in found] == [
        ("短靴子", ("Shoes > Boots",), "find")
    ]


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    """A catalogue without categories and templates of another form are refused by name."""
    with pytest.raises(ValueError, match="category"):
        open_shop([Product("1", "Mug")], QueryEncoderSettings(), 1)
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
