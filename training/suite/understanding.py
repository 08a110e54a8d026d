"""Trains query understanding on the catalogue and on what shoppers chose after a query, judges it, and proposes it.

A share of the products, and a share of the queries with a choice, are held back from the training of every version, by
a hash. On queries about them a version is compared with the one that answers now, or with the rules alone.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.models.kinds import UNDERSTANDING as KIND
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.common.product import Product
from services.query_encoder.adapters.understanding_files import load_understander, save_understanding
from services.query_encoder.bulk_reading import ReadQuery
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.domain.understanding_rules import FIND
from services.query_encoder.settings import QueryEncoderSettings
from training.bootstrap import mean_interval
from training.search.data import split
from training.suite.held_products import TRAINED_SHARE, split_products
from training.suite.log import ReadLog, product_of
from training.suite.outcome import Outcome, Result
from training.suite.publishing import publish
from training.suite.searches import searches_of
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder
from training.understanding.labels import read_labels
from training.understanding.queries import TEMPLATES, Example
from training.understanding.settings import Understanding
from training.understanding.shop import Shop, clicked_queries, generated_queries, open_shop
from training.understanding.train import train_network

REPORT = "report.json"
KEPT_VERSIONS = 5
# Generated queries that judge; with fewer clicked queries these do not judge.
JUDGED, _LEAST_CLICKED = 2_000, 50
# What is compared.
INTENT, CATEGORY, CLICKED = "intent", "category", "category of clicked queries"


@dataclass(frozen=True)
class Data:
    """`trained` and `held` are products with a category; `clicked` are queries that train, `held_clicked` others."""

    products: Sequence[Product]
    trained: Sequence[Product]
    held: Sequence[Product]
    clicked: Sequence[Example]
    held_clicked: Sequence[Example]

    def missing(self, settings: SuiteTraining) -> str:
        """What is missing for training; empty if the data suffice."""
        known, least = len(self.trained) + len(self.held), settings.least.categorised
        if known < least:
            return f"{known:,} products with a category, needs {least:,}"
        return "" if self.held else "all products are variants of each other; none can be held back"


@dataclass(frozen=True)
class Compared:
    """Accuracy of the version and of what it is compared with, and the 95 % interval of the difference."""

    version: float
    other: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True)
class Judged:
    """`is_first`: no version answers, and the rules alone are the other side."""

    measures: Mapping[str, Compared]
    is_first: bool

    @property
    def passed(self) -> bool:
        no_worse = all(each.high >= 0 for each in self.measures.values())
        return no_worse and (not self.is_first or self.measures[CATEGORY].low > 0)

    @property
    def reason(self) -> str:
        other = "the rules alone" if self.is_first else "the version that answers now"
        worse = [name for name, each in self.measures.items() if each.high < 0]
        if worse:
            return f"worse than {other} on held-back queries: {', '.join(worse)}"
        if not self.passed:
            return f"its categories are not surely better than those of {other} on held-back queries"
        return f"{'better' if self.is_first else 'not worse'} than {other} on held-back queries"

    def figures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, each in self.measures.items():
            found |= {name: each.version, f"{name}, before": each.other, f"{name}, queries": float(each.queries)}
            found |= {f"{name}, low": each.low, f"{name}, high": each.high}
        return found


def data_of(work: WorkFolder, settings: SuiteTraining, now_s: float) -> Data:
    """Of what was read into the work folder."""
    products = [product_of(each.body) for each in work.products()]
    trained, held = split_products((product for product in products if product.category), KIND)
    clicked = clicked_queries(products, searches_of(ReadLog(work, "", now_s), settings.window_s))
    sides = split({example.text: example for example in clicked}, TRAINED_SHARE, KIND)
    return Data(products, trained, held, *(list(side.values()) for side in sides))


def train_understanding(
    work: WorkFolder, registry: ModelRegistry, settings: SuiteTraining, clock: Callable[[], float] = time.time
) -> Outcome:
    """A version that passes is proposed; a refused one is published for its report.

    Raises ValueError for labels and templates that cannot be read.
    """
    began, now_s = time.monotonic(), clock()
    data = data_of(work, settings, now_s)
    if missing := data.missing(settings):
        return Outcome(KIND, Result.SKIPPED, missing)
    shop = open_shop(data.products, QueryEncoderSettings(), 1)
    folder = work.folder / KIND
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    about = _fitted(shop, data, settings, folder)
    version = load_understander(folder, shop.domain, shop.encoder)
    judged = _judged(shop, data, version, current_version(registry, shop), settings)
    report = {
        "created_s": now_s,
        "parent": registry.rollout().current,
        "metrics": judged.figures(),
        "verdict": {"passed": judged.passed, "reason": judged.reason},
        "data": about,
        "settings": _plain(settings.understanding),
    }
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    name = publish(registry, folder, version.model_version, report)
    registry.take_step(StepKind.PROPOSED, name, reason="kairos train", figures=judged.figures())
    if not judged.passed:
        registry.take_step(StepKind.REFUSED, name, reason=judged.reason, figures=judged.figures())
    registry.prune(KEPT_VERSIONS)
    result = Result.PROPOSED if judged.passed else Result.REFUSED
    seconds = time.monotonic() - began
    return Outcome(
        KIND, result, judged.reason, name, version.model_version, judged.figures(), seconds, str(registry.path(name))
    )  # fmt: skip


def current_version(registry: ModelRegistry, shop: Shop) -> Understander | None:
    """What answers now; None also for a version of another encoder, which is not served."""
    if not (current := registry.rollout().current):
        return None
    try:
        return load_understander(registry.path(current), shop.domain, shop.encoder)
    except ValueError:
        return None


def _fitted(shop: Shop, data: Data, settings: SuiteTraining, folder: Path) -> dict[str, Any]:
    """Writes the model to `folder`; gives the numbers of its data."""
    own = settings.understanding
    examples = generated_queries(
        replace(shop, products=_known(shop, data.trained)), own.templates or TEMPLATES, own.queries, settings.seed
    )
    counts = {"generated": len(examples)}
    known = set(shop.labels.category)
    examples += (clicked := [each for each in data.clicked if known.issuperset(each.categories or ())])
    counts |= {"clicked": len(clicked), "labelled": 0}
    if own.labels is not None:
        examples += (labelled := read_labels(own.labels, shop.labels.category, own.label_weight))
        counts["labelled"] = len(labelled)
    network, labels = train_network(shop.features(examples), shop.labels, replace(own.network, seed=settings.seed))
    save_understanding(network, labels, folder, {"encoder": shop.encoder})
    return counts | {
        "encoder": shop.encoder, "categories": len(known) - 1,
        "products": {"trained": len(data.trained), "held back": len(data.held)},
    }  # fmt: skip


def _known(shop: Shop, products: Sequence[Product]) -> list[Product]:
    """Those in the categories that the network knows."""
    known = set(shop.labels.category)
    return [product for product in products if product.category in known]


def _judged(
    shop: Shop, data: Data, version: Understander, current: Understander | None, settings: SuiteTraining
) -> Judged:
    templates = settings.understanding.templates or TEMPLATES
    held = replace(shop, products=_known(shop, data.held) or shop.products)
    # Another seed than that of the queries that train.
    made = {each.text: each for each in generated_queries(held, templates, 2 * JUDGED, settings.seed + 1)}
    examples = list(made.values())[:JUDGED]
    read = shop.read(examples)
    one_category = [each.intent == FIND and len(each.categories or ()) == 1 for each in examples]
    intents = _right(_intents(shop, read, version, current), [each.intent for each in examples])
    categories = [(each.categories or ("",))[0] for each in examples]
    right = _right(_categories(shop, read, version, current), categories)
    measures = {
        INTENT: _compared(*intents, settings.seed),
        CATEGORY: _compared(right[0][one_category], right[1][one_category], settings.seed),
    }
    if len(data.held_clicked) >= _LEAST_CLICKED:
        read = shop.read(data.held_clicked)
        categories = [(each.categories or ("",))[0] for each in data.held_clicked]
        right = _right(_categories(shop, read, version, current), categories)
        measures[CLICKED] = _compared(*right, settings.seed)
    return Judged(measures, current is None)


Answers = tuple[list[str], list[str]]
Right = npt.NDArray[np.float64]


def _intents(shop: Shop, read: Sequence[ReadQuery], version: Understander, current: Understander | None) -> Answers:
    """Of the version, and of the current one or the rules."""

    def of(model: Understander) -> list[str]:
        return [model.understand(each.reading, each.vector, shop.lexicon).intent.value for each in read]

    return of(version), of(current) if current else [version.rules.intent(each.reading) or FIND for each in read]


def _categories(shop: Shop, read: Sequence[ReadQuery], version: Understander, current: Understander | None) -> Answers:
    """As `_intents`; empty where none is reported."""

    def of(model: Understander) -> list[str]:
        found = (model.understand(each.reading, each.vector, shop.lexicon).category for each in read)
        return ["" if guess is None else guess.value for guess in found]

    return of(version), of(current) if current else [version.category_by_rule(each.reading) for each in read]


def _right(answers: Answers, expected: Sequence[str | None]) -> tuple[Right, Right]:
    of_version, of_other = (
        np.array([answer == wanted for answer, wanted in zip(side, expected, strict=True)], np.float64)
        for side in answers
    )
    return of_version, of_other


def _compared(version: Right, other: Right, seed: int) -> Compared:
    if not len(version):
        return Compared(0.0, 0.0, 0.0, 0.0, 0)
    low, high = mean_interval(version - other, seed)
    return Compared(float(version.mean()), float(other.mean()), low, high, len(version))


def _plain(settings: Understanding) -> dict[str, Any]:
    return {**asdict(settings), "templates": str(settings.templates or ""), "labels": str(settings.labels or "")}
