"""The baselines of `benchmarks.recommend_quality`: on one split, settings from the validation, ranks on the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.baselines import counting, ease
from benchmarks.baselines.data import Histories, IntArray, Split
from benchmarks.baselines.evaluation import FloatArray, Scorer, ranks_in_batches
from benchmarks.baselines.lambdamart import fit_lambdamart
from benchmarks.baselines.sasrec import SasRecSettings, fit_sasrec
from benchmarks.baselines.tuning import tuned
from benchmarks.recommend_report import packed
from benchmarks.recommend_suite import titles
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.shopper.data import Catalogue, ShopperLog
from training.shopper.original import Encode, OriginalMethod

# () -> (scorer, report with its settings)
Fitted = Callable[[], tuple[Scorer, Mapping[str, Any]]]


def baselines(histories: Histories, split: Split, seed: int, threads: int) -> dict[str, Fitted]:
    """By name; nothing is fitted before it is called."""
    count = histories.item_count
    return {
        "popularity": lambda: (counting.popularity(split.known, count), {}),
        "item-to-item, tuned": lambda: tuned(
            split, seed, counting.ITEM_TO_ITEM_GRID,
            lambda known, **own: counting.item_to_item(known, count, **own), "item-to-item",
        ),
        "EASE": lambda: tuned(
            split, seed, ease.GRID, lambda known, **own: ease.ease(known, count, **own), "EASE"
        ),
        "SASRec, sampled softmax": lambda: fit_sasrec(split, count, SasRecSettings(seed=seed)),
        "LightGBM LambdaMART": lambda: fit_lambdamart(histories, split, seed, threads),
        "original: encoder over titles": lambda: (original(histories, encoder(threads)), {}),
    }  # fmt: skip


def measured(name: str, fitted: Fitted, split: Split, users: IntArray) -> dict[str, Any]:
    """The row of a baseline: the ranks of the test targets of `users`, which are rows of the split's test."""
    started = time.perf_counter()
    scorer, report = fitted()
    fit_s = time.perf_counter() - started
    histories, found = [split.test_histories[row] for row in users], []
    with tqdm(total=len(users), desc=f"{name}: test", unit=" users", mininterval=5) as bar:
        for some in ranks_in_batches(scorer, histories, split.test_targets[users]):
            found.append(some)
            bar.update(len(some))
    test_s = time.perf_counter() - started - fit_s
    return {
        "ranks": packed(np.concatenate(found)),
        "report": {**report, "fit_s": round(fit_s, 1), "test_s": round(test_s, 1)},
    }


def original(histories: Histories, encode: Encode) -> Scorer:
    """The original method, literally: one text of the titles of the last 50 events, and its cosine with each title."""
    names = titles(histories)
    catalogue = Catalogue(histories.item_ids, text=encode(names), titles=names)

    def score(known: Sequence[IntArray]) -> FloatArray:
        # The event to predict comes after those of the history; which one it is, the method does not read.
        log = ShopperLog.of_sequences([np.append(history, 0) for history in known])
        return OriginalMethod(log, catalogue, encode)(log.starts[1:] - 1)

    return score


def encoder(threads: int) -> Encode:
    """The served encoder with the longest input that it takes."""
    settings = QueryEncoderSettings()
    own = build_encoder(settings, threads)
    longest = 256

    def encode(texts: Sequence[str]) -> FloatArray:
        vectors = np.asarray(own.encode(list(texts), longest, "product"), np.float32)
        unit: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return unit

    return encode
