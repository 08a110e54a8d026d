"""How good a fitted model is on the newest events of persons, beside baselines, and the weights that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.ranker.domain.weights import Weights
from training.shopper.data import Catalogue, IntArray
from training.shopper.evaluation import Quality, Scorer, quality, ranks
from training.shopper.lists import FEATURES, Lists
from training.shopper.train import Trained
from training.shopper.weights import FittedWeights, fit_weights, ranks_in
from training.shopper.windows import Windows

_EVENTS = 2_000
_MISSED = 1 << 40


@dataclass(frozen=True)
class Assessment:
    """`methods` by name, all on the same newest events, which `Trained.validated` and the counts have not seen.

    `weights` are None if there are too few lists.
    """

    methods: Mapping[str, Quality]
    weights: FittedWeights | None
    lists: Lists


def assess(trained: Trained, catalogue: Catalogue, lists: Lists, default: Weights, seed: int = 0) -> Assessment:
    """On at most _EVENTS of the newest events. `lists` are those of `validation_lists` before these, or before more."""
    log = trained.log
    listed = np.isin(log.persons, lists.persons)[log.person_of_event()[trained.validation]]
    events = np.sort(np.random.default_rng(seed).permutation(trained.validation[listed])[:_EVENTS])
    chosen = np.array(log.persons, np.str_)[log.person_of_event()[events]]
    lists, windows = lists.of_persons(np.isin(lists.persons, chosen)), Windows(log, catalogue.size)
    counts = log.before(trained.validation).counts(catalogue.size).astype(np.float32)
    weights = fit_weights(lists, default)
    found = {
        "popularity": ranks(_same(counts), log, events),
        "neighbours": _by_column(lists, "neighbours"),
        "network": ranks(trained.validated.scorer(windows), log, events),
        "weighted sum, default weights": _padded(
            ranks_in(lists, np.array([getattr(default, name) for name in FEATURES])), lists
        ),
    }
    if weights is not None:
        found["weighted sum, fitted weights"] = _padded(weights.ranks, lists)
    return Assessment({name: quality(placed, seed) for name, placed in found.items()}, weights, lists)


def _same(counts: np.ndarray) -> Scorer:
    return lambda events: np.tile(counts, (len(events), 1))


def _by_column(lists: Lists, name: str) -> IntArray:
    """By one feature alone; a candidate without it is not found."""
    weights = np.zeros(len(FEATURES))
    weights[FEATURES.index(name)] = 1.0
    if not lists.count:
        return np.full(lists.all_lists, _MISSED)
    placed = ranks_in(lists, weights)
    own = lists.columns()[lists.reached > 0, FEATURES.index(name)]
    return _padded(np.where(own > 0, placed, _MISSED), lists)


def _padded(placed: IntArray, lists: Lists) -> IntArray:
    """With the lists whose candidates do not have the item."""
    return np.concatenate([placed, np.full(lists.all_lists - lists.count, _MISSED)])
