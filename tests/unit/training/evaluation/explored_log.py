"""Whole rankings of made candidates that were explored, with clicks by a position-based model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from services.ranker.domain.exploration import SLATES, explored
from services.ranker.domain.features import CANDIDATE_NUMBERS
from tests.unit.training.planted import POPULARITY, SHOPPER, made_numbers
from training.evaluation.estimates import Doubles
from training.evaluation.logged_rankings import LoggedRankings
from training.ranking.examples import Examples
from training.ranking.network import POSITIONS

CANDIDATES, SHOWN = 20, 5
EXAMINATION = 1 / np.arange(1, POSITIONS + 2, dtype=np.float64) ** 0.8


@dataclass(frozen=True)
class MadeLog:
    """`relevance` [n] of the candidates; clicks follow it. The log is ordered by popularity."""

    log: LoggedRankings
    relevance: Doubles

    def value(self, scores: Doubles, share: float) -> float:
        """The expected clicks of a ranking in the order of `scores`, by its own draws."""
        draws, total, count = Random(1), 0.0, self.log.examples.page_count
        may_move = np.ones(CANDIDATES, np.bool_)
        for ranking in range(count):
            rows = slice(ranking * CANDIDATES, (ranking + 1) * CANDIDATES)
            order = np.argsort(-scores[rows], kind="stable").tolist()
            shown = explored(order, may_move, SLATES, share, draws).order[:SHOWN]
            total += float((EXAMINATION[:SHOWN] * self.relevance[rows][list(shown)]).sum())
        return total / count


def made_log(count: int, share: float, seed: int = 0) -> MadeLog:
    random, draws = np.random.default_rng(seed), Random(seed)
    numbers = made_numbers(count, random, CANDIDATES)
    relevance = 0.05 + 0.6 * numbers[..., SHOPPER].astype(np.float64)
    may_move = np.ones(CANDIDATES, np.bool_)
    made = [
        explored(np.argsort(-row, kind="stable").tolist(), may_move, SLATES, share, draws)
        for row in numbers[..., POPULARITY]
    ]
    rows = np.arange(count)[:, np.newaxis], np.array([each.order for each in made])
    numbers, relevance = numbers[rows], relevance[rows]
    places = np.tile(np.arange(CANDIDATES), (count, 1))
    click = (places < SHOWN) & (random.random(places.shape) < EXAMINATION[places] * relevance)
    return MadeLog(
        LoggedRankings(
            _examples(numbers.reshape(-1, len(CANDIDATE_NUMBERS)), places, click, [each.propensities for each in made]),
            (places < SHOWN).reshape(-1), np.array([each.before for each in made]).reshape(-1) + 1,
            np.ones(places.size, np.int64), np.full(count, made[0].share),
            # By place from 1; the place 0 is unused.
            np.append(1.0, EXAMINATION[:POSITIONS]).astype(np.float32), "text@1", Counter(),
        ),
        relevance.reshape(-1),
    )  # fmt: skip


def _examples(
    numbers: np.ndarray, places: np.ndarray, click: np.ndarray, propensities: list[Sequence[float]]
) -> Examples:
    count, nothing, no = len(places), Examples.none(), np.zeros(click.size, np.float32)
    return replace(
        nothing, numbers=numbers, page=np.repeat(np.arange(count), CANDIDATES), item=np.arange(click.size),
        item_ids=np.arange(click.size).astype(str), positions=places.reshape(-1) + 1,
        propensities=np.array(propensities, np.float32).reshape(-1), click=click.reshape(-1).astype(np.float32),
        cart=no, purchase=no, shown_s=np.arange(count, dtype=np.float64), kinds=np.full(count, "person"),
        persons=np.array([f"person {row // 2}" for row in range(count)]), ranking_ids=np.arange(count).astype(str),
    )  # fmt: skip
