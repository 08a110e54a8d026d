"""Ranges with round bounds, for prices and for attributes that are numbers."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import Money, minor_unit
from services.common.product import Product
from services.retrieval.domain.catalogue.columns import CatalogueColumns
from services.retrieval.domain.catalogue.ranges import cut_points, price_cuts, price_range
from services.retrieval.domain.catalogue.table import Entry
from services.retrieval.domain.facets import MAX_FACET_RANGES, Facet

finite = st.floats(-1e9, 1e9)


def facet_of(products: list[Product], field: str) -> Facet:
    columns = CatalogueColumns()
    columns.replace([Entry(key, product, ()) for key, product in enumerate(products)])
    with columns.reading() as view:
        everything = view.everything(view.conditions([], view.base_offers()))
        return view.facets(everything, [field], collapse=False)[0]


def priced(amounts: list[str], currency: str = "USD") -> Facet:
    money = [Money(currency, Decimal(amount)) for amount in amounts]
    return facet_of([Product(id=f"p{n}", title="x", price=each) for n, each in enumerate(money)], "price")


def shown(facet: Facet) -> list[tuple[str, str, int]]:
    ends = [(entry.price.minimum, entry.price.maximum, entry.count) for entry in facet.ranges if entry.price]
    return [(str(low.amount) if low else "", str(high.amount) if high else "", count) for low, high, count in ends]


def test_prices_that_spread_get_growing_bounds() -> None:
    """Ranges begin at round amounts, end a minor unit below the next one, and the last one is open."""
    facet = priced([str(amount) for amount in (4, 7, 12, 19, 24, 25, 31, 42, 49, 50, 74, 99, 100, 180, 240, 900)])
    assert shown(facet) == [
        ("0", "6.99", 1), ("7.00", "19.99", 3), ("20.00", "24.99", 1), ("25.00", "39.99", 2),
        ("40.00", "49.99", 2), ("50.00", "99.99", 3), ("100.00", "199.99", 2), ("200.00", "", 2),
    ]  # fmt: skip


def test_close_prices_get_equal_steps() -> None:
    """Prices of one order of magnitude are split in steps of one length."""
    facet = priced([str(amount) for amount in range(1_000, 1_100)])
    lows = [Decimal(low) for low, _, _ in shown(facet)[1:]]
    assert len({after - before for before, after in pairwise(lows)}) == 1
    assert sum(entry.count for entry in facet.ranges) == 100


def test_a_price_between_minor_units_is_in_a_range() -> None:
    """A price of a fraction of a cent lies in the range below the next bound, whose end it becomes."""
    facet = priced(["1", "2", "3", "9.995", "20", "40", "80", "100"])
    assert sum(entry.count for entry in facet.ranges) == 8
    assert "9.995" in [high for _, high, _ in shown(facet)]


def test_one_price_is_one_range() -> None:
    """If all prices are equal there is one range, and none without prices."""
    assert shown(priced(["5", "5"])) == [("0", "", 2)]
    assert priced([]).ranges == ()


@given(
    st.lists(st.decimals(0, 10**7, places=4), min_size=1, max_size=60), st.sampled_from(["USD", "JPY", "KWD", "CLF"])
)
def test_bounds_of_prices_are_minor_units(amounts: list[Decimal], currency: str) -> None:
    """Bounds are whole minor units of the currency, ranges are disjoint, and together they reach from 0 upwards."""
    cuts = price_cuts(np.sort([float(amount) for amount in amounts]), currency)
    ranges = [price_range(cuts, part, 0.0, currency) for part in range(len(cuts) + 1)]
    assert len(ranges) <= MAX_FACET_RANGES
    assert ranges[0].minimum == Money(currency, Decimal(0))
    assert ranges[-1].maximum is None
    for before, after in pairwise(ranges):
        assert before.maximum
        assert after.minimum
        assert after.minimum.amount - before.maximum.amount == minor_unit(currency)
        assert after.minimum.amount % minor_unit(currency) == 0


@given(st.lists(finite, max_size=60))
def test_no_part_is_empty(values: list[float]) -> None:
    """Every part between two cut points has a value, and there are at most MAX_FACET_RANGES."""
    ordered = np.sort(np.array(values, np.float64))
    cuts = cut_points(ordered)
    assert len(cuts) < MAX_FACET_RANGES
    bounds = [-np.inf, *cuts, np.inf] if values else []
    assert all(((ordered >= low) & (ordered < high)).any() for low, high in pairwise(bounds))


def weighing(values: list[str]) -> Facet:
    made = [Product(id=f"p{n}", title="x", attributes={"weight": (value,)}) for n, value in enumerate(values)]
    return facet_of(made, "attributes.weight")


def test_numbers_get_ranges_of_observed_values() -> None:
    """More than 8 different numbers are also counted by ranges; each begins and ends with a value that occurs."""
    facet = weighing([*map(str, range(100, 200)), "heavy"])
    assert sum(entry.count for entry in facet.ranges) == 100
    ends = [(entry.minimum, entry.maximum) for entry in facet.ranges]
    assert ends[0][0] == 100
    assert ends[-1][1] == 199
    assert all(high is not None and low == high + 1 for (_, high), (low, _) in pairwise(ends))
    assert len(facet.counts) == 100


@pytest.mark.parametrize(
    "values",
    [[str(number % 8) for number in range(40)], [*map(str, range(10)), *["large"] * 10], ["1", "1.0", "01"] * 5],
    ids=["few numbers", "mostly words", "one number"],
)
def test_other_values_get_none(values: list[str]) -> None:
    """A field with at most 8 different numbers, or whose values are mostly words, has no ranges."""
    assert weighing(values).ranges == ()
