"""Lists of candidates with their features, as serving computes them, and what the person did with which of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, unit_rows
from services.common.serving_configuration import Source
from services.gateway.domain.merging import SourceList, merged
from services.ranker.domain.attention import history_match
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.event import EventType
from services.ranker.domain.features import CANDIDATE_NUMBERS
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

# The fields of the ranker's Weights, and the candidate feature that each multiplies. Availability is not among them, as
# a log has no stock of the time.
FEATURE_OF = {
    "query": "query_match", "history": "history_match", "price": "price_affinity", "popularity": "popularity",
    "shopper": "shopper_match", "neighbours": "neighbour_match",
}  # fmt: skip
FEATURES = tuple(FEATURE_OF)
# Candidates of the sources beside the model, whose are CANDIDATES.
_NEAREST = _ALIKE = 100
_NEAR = 3 * _ALIKE
_BATCH = 256
_KINDS = {number: kind for kind, number in TYPES.items()}
# How far an event says that the person got with the item: 1 click, 2 cart, 3 purchase.
_REACHED = {EventType.CART: 2, EventType.PURCHASE: 3}


class OneList(NamedTuple):
    """c candidates: `numbers` [c, CANDIDATE_NUMBERS], `reached` [c] as in Lists, `weights` [c]; `person` is a key."""

    numbers: FloatArray
    reached: IntArray
    weights: FloatArray
    person: str


@dataclass(frozen=True)
class Lists:
    """n candidates of k lists, in the order of the lists.

    `numbers` [n, CANDIDATE_NUMBERS], float32; `lists` [n] the list of each, ascending; `reached` [n]: 0 nothing,
    1 click, 2 cart, 3 purchase; `weights` [n] of the candidates with a gain. `persons` are the keys of the persons of
    the k lists, and behind them those of the lists that are left out: their candidates have no gain.
    """

    numbers: FloatArray
    lists: IntArray
    reached: IntArray
    weights: FloatArray
    persons: npt.NDArray[np.str_]

    @property
    def count(self) -> int:
        return int(self.lists[-1]) + 1 if len(self.lists) else 0

    @property
    def all_lists(self) -> int:
        """Also those whose candidates have no gain."""
        return len(self.persons)

    @property
    def gains(self) -> npt.NDArray[np.float64]:
        """[n]: 1 for what the person acted on, else 0."""
        return (self.reached > 0).astype(np.float64)

    @property
    def starts(self) -> IntArray:
        """[k]: the first candidate of each list."""
        return np.flatnonzero(np.append(True, self.lists[1:] != self.lists[:-1])) if len(self.lists) else self.lists

    def columns(self) -> npt.NDArray[np.float64]:
        """[n, FEATURES]: what the weighted sum adds up."""
        at = [CANDIDATE_NUMBERS.index(FEATURE_OF[name]) for name in FEATURES]
        return self.numbers[:, at].astype(np.float64)

    def of_persons(self, chosen: npt.NDArray[np.bool_]) -> Lists:
        """The lists whose place in `persons` is chosen."""
        kept = chosen[: self.count]
        rows = kept[self.lists]
        renumbered = np.cumsum(kept) - 1
        return Lists(
            self.numbers[rows], renumbered[self.lists[rows]], self.reached[rows], self.weights[rows],
            self.persons[chosen],
        )  # fmt: skip

    @classmethod
    def of(cls, parts: Sequence[OneList]) -> Lists:
        """Lists without a gain have nothing to say, and are left out."""
        kept = [part for part in parts if part.reached.any()]
        missed = [part for part in parts if not part.reached.any()]
        return cls(
            np.concatenate([np.zeros((0, len(CANDIDATE_NUMBERS)), np.float32), *(part.numbers for part in kept)]),
            np.repeat(np.arange(len(kept)), [len(part.reached) for part in kept]),
            np.concatenate([np.zeros(0, np.int64), *(part.reached for part in kept)]),
            np.concatenate([np.zeros(0, np.float32), *(part.weights for part in kept)]),
            np.array([part.person for part in (*kept, *missed)], np.str_),
        )

    def save(self, file: Path) -> None:
        """Whole or not at all."""
        draft = file.with_suffix(".draft.npz")
        np.savez(draft, **{each.name: getattr(self, each.name) for each in fields(self)})
        draft.rename(file)

    @classmethod
    def load(cls, file: Path) -> Lists:
        with np.load(file) as stored:
            return cls(**{each.name: stored[each.name] for each in fields(cls)})


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
        score, parts = self._model.scorer(self._windows), []
        for start in range(0, len(events), _BATCH):
            batch = events[start : start + _BATCH]
            progress(start, len(events))
            parts += [self._list(event, scores) for event, scores in zip(batch.tolist(), score(batch), strict=True)]
        return Lists.of(parts)

    def _list(self, event: int, scores: FloatArray) -> OneList:
        """`scores` [products] of the model."""
        log, ids = self._log, self._catalogue.ids
        now_s, history = float(log.times_s[event]), self._histories.before(event)
        person = log.persons[int(np.searchsorted(log.starts, event, side="right")) - 1]
        own = seen(log, np.array([event]))[1]
        open_scores = scores.copy()
        open_scores[own] = -np.inf
        best = [row for row in _highest(open_scores, CANDIDATES).tolist() if np.isfinite(open_scores[row])]
        near = self._neighbours.scores(history, now_s)
        nearest = sorted(near, key=lambda item_id: (-near[item_id], item_id))[:_NEAREST]
        profile = build_profile(history, self._catalogue.vector_version, self._text.shape[1], now_s)
        # As the placement "home" of services/gateway/serving.yaml merges them.
        found = merged(
            [
                SourceList(Source.SHOPPER, 1.0, [ids[row] for row in best]),
                SourceList(Source.NEIGHBOURS, 1.0, nearest),
                SourceList(Source.INTERESTS, 0.5, [ids[row] for row in self._alike(profile, own)]),
            ]
        )
        rows = np.array([self._row_of[entry.item_id] for entry in found], np.int64)
        unknown = np.full(len(rows), np.nan, np.float32)
        request = RankingRequest(
            [entry.item_id for entry in found], np.array([entry.score for entry in found], np.float32),
            self._text[rows], self._prices(rows) if self._catalogue.prices is not None else unknown,
            np.full(len(rows), -1, np.float32), self._popularity(rows, now_s), None, profile,
            _named(self._catalogue.categories, rows), _named(self._catalogue.brands, rows), history,
            self._catalogue.vector_version, now_s, shopper_scores=scores[rows],
            neighbour_scores=np.array([near.get(entry.item_id, 0.0) for entry in found], np.float32),
        )  # fmt: skip
        reached = np.where(rows == log.items[event], _REACHED.get(_KINDS[int(log.types[event])], 1), 0)
        return OneList(features_of(request)[1].numbers, reached, np.ones(len(rows), np.float32), person)

    def _alike(self, profile: Profile, own: IntArray) -> list[int]:
        """Rows of products whose text is like that of the history."""
        if not profile.size:
            return []
        # The exact match is slow, and is computed for what is near the history as a whole.
        near = self._text @ (profile.weights @ profile.vectors)
        near[own] = -np.inf
        rows = _highest(near, _NEAR)
        match = history_match(self._text[rows], profile)
        match[~np.isfinite(near[rows])] = 0
        return [int(rows[at]) for at in _highest(match, _ALIKE) if match[at] > 0]

    def _prices(self, rows: IntArray) -> FloatArray:
        assert self._catalogue.prices is not None
        return self._catalogue.prices[rows].astype(np.float32)

    def _popularity(self, rows: IntArray, now_s: float) -> FloatArray:
        logs = self._log_popularity
        return np.array(decayed([logs.get(row) for row in rows.tolist()], now_s), np.float32)


def _highest(values: FloatArray, count: int) -> IntArray:
    """Places of the highest values, the highest first, and of equal ones the first."""
    found = np.sort(np.argpartition(-values, min(count, len(values) - 1))[:count])
    return found[np.argsort(-values[found], kind="stable")]


def _named(names: Sequence[str], rows: IntArray) -> list[str]:
    """[n]; "" where the catalogue has none."""
    return [names[row] if names else "" for row in rows.tolist()]


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
