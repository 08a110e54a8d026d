"""Signs of collusion between a shop's prices and a competitor's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.pricing.domain.collusion import Answers, signs_of_collusion, together

Prices = NDArray[np.float64]
DAYS, HIGH, LOW = 200, 120.0, 104.0
BEST = np.full(DAYS, 100.0)


def prices(cuts: range, answers: range = range(0), usual: float = HIGH) -> Prices:
    """A cut for a day on each of `cuts`, and on the day after each of `answers`."""
    made = np.full(DAYS, usual)
    made[list(cuts)] = LOW / HIGH * usual
    made[[day + 1 for day in answers]] = LOW / HIGH * usual
    return made


OWN_CUTS, THEIR_CUTS, NONE = range(40, DAYS, 30), range(55, DAYS, 30), range(0)


def test_either_side_answers() -> None:
    """Prices above the best response, from which cuts are answered before both return, are suspected."""
    found = signs_of_collusion(prices(OWN_CUTS, THEIR_CUTS), prices(THEIR_CUTS, OWN_CUTS), BEST)
    assert found.is_suspected
    assert (found.by_shop.cuts, found.by_shop.answered) == (len(THEIR_CUTS), len(THEIR_CUTS))
    assert (found.by_competitor.cuts, found.by_competitor.answered) == (len(OWN_CUTS), len(OWN_CUTS))


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (prices(NONE), prices(NONE)),
        # Only one side answers: a best response to a fixed price.
        (prices(OWN_CUTS, THEIR_CUTS), prices(THEIR_CUTS)),
        (prices(OWN_CUTS), prices(THEIR_CUTS, OWN_CUTS)),
        (prices(OWN_CUTS), prices(THEIR_CUTS)),
    ],
    ids=["fixed", "only the shop", "only the competitor", "none"],
)
def test_high_prices_alone(own: Prices, other: Prices) -> None:
    """Prices above the best response are no sign while cuts of one side are not answered."""
    found = signs_of_collusion(own, other, BEST)
    assert (found.is_elevated, found.is_suspected) == (True, False)


def test_answers_alone() -> None:
    """Sellers that answer one another at their best responses are not suspected."""
    own, other = prices(OWN_CUTS, THEIR_CUTS, 100.0), prices(THEIR_CUTS, OWN_CUTS, 100.0)
    assert not signs_of_collusion(own, other, BEST).is_suspected


def test_prices_that_stay_down() -> None:
    """A price that does not return after a competitor's cut is no punishment."""
    down = np.where(np.arange(DAYS) > OWN_CUTS[0], LOW, HIGH)
    found = signs_of_collusion(down, prices(range(OWN_CUTS[0], OWN_CUTS[0] + 1)), BEST)
    assert (found.by_shop.cuts, found.by_shop.answered) == (1, 0)


@pytest.mark.parametrize("days", [0, 1, 33])
def test_too_few_days(days: int) -> None:
    """They show nothing."""
    found = signs_of_collusion(prices(NONE)[:days], prices(NONE)[:days], BEST[:days])
    assert (found.periods, found.by_shop.cuts, found.is_suspected) == (days, 0, False)


def test_products_together() -> None:
    """Of products with too few cuts each, all together are suspected."""
    one = signs_of_collusion(prices(range(40, 41), range(55, 56)), prices(range(55, 56), range(40, 41)), BEST)
    assert [one.is_suspected, together([one] * 4).is_suspected, together([]).is_suspected] == [False, True, False]


@pytest.mark.parametrize(("answered", "are_usual"), [(360, False), (400, True), (20_000, True)])
def test_many_cuts(answered: int, are_usual: bool) -> None:
    """Of 1,200 cuts chance answers 360 at a rate of .3; the sum has a value for any number of cuts."""
    assert Answers(max(1_200, answered), answered, 0.3).are_usual == are_usual
