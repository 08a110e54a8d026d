"""Lists of candidates with the features of the weighted sum, and which of them the person acted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, unit_rows
from services.gateway.domain.merging import SourceList, merged
from services.gateway.domain.serving_configuration import Source
from services.ranker.domain.features.history_match import history_match
from services.ranker.domain.features.neighbour_match import neighbour_match
from services.ranker.domain.features.popularity import saturated
from services.ranker.domain.features.price_affinity import price_affinity
from services.ranker.domain.features.query_match import query_match
from services.ranker.domain.features.shopper_match import shopper_match
from services.ranker.domain.popularity import WEIGHTS as OF_EVENTS
from services.ranker.domain.popularity import decayed, log_mass_of, moved
from services.ranker.domain.profile import Profile, build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.shopper.events import TYPES
from training.shopper.data import Catalogue, IntArray, ShopperLog
from training.shopper.evaluation import CANDIDATES, seen
from training.shopper.histories import Histories
from training.shopper.model import ShopperModel
from training.shopper.neighbours import Neighbours
from training.shopper.windows import Windows

# The columns: fields of the ranker's Weights. Availability is not among them, as a log has no stock of the time.
FEATURES = ("query", "history", "price", "popularity", "shopper", "neighbours")
# Candidates of the sources beside the model, whose are CANDIDATES.
_NEAREST = _ALIKE = 100
_KINDS = {number: kind for kind, number in TYPES.items()}


@dataclass(frozen=True)
class Lists:
    """n candidates of k lists, in the order of the lists.

    `features` [n, FEATURES]; `lists` [n] the list of each, ascending; `gains` [n], 1 for what the person acted on, else
    0; `weights` [n] of the candidates with a gain. `all_lists` also counts lists whose candidates have no gain.
    """

    features: npt.NDArray[np.float64]
    lists: IntArray
    gains: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    all_lists: int

    @property
    def count(self) -> int:
        return int(self.lists[-1]) + 1 if len(self.lists) else 0

    @classmethod
    def of(cls, parts: Sequence[tuple[FloatArray, FloatArray, FloatArray]]) -> Lists:
        """Of (features, gains, weights) of each list. Those without a gain have nothing to say, and are left out."""
        kept = [part for part in parts if part[1].any()]
        return cls(
            np.concatenate([np.zeros((0, len(FEATURES))), *(part[0] for part in kept)]),
            np.repeat(np.arange(len(kept)), [len(part[1]) for part in kept]),
            np.concatenate([np.zeros(0), *(part[1] for part in kept)]),
            np.concatenate([np.zeros(0), *(part[2] for part in kept)]),
            len(parts),
        )


def validation_lists(
    model: ShopperModel, log: ShopperLog, catalogue: Catalogue, events: IntArray,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Lists:  # fmt: skip
    """Before each of these events: what the sources find, and whether the event's item is among it.

    `model` and the counts must not have seen the events. `events` are all of `log` that they have not seen.
    """
    earlier = log.before(log.newest_targets())
    return CandidateLists(model, log, earlier, catalogue).of(events, progress)


class CandidateLists:
    def __init__(self, model: ShopperModel, log: ShopperLog, earlier: ShopperLog, catalogue: Catalogue) -> None:
        self._model, self._log, self._catalogue = model, log, catalogue
        self._windows, self._histories = Windows(log, catalogue.size), Histories(log, catalogue)
        self._neighbours = Neighbours(earlier, catalogue.ids)
        self._row_of = {item_id: row for row, item_id in enumerate(catalogue.ids)}
        self._log_popularity = log_popularity(earlier, catalogue.ids)
        text = np.zeros((catalogue.size, 1), np.float32) if catalogue.text is None else catalogue.text
        self._text = unit_rows(text)

    def of(self, events: IntArray, progress: Callable[[int, int], None]) -> Lists:
        parts = []
        for done, event in enumerate(events.tolist()):
            parts.append(self._list(event))
            if done % 50 == 0:
                progress(done, len(events))
        return Lists.of(parts)

    def _list(self, event: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        log, ids = self._log, self._catalogue.ids
        now_s, history = float(log.times_s[event]), self._histories.before(event)
        scores = self._model.items @ self._model.persons(self._windows, np.array([event]))[0]
        own = seen(log, np.array([event]))[1]
        open_scores = scores.copy()
        open_scores[own] = -np.inf
        best = np.argsort(-open_scores, kind="stable")[: min(CANDIDATES, len(scores) - len(set(own.tolist())))]
        near = self._neighbours.scores(history, now_s)
        nearest = sorted(near, key=lambda item_id: (-near[item_id], item_id))[:_NEAREST]
        profile = build_profile(history, self._catalogue.vector_version, self._text.shape[1], now_s)
        # As the placement "home" of services/gateway/serving.yaml merges them.
        found = merged(
            [
                SourceList(Source.SHOPPER, 1.0, [ids[row] for row in best.tolist()]),
                SourceList(Source.NEIGHBOURS, 1.0, nearest),
                SourceList(Source.INTERESTS, 0.5, [ids[row] for row in self._alike(profile, own)]),
            ]
        )
        rows = np.array([self._row_of[entry.item_id] for entry in found], np.int64)
        unknown = np.full(len(rows), np.nan, np.float32)
        request = RankingRequest(
            [entry.item_id for entry in found], np.array([entry.score for entry in found], np.float32),
            self._text[rows], self._prices(rows) if self._catalogue.prices is not None else unknown,
            np.full(len(rows), -1, np.float32), self._popularity(rows, now_s), None,
            profile,
            [self._catalogue.categories[row] if self._catalogue.categories else "" for row in rows.tolist()],
            [""] * len(rows), history, self._catalogue.vector_version, now_s, shopper_scores=scores[rows],
            neighbour_scores=np.array([near.get(entry.item_id, 0.0) for entry in found], np.float32),
        )  # fmt: skip
        gains = (rows == log.items[event]).astype(np.float32)
        return columns(request), gains, gains

    def _alike(self, profile: Profile, own: IntArray) -> list[int]:
        """Rows of products whose text is like that of the history."""
        if not profile.size:
            return []
        match = history_match(self._text, profile)
        match[own] = 0
        best = np.argpartition(-match, min(_ALIKE, len(match) - 1))[:_ALIKE]
        return [row for row in best[np.argsort(-match[best], kind="stable")].tolist() if match[row] > 0]

    def _prices(self, rows: IntArray) -> FloatArray:
        assert self._catalogue.prices is not None
        return self._catalogue.prices[rows].astype(np.float32)

    def _popularity(self, rows: IntArray, now_s: float) -> FloatArray:
        logs = self._log_popularity
        return np.array([decayed(logs.get(row), now_s) for row in rows.tolist()], np.float32)


def columns(request: RankingRequest) -> FloatArray:
    """[n, FEATURES], as the weighted sum reads them."""
    return np.stack(
        [
            query_match(request), history_match(request.vectors, request.profile), price_affinity(request),
            saturated(request.popularity), shopper_match(request), neighbour_match(request),
        ],
        axis=1,
    )  # fmt: skip


def log_popularity(log: ShopperLog, item_ids: Sequence[str]) -> dict[int, float]:
    """By row of the catalogue, as the ranker counts it: a person counts once, with the event that weighs most."""
    shares: dict[tuple[int, int], float] = {}
    kinds = {number for number, kind in _KINDS.items() if kind in OF_EVENTS}
    persons = log.person_of_event().tolist()
    for person, item, type, time_s in zip(
        persons, log.items.tolist(), log.types.tolist(), log.times_s.tolist(), strict=True
    ):
        if item >= 0 and type in kinds:
            mass = log_mass_of(_KINDS[type], item_ids[item], time_s)
            assert mass is not None
            shares[person, item] = max(mass, shares.get((person, item), mass))
    totals: dict[int, float] = {}
    for (_, item), share in shares.items():
        total = moved(totals.get(item), None, share)
        if total is not None:
            totals[item] = total
    return totals
