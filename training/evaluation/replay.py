"""What another order of the logged candidates would have been worth, explored as the log was.

The target orders the candidates of each ranking by its scores, tier by tier, and is explored with the same share. Both
policies' probabilities of every product at every place are exact: a target that is the logging policy has the weight 1
everywhere. Places that were not shown are worth nothing, so that page sizes stay what they were.

The reward model is examination of the place x rate of the product: Poisson regression on the candidate features,
cross-fitted by person.

Of a slate (a recommendation), diversity, brand caps and factors of the shop are not replayed: `agreement` of the order
that serves says how near the replay is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from services.ranker.domain.exploration import SEARCHES, SLATES
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.slate.fatigue import fatigued
from training.evaluation.cross_fit import cross_fitted
from training.evaluation.estimates import Doubles, Estimate, Integers
from training.evaluation.estimators import ESTIMATORS, Logged, Overlap, dr, ips, logged_value
from training.evaluation.explored_order import ExploredOrder
from training.evaluation.logged_rankings import LoggedRankings
from training.evaluation.regression import poisson, rates
from training.evaluation.slates import interaction, position_based
from training.ranking.examples import SEARCH, Examples
from training.ranking.network import POSITIONS

# DR with weights over all places, and IPS with weights given the places above.
POSITION_BASED, INTERACTION = "position-based", "interaction"
NAMES = (*ESTIMATORS, POSITION_BASED, INTERACTION)
# Rounding of logged propensities.
_TOLERANCE = 1e-4
# Places of which the agreement of two orders is reported.
_TOP = 10
_OUT_OF_STOCK, _SHOWN = (CANDIDATE_NUMBERS.index(name) for name in ("out_of_stock", "shown_without_click"))


@dataclass(frozen=True)
class Replayed:
    """`estimates` and `overlaps` by estimator, of the rewards of a ranking; `logged` is of the policy of the log.

    `differences`: the estimate less what the same estimator says of the policy of the log. Both read the same pages, so
    that most chance falls out: of the policy of the log itself, all are 0.
    `agreement`: the share of the first places at which both orders have the same product, before exploration.
    `rearranged`: rankings that were left out, since merchandising rules had moved products.
    """

    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    overlaps: Mapping[str, Overlap]
    logged: Estimate
    rankings: int
    persons: int
    agreement: float
    rearranged: int


@dataclass(frozen=True)
class _Ranking:
    """m shown places of one ranking. `rows` [m] of the log; weights of the place, over all places, and given those
    above; `expected` and `expected_logging` [m]: what the reward model says of both policies at the place;
    `covered` [m]: the share of the target's products at the place that the log could have shown there, or anywhere on
    the page.
    """

    rows: Integers
    weights: Doubles
    over_places: Doubles
    given_above: Doubles
    expected: Doubles
    expected_logging: Doubles
    covered: Doubles
    covered_anywhere: Doubles
    same: float


def replay(log: LoggedRankings, scores: Doubles, task: str, seed: int = 0) -> Replayed:
    """`scores` [n] of the candidates make the target's order. Raises ValueError if the log has too little to say."""
    count = log.examples.page_count
    if not count:
        raise ValueError("no whole ranking has a page that was shown, and outcomes that are known")
    rewards, looked = log.rewards(task), np.asarray(log.examination, np.float64)
    rate = _rates(log, rewards, looked, seed)
    starts = np.searchsorted(log.examples.page, np.arange(count + 1))
    found = [_replayed(log, scores, rate, looked, at, np.arange(starts[at], starts[at + 1])) for at in range(count)]
    kept = [each for each in found if each is not None]
    if not kept:
        raise ValueError("merchandising rules moved products in every whole ranking; a replay needs some without")

    def joined(of: Callable[[_Ranking], Doubles]) -> Doubles:
        return np.concatenate([of(each) for each in kept])

    rows = np.concatenate([each.rows for each in kept])
    units = np.repeat(np.arange(len(kept)), [len(each.rows) for each in kept])
    groups = np.unique(log.groups[log.examples.page[rows]], return_inverse=True)[1]
    predicted = looked[np.clip(log.examples.positions[rows], 1, POSITIONS)] * rate[rows]
    own = Logged(
        rewards[rows], joined(lambda each: each.weights), predicted, joined(lambda each: each.expected), units, groups
    )
    weights = {
        **dict.fromkeys(ESTIMATORS, own.weights), POSITION_BASED: joined(lambda each: each.over_places),
        INTERACTION: joined(lambda each: each.given_above),
    }  # fmt: skip
    shares = float(joined(lambda each: each.covered).mean())
    anywhere = float(joined(lambda each: each.covered_anywhere).mean())
    covered = {**dict.fromkeys(ESTIMATORS, shares), POSITION_BASED: anywhere}
    logging = replace(own, weights=np.ones(len(rows)), expected=joined(lambda each: each.expected_logging))
    estimators = {**ESTIMATORS, POSITION_BASED: dr, INTERACTION: ips}
    estimates = {name: estimator(replace(own, weights=weights[name])) for name, estimator in estimators.items()}
    differences = {name: estimates[name].minus(estimator(logging)) for name, estimator in estimators.items()}
    return Replayed(
        estimates, differences,
        {name: Overlap.of(of, covered.get(name)) for name, of in weights.items()}, logged_value(own),
        len(kept), int(groups.max()) + 1,
        float(np.mean([each.same for each in kept])), count - len(kept),
    )  # fmt: skip


