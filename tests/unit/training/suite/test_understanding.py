"""Query understanding from the catalogue of a shop, its clicks and its labels, to a version that is served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalog.products import read_catalogue
from demo.catalogue import build_catalogue, write_catalogue
from services.common.convert import product_to_proto
from services.common.models.rollout import StepKind
from services.common.product import Product
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.adapters.understanding_files import load_understander
from services.query_encoder.domain.understanding import Source, Understanding
from services.query_encoder.settings import QueryEncoderSettings
from tests.fakes.training_gateway import FakeTrainingGateway
from tests.unit.training.suite.shop import NOW_S, SETTINGS, bar, suite
from tests.unit.training.suite.test_text import searched
from training.suite.outcome import Outcome, Result
from training.suite.run import Suite, run
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder
from training.understanding.settings import Understanding as Training
from training.understanding.settings import UnderstandingTraining
from training.understanding.shop import open_shop

QUICK = replace(SETTINGS, understanding=Training(3_000, network=UnderstandingTraining(epochs=14)))


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    file = tmp_path_factory.mktemp("shop") / "catalogue.jsonl.gz"
    write_catalogue(file, build_catalogue(size=240))
    return read_catalogue(file)


def shop(products: Sequence[Product], clicks: Sequence[tuple[str, str]] = ()) -> FakeTrainingGateway:
    """`clicks`: (query, id of the product that was clicked)."""
    events = [event for n, (query, id) in enumerate(clicks) for event in searched(n, query, [id], id)]
    messages = [product_to_proto(product) for product in products]
    return FakeTrainingGateway(messages, np.zeros((len(messages), 4), np.float32), events)  # type: ignore[abstract]


def trained(of: Suite, folder: Path, settings: SuiteTraining = QUICK) -> Outcome:
    (outcome,) = run(of, WorkFolder(folder), settings, bar(), ["understanding"], lambda: NOW_S)
    return outcome


def understood(version: Path, products: Sequence[Product], texts: Sequence[str]) -> list[Understanding]:
    of = open_shop(products, QueryEncoderSettings(), 1)
    understander = load_understander(version, embedded_domain(), of.encoder)
    return [understander.understand(each.reading, each.vector, of.lexicon) for each in of.reader.read(texts)]


@pytest.fixture(scope="module")
def first(products: list[Product], tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Outcome]:
    """A registry with one version, of the catalogue alone; it is promoted."""
    folder = tmp_path_factory.mktemp("models")
    with shop(products).serving() as target:
        of = suite(target, folder)
        outcome = trained(of, folder / "work")
    return of, outcome


def test_from_a_catalogue_alone(first: tuple[Suite, Outcome], products: list[Product]) -> None:
    """Without labels a version learns intents and categories in words of no rule or template, and sentiments.

    It is better than the rules on products that it has not seen, and proposed; nothing changes by itself.
    """
    of, outcome = first
    assert (outcome.result, outcome.name) == (Result.PROPOSED, "understanding/0001"), outcome
    assert outcome.figures["category, low"] > 0
    assert of.understandings.rollout().current == ""
    version = of.understandings.path("0001")
    texts = ["it was supposed to be delivered on monday", "something to keep my coffee hot at work",
             "we were wondering about a comfy pair of trousers in denim",
             "horrible experience, i am so disappointed"]  # fmt: skip
    late, coffee, denim, unhappy = understood(version, products, texts)
    assert (late.intent.value, late.intent.source) == ("order", Source.MODEL)
    assert late.category is None
    assert coffee.intent.value in ("find", "advice")
    assert denim.category is not None
    assert denim.category.value.startswith("Clothing")
    assert unhappy.sentiment.value == "negative"
    report = json.loads((version / "report.json").read_text())
    assert report["data"]["products"]["held back"] > 0
    assert report["data"]["encoder"] == QueryEncoderSettings().model_version


def test_labels_and_clicks_are_learned(products: list[Product], tmp_path: Path) -> None:
    """A query has the labels that a person gave it, and a clicked one the category of the products chosen after it."""
    file = tmp_path / "labels.csv"
    file.write_text("query,head,label\nthe usual please,intent,order\nthe usual please,sentiment,\n")
    jeans = [product.id for product in products if product.category == "Clothing > Jeans"]
    settings = replace(QUICK, understanding=replace(QUICK.understanding, labels=file, label_weight=100.0))
    with shop(products, [("zzyzx quux", jeans[n % 2]) for n in range(25)]).serving() as target:
        of = suite(target, tmp_path / "models")
        outcome = trained(of, tmp_path / "work", settings)
    usual, clicked = understood(of.understandings.path(outcome.version), products, ["the usual please", "zzyzx quux"])
    assert usual.intent.value == "order"
    assert clicked.category is not None
    assert clicked.category.value == "Clothing > Jeans"
    data = of.understandings.manifest(outcome.version)["data"]
    assert (data["labelled"], data["clicked"]) == (1, 1)


def test_a_worse_version_is_refused(products: list[Product], first: tuple[Suite, Outcome], tmp_path: Path) -> None:
    """A version that has learned next to nothing is refused against the one that answers, which goes on answering."""
    good = first[0].understandings.path("0001")
    with shop(products).serving() as target:
        of = suite(target, tmp_path / "models")
        of.understandings.publish(lambda folder: _copy(good, folder), {"created_s": 1.0})
        of.understandings.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
        least = replace(QUICK, understanding=Training(500, network=UnderstandingTraining(epochs=1)))
        outcome = trained(of, tmp_path / "work", least)
    assert (outcome.result, outcome.version) == (Result.REFUSED, "0002")
    assert "worse than the version that answers now" in outcome.reason
    assert of.understandings.rollout().current == "0001"


def test_a_shop_without_categories(tmp_path: Path) -> None:
    """It is not trained, and the outcome says what is missing."""
    with shop([Product("1", "Mug")]).serving() as target:
        outcome = trained(suite(target, tmp_path / "models"), tmp_path / "work")
    assert (outcome.result, outcome.reason) == (Result.SKIPPED, "0 products with a category, needs 100")


def _copy(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.name != "version.json":
            (target / file.name).write_bytes(file.read_bytes())
