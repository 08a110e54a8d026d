"""Ranges of numbers with round bounds, closed and disjoint, so that each can be chosen as a filter."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from services.common.filters import PriceRange
from services.common.money import Money, in_minor_units, minor_unit
from services.retrieval.domain.facets import MAX_FACET_RANGES

Floats = npt.NDArray[np.float64]

# First digits of round numbers, for bounds that grow by factors and for steps of one length.
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
# Values that spread over more than this factor get bounds that grow.
_WIDE = 4.0
_LOW_SHARE, _HIGH_SHARE = 0.05, 0.95


def cut_points(ordered: Floats) -> list[float]:
    """Round numbers that split the values into at most MAX_FACET_RANGES parts of like size.

    A part reaches from one cut point, included, to the next one. `ordered`: finite values, ascending.
    """
    if not len(ordered):
        return []
    low, high = _at(ordered, _LOW_SHARE), _at(ordered, _HIGH_SHARE)
    if low > 0 and high / low > _WIDE:
        found = [_rounded(_at(ordered, number / MAX_FACET_RANGES)) for number in range(1, MAX_FACET_RANGES)]
    else:
        found = _steps(low, high)
    cuts: list[float] = []
    below = 0
    for cut, place in zip(sorted(set(found)), _places(ordered, sorted(set(found))), strict=True):
        # Neither the part before a cut nor the last one is empty.
        if below < place < len(ordered) and len(cuts) < MAX_FACET_RANGES - 1:
            cuts.append(cut)
            below = place
    return cuts


def part_of(values: Floats, cuts: Sequence[float]) -> npt.NDArray[np.int64]:
    """The number of each value's part. A comparison for each of the few cuts is faster than a binary search."""
    parts = np.zeros(len(values), np.int64)
    for cut in cuts:
        parts += values >= cut
    return parts


def ends_of_parts(ordered: Floats, cuts: Sequence[float]) -> list[tuple[float, float]]:
    """By part the lowest and the highest of the values in it, NaN for an empty one."""
    return [
        (float(ordered[start]), float(ordered[end - 1])) if start < end else (math.nan, math.nan)
        for start, end in pairwise([0, *_places(ordered, cuts), len(ordered)])
    ]


def numbers_to_split(numbers: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    """The numbers of a field, each as often as it occurs and ascending, if ranges suit the field; else none.

    `numbers` [spellings]: NaN for a value that is no number; `counts` [spellings]. Ranges suit a field if most of its
    values are numbers, and more different ones than there may be ranges.
    """
    known = np.flatnonzero((counts > 0) & ~np.isnan(numbers))
    ordered = known.take(np.argsort(numbers.take(known)))
    found, often = numbers.take(ordered), counts.take(ordered)
    different = np.count_nonzero(found[1:] != found[:-1]) + 1
    if 2 * often.sum() <= counts.sum() or different <= MAX_FACET_RANGES:
        return found[:0]
    return np.repeat(found, often)


def price_cuts(ordered: Floats, currency: str) -> list[float]:
    """As `cut_points`, in whole minor units of the currency."""
    whole = {float(_decimal(cut, currency)) for cut in cut_points(ordered)}
    return sorted(cut for cut in whole if ordered[0] < cut <= ordered[-1])


def price_range(cuts: Sequence[float], part: int, highest: float, currency: str) -> PriceRange:
    """A part as a range: from its cut point, or 0, to a minor unit below the next one. The last one has no maximum.

    `highest`: the highest price in the part. A price between two minor units may lie above that maximum; then it is the
    maximum.
    """
    minimum = Money(currency, _decimal(cuts[part - 1], currency) if part else Decimal(0))
    if part == len(cuts):
        return PriceRange(minimum)
    end = _decimal(cuts[part], currency) - minor_unit(currency)
    return PriceRange(minimum, Money(currency, end if highest <= float(end) else Decimal(repr(highest))))


def _decimal(cut: float, currency: str) -> Decimal:
    return in_minor_units(Decimal(repr(cut)), currency)


def _at(ordered: Floats, share: float) -> float:
    """A quantile."""
    return float(ordered[int(share * (len(ordered) - 1))])


def _places(ordered: Floats, cuts: Sequence[float]) -> list[int]:
    """Of each cut the number of values below it."""
    places: list[int] = np.searchsorted(ordered, np.array(cuts, np.float64)).tolist()
    return places


def _rounded(value: float) -> float:
    """The nearest round number."""
    scale = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    above = min(max(bisect_left(_ROUND, value / scale), 1), len(_ROUND) - 1)
    low, high = _ROUND[above - 1], _ROUND[above]
    return _exact(low if value / scale - low <= high - value / scale else high, scale)


def _steps(low: float, high: float) -> list[float]:
    """Multiples of one round number between two values."""
    least = (high - low) / (MAX_FACET_RANGES - 1)
    if not 0 < least < math.inf:
        return []
    scale = 10.0 ** math.floor(math.log10(least))
    step = next(_exact(digit, scale) for digit in _STEPS if digit * scale >= least * (1 - 1e-9))
    first = math.floor(low / step) + 1
    return [_exact(number, step) for number in range(first, math.floor(high / step) + 1)][:MAX_FACET_RANGES]


def _exact(factor: float, scale: float) -> float:
    """The product without the error of binary fractions: 3 * 0.1 is 0.3."""
    return float(f"{factor * scale:.12g}")