def _replayed(
    log: LoggedRankings, scores: Doubles, rate: Doubles, looked: Doubles, number: int, rows: Integers
) -> _Ranking | None:
    """`rows` are its candidates in the order that was made. None: another hand than the policy's has made it."""
    examples, share = log.examples, float(log.shares[number])
    policy = SEARCHES if examples.kinds[number] == SEARCH else SLATES
    may_move = (examples.numbers[rows, _OUT_OF_STOCK] == 0) & (log.tiers[rows] == 1)
    before = np.argsort(log.policy_positions[rows], kind="stable")
    logging = ExploredOrder(before, may_move, policy, share)
    every = np.arange(len(rows))
    if np.abs(logging.chances(every)[every, every] - examples.propensities[rows]).max() > _TOLERANCE:
        return None
    after = before[_sorted(examples, rows[before], scores, log.tiers)]
    target = ExploredOrder(after, may_move, policy, share)
    places = np.flatnonzero(log.shown[rows])
    ours, theirs, at = target.chances(places), logging.chances(places), np.arange(len(places))
    seen = looked[np.clip(places + 1, 1, POSITIONS)]
    ratio = target.chances_along(places[-1] + 1) / logging.chances_along(places[-1] + 1)
    return _Ranking(
        rows[places], ours[at, places] / theirs[at, places],
        position_based(ours[:, places].T, theirs[:, places].T, seen),
        interaction(ratio[np.newaxis])[0, places], seen * (ours @ rate[rows]), seen * (theirs @ rate[rows]),
        (ours * (theirs > 0)).sum(axis=1), ours @ (theirs > 0).any(axis=0),
        float((before[:_TOP] == after[:_TOP]).mean()),
    )  # fmt: skip


def _sorted(examples: Examples, rows: Integers, scores: Doubles, tiers: Integers) -> Integers:
    """The order of these rows, which keeps theirs where keys are equal.

    A search goes tier by tier. In a slate, what was shown without a click has lost score, and what is out of stock
    stands last.
    """
    of_rows = scores[rows]
    if examples.kinds[examples.page[rows[0]]] == SEARCH:
        return np.asarray(np.lexsort((-of_rows, tiers[rows])), np.int64)
    counts = np.rint(np.expm1(examples.numbers[rows, _SHOWN])).tolist()
    tired = fatigued(of_rows.astype(np.float32), counts)
    return np.asarray(np.lexsort((-tired, examples.numbers[rows, _OUT_OF_STOCK] > 0)), np.int64)


def _rates(log: LoggedRankings, rewards: Doubles, looked: Doubles, seed: int) -> Doubles:
    """[n]: the expected reward of each candidate at a place that is surely examined, by a model that has not seen its
    person.
    """
    examples, numbers = log.examples, np.asarray(log.examples.numbers, np.float64)
    exposures = looked[np.clip(examples.positions, 1, POSITIONS)]

    def fit(chosen: Integers) -> Callable[[Integers], Doubles]:
        rows = chosen[log.shown[chosen]]
        mean, spread = numbers[rows].mean(axis=0), numbers[rows].std(axis=0)

        def columns(of: Integers) -> Doubles:
            scaled = np.clip((numbers[of] - mean) / np.where(spread > 0, spread, 1.0), -5, 5) * (spread > 0)
            return np.concatenate([np.ones((len(of), 1)), scaled], axis=1)

        coefficients = poisson(columns(rows), rewards[rows], exposures[rows])
        return lambda others: rates(columns(others), coefficients)

    return cross_fitted(fit, log.groups[examples.page], seed)
