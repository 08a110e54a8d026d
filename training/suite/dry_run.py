"""`kairos train --dry-run`: what would be trained, how long it would take, and how large it would be."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from services.common.models.kinds import PICTURES, UNDERSTANDING
from training.suite.progress import Progress
from training.suite.run import COMPRESSION, TEXT, Suite, read
from training.suite.settings import MOST_LISTS, SuiteTraining
from training.suite.work import WorkFolder

# Seconds for one event, one epoch and one item of the softmax, at width 64: an epoch of 153,776 events with 2,048
# negatives takes 5.5 s of one core (docs/lab/shopper-model.md).
_SECONDS = 1.75e-8
# Epochs of both fits, as a rule.
_EPOCHS = 30
# Of the text model on two cores, for the embedded encoder: a step of its training, a product, a search.
_STEP_S, _EMBED_S, _SEARCH_S = 2.5, 4e-3, 0.015
# Of compression, for the embedded encoder on one core: a step of recovery, the scores, and an export.
_RECOVERY_S, _SCORES_S, _EXPORT_S = 2.0, 60.0, 30.0
# Of a picture in an epoch on one core, and reading it three times.
_PICTURE_S, _DECODE_S = 3e-3, 0.02
# Of query understanding on one core: a query that is read and encoded, and one of an epoch.
_READ_S, _EPOCH_S = 5e-3, 5e-5
# Of the process with torch, before any data.
_BASE_MB = 450.0


def estimate(
    suite: Suite, work: WorkFolder, settings: SuiteTraining, bar: Progress, kinds: Collection[str],
    clock: Callable[[], float] = time.time,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row for each kind. Reads the data, and keeps nothing of them."""
    with work.opened(f"{suite.connection.target} {suite.tenant}", clock()):
        read(suite.connection, work, bar)
        rows = []
        if "shopper" in kinds:
            rows.append(_shopper(suite, work, settings, clock()))
        if "ranking" in kinds:
            rows.append(_ranking(suite, work, settings, "shopper" in kinds, clock()))
        if TEXT in kinds:
            rows.append(_text(work, settings, clock()))
        if COMPRESSION in kinds:
            rows.append(_compression(work, settings, clock()))
        if UNDERSTANDING in kinds:
            rows.append(_understanding(work, settings, clock()))
        if PICTURES in kinds:
            rows.append(_pictures(work, settings))
        work.end()
    return rows


def _shopper(suite: Suite, work: WorkFolder, settings: SuiteTraining, now_s: float) -> dict[str, Any]:
    from training.suite.shopper import data_of

    data = data_of(work, suite.shoppers, now_s)
    width, n = settings.shopper.network.width, data.catalogue.size
    items = n if n <= settings.shopper.full_softmax else settings.shopper.negatives
    epochs = min(_EPOCHS, 2 * settings.shopper.epochs)
    seconds = len(data.log) * items * epochs * width / 64 * _SECONDS
    inputs = data.catalogue.inputs().shape[1]
    return {
        "kind": "shopper",
        "missing": data.missing(settings),
        "data": f"{n:,} products, {data.events:,} events of {data.persons:,} persons",
        "minutes": min(seconds / 60, settings.shopper.minutes),
        "version_mb": (n * (2 * width + 20) + (inputs + 1) * width * 4) / 1e6 + 3,
        # Parameters with the optimizer's and the averages, and the vectors three times.
        "memory_mb": _BASE_MB + n * (width * 4 * 6 + inputs * 4 * 3) / 1e6,
    }


def _ranking(
    suite: Suite, work: WorkFolder, settings: SuiteTraining, trains_shopper: bool, now_s: float
) -> dict[str, Any]:
    """Of lists it knows the persons alone: how many have the next product is found by making them."""
    from training.suite.examples import examples_of
    from training.suite.ranking_data import NO_SHOPPER
    from training.suite.shopper import data_of

    examples, _ = examples_of(work, settings, now_s)
    has_shopper = trains_shopper or suite.shoppers.rollout().current
    persons = len(data_of(work, suite.shoppers, now_s).log.newest_targets()) if has_shopper else 0
    lists = min(persons, MOST_LISTS)
    clicked, least = examples.clicked_pages, settings.least
    has_pages, has_lists = clicked >= least.pages, lists >= least.lists
    of_lists = f"{lists:,} lists before a person's next product, needs {least.lists:,}" if has_shopper else NO_SHOPPER
    missing = f"{of_lists}; or {clicked:,} pages with a click, needs {least.pages:,}"
    return {
        "kind": "ranking",
        "missing": "" if has_pages or has_lists else missing,
        "data": f"{lists:,} lists, {examples.page_count:,} pages, {clicked:,} with a click",
        # Some 10 ms for a list, and 2 ms for a page and epoch of the network, on one core.
        "minutes": (lists * 1e-2 + has_pages * examples.page_count * settings.ranking_epochs * 2e-3) / 60,
        "version_mb": 2 + len(examples.item_ids) * 64 / 1e6,
        "memory_mb": _BASE_MB + lists * 0.05 + examples.vectors.nbytes * 2 / 1e6,
    }


