"""Rankings that the log keeps whole, with what was shown of them and what followed: the input of a replay."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.event import Event, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.stored_ranking import LoggedPolicy
from training.evaluation.estimates import Doubles, Integers
from training.ranking.examples import TASKS, Examples, Page
from training.ranking.network import POSITIONS
from training.ranking.outcomes import Outcomes
from training.ranking.positions import examination_of
from training.ranking.reading import ItemVectors, example_page, usable_features, vectors_of


@dataclass(frozen=True)
class LoggedRankings:
    """r rankings with all their candidates, n in all, in the order that was made; `examples` has their features.

    `shown` [n]; `policy_positions` [n], from 1: the places before exploration; `tiers` [n] as in LoggedPolicy; `shares`
    [r] that were explored. `examination` by place, relative to the first, of all pages that were read.
    `vector_version` is the model of the products' vectors. `omitted`: rankings that cannot be used, by reason.
    """

    examples: Examples
    shown: npt.NDArray[np.bool_]
    policy_positions: Integers
    tiers: Integers
    shares: Doubles
    examination: FloatArray
    vector_version: str
    omitted: Counter[str]

    @property
    def groups(self) -> Integers:
        """[r]: a number for each person; a ranking of nobody known is a group of its own."""
        examples = self.examples
        names = np.where(examples.persons == "", examples.ranking_ids, examples.persons)
        return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)

    def of_kinds(self, kinds: Collection[str]) -> LoggedRankings:
        """The rankings of these kinds."""
        chosen = np.isin(self.examples.kinds, list(kinds))
        rows = chosen[self.examples.page]
        return replace(
            self, examples=self.examples.take(np.flatnonzero(chosen)), shown=self.shown[rows],
            policy_positions=self.policy_positions[rows], tiers=self.tiers[rows], shares=self.shares[chosen],
        )  # fmt: skip

    def rewards(self, task: str) -> Doubles:
        """[n]: 1 where the person got so far with what was shown."""
        if task not in TASKS:
            raise ValueError(f"the outcome {task!r} is unknown; use {', '.join(TASKS)}")
        return np.asarray(getattr(self.examples, task), np.float64)


def logged_rankings(
    whole: Iterable[Impressions], pages: Iterable[Impressions], events: Iterable[Event], now_s: float, window_s: float,
    items: Callable[[Sequence[str]], Mapping[str, ItemFeatures]] = lambda ids: {},
) -> LoggedRankings:  # fmt: skip
    """`whole` are rankings with all candidates; `pages` what was shown of all rankings. Persons are as in the events.

    A ranking is used if its window is over, so that an event after it is no outcome any more. `items` by id, for their
    vectors; without them, all vectors are zero.
    """
    outcomes, rankings = Outcomes(), {page.ranking.ranking_id: page for page in whole}
    for event in events:
        outcomes.add_event(event)
    shown_pages: dict[str, list[Impressions]] = defaultdict(list)
    every = list(pages)
    for page in every:
        outcomes.add_impressions(page)
        if page.ranking.ranking_id in rankings:
            shown_pages[page.ranking.ranking_id].append(page)
    omitted = Counter[str]()
    version, dimensions = vectors_of(list(rankings.values()))
    ids = {id for page in rankings.values() for id in page.ranking.item_ids} | {
        id for page in rankings.values() if page.ranking.logged for id in page.ranking.logged.event_item_ids
    }
    vectors = ItemVectors(items(sorted(ids)), version, dimensions)
    made: list[Page] = []
    columns: list[tuple[npt.NDArray[np.bool_], LoggedPolicy]] = []
    for ranking_id, ranking in rankings.items():
        shown = shown_pages.get(ranking_id, [])
        if problem := _problem(ranking, shown, version, now_s - window_s):
            omitted[problem] += 1
            continue
        logged = usable_features(ranking, version)
        assert logged is not None
        reached, is_shown = _outcomes_of(ranking, shown, outcomes, window_s)
        rows = range(len(ranking.ranking.item_ids))
        made.append(example_page(ranking, logged, vectors, rows, reached))
        columns.append((is_shown, _policy_of(ranking)))
    return LoggedRankings(
        Examples.of(made, dimensions),
        np.concatenate([np.zeros(0, np.bool_), *(shown for shown, _ in columns)]),
        np.concatenate([np.zeros(0, np.int64), *(policy.positions for _, policy in columns)]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *(policy.tiers for _, policy in columns)]).astype(np.int64),
        np.array([policy.share for _, policy in columns], np.float64),
        _examination(every, outcomes, window_s),
        version,
        omitted,
    )


def _problem(ranking: Impressions, shown: Sequence[Impressions], version: str, until_s: float) -> str:
    if not shown:
        return "the page that was shown is not among those that were read"
    if max(page.shown_s for page in shown) > until_s:
        return "events may still follow"
    if usable_features(ranking, version) is None:
        return "ranked with other features or vectors than today's"
    if ranking.ranking.interleaving is not None:
        return "interleaved: two policies made its order"
    if ranking.ranking.policy is None and (ranking.ranking.propensities < 1).any():
        return "logged before its order before exploration was"
    return ""


def _outcomes_of(
    ranking: Impressions, shown: Sequence[Impressions], outcomes: Outcomes, window_s: float
) -> tuple[list[int], npt.NDArray[np.bool_]]:
    """(how far the person got with each candidate, whether it was shown). What a person repeats counts once."""
    row_of = {item_id: row for row, item_id in enumerate(ranking.ranking.item_ids)}
    reached, is_shown = [0] * len(row_of), np.zeros(len(row_of), np.bool_)
    for page in shown:
        for item_id in page.ranking.item_ids:
            if (row := row_of.get(item_id)) is None:
                continue
            is_shown[row] = True
            if not outcomes.is_repeated(page, (page.person,), item_id, window_s):
                reached[row] = max(reached[row], outcomes.reached(page, (page.person,), item_id, window_s))
    return reached, is_shown


def _examination(pages: Sequence[Impressions], outcomes: Outcomes, window_s: float) -> FloatArray:
    """As `examination_of`; an item is a pair of query and product."""
    numbers: dict[tuple[str, str], int] = {}
    positions, items, clicks = list[int](), list[int](), list[float]()
    for page in pages:
        for position, item_id in zip(page.positions, page.ranking.item_ids, strict=True):
            positions.append(position)
            items.append(numbers.setdefault((page.ranking.query, item_id), len(numbers)))
            clicks.append(float(outcomes.reached(page, (page.person,), item_id, window_s) > 0))
    if not items:
        return np.ones(POSITIONS + 1, np.float32)
    return examination_of(np.array(positions, np.int64), np.array(items, np.int64), np.array(clicks, np.float32))


def _policy_of(ranking: Impressions) -> LoggedPolicy:
    """Of a record from before it was logged: nothing was drawn, and there are no tiers."""
    if (policy := ranking.ranking.policy) is not None:
        return policy
    count = len(ranking.ranking.item_ids)
    return LoggedPolicy(np.arange(1, count + 1, dtype=np.int32), np.ones(count, np.int32), 0.0)