def _text(work: WorkFolder, settings: SuiteTraining, now_s: float) -> dict[str, Any]:
    from training.suite.text import data_of

    data = data_of(work, settings, now_s)
    n, queries, encoder = len(data.catalogue.products), len(data.clicked.judgements), settings.text.encoder
    steps = data.pairs // encoder.batch * encoder.epochs
    return {
        "kind": TEXT,
        "missing": data.missing(settings),
        "data": f"{n:,} products, {data.clicked.lists:,} searches, {queries:,} queries with a click",
        # The encoder, and what is searched and embedded around it: the catalogue twice, each query about three times.
        "minutes": min(steps * _STEP_S / 60, encoder.minutes) + (2 * n * _EMBED_S + 3 * queries * _SEARCH_S) / 60,
        # With the ONNX forms.
        "version_mb": 205.0,
        "memory_mb": 4 * _BASE_MB + n * 4e-3,
    }


def _understanding(work: WorkFolder, settings: SuiteTraining, now_s: float) -> dict[str, Any]:
    from services.query_encoder.domain.understanding_network import BUCKETS
    from training.suite.understanding import JUDGED, data_of

    data, own = data_of(work, settings, now_s), settings.understanding
    categories = {product.category for product in data.trained}
    read = own.queries + JUDGED + len(data.clicked) + len(data.held_clicked)
    known = len(data.trained) + len(data.held)
    return {
        "kind": UNDERSTANDING,
        "missing": data.missing(settings),
        "data": f"{known:,} products in {len(categories):,} categories, {len(data.clicked):,} queries with clicks",
        "minutes": (read * _READ_S + own.queries * own.network.epochs * _EPOCH_S) / 60,
        # The n-grams' table, and the outputs.
        "version_mb": own.network.hidden * 4 * (BUCKETS + len(categories)) / 1e6,
        "memory_mb": 2 * _BASE_MB + read * 6e-3,
    }


def _compression(work: WorkFolder, settings: SuiteTraining, now_s: float) -> dict[str, Any]:
    from training.suite.compression import data_of

    data, own = data_of(work, settings, now_s), settings.compression
    n, cuts = len(data.catalogue.products), len(own.cuts)
    embedded = 2 * n + (cuts + 1) * len(data.sample.products)
    made = _SCORES_S + cuts * (own.recovery_steps * _RECOVERY_S + _EXPORT_S)
    return {
        "kind": COMPRESSION,
        "missing": data.missing,
        "data": f"{n:,} products, {len(data.sample.judgements):,} queries choose, {len(data.held):,} judge",
        "minutes": (made + embedded * _EMBED_S + 2 * len(data.held) * _SEARCH_S) / 60,
        # With the ONNX forms.
        "version_mb": 205.0,
        "memory_mb": 4 * _BASE_MB + n * 4e-3,
    }


def _pictures(work: WorkFolder, settings: SuiteTraining) -> dict[str, Any]:
    from training.suite.pictures import data_of

    data = data_of(work, settings.images, settings.seed)
    n, own = len(data.trained) + len(data.held), settings.pictures
    return {
        "kind": PICTURES,
        "missing": data.missing(settings),
        "data": f"{n:,} products with a picture in {len(data.categories):,} categories",
        "minutes": min(len(data.trained) * own.epochs * _PICTURE_S / 60, own.max_minutes) + n * 3 * _DECODE_S / 60,
        # The network and its ONNX form.
        "version_mb": 16.2,
        # Each picture twice.
        "memory_mb": _BASE_MB + n * 0.04,
    }
