"""The demand store: what it counts depends on the facts only, and is bounded."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pricing.learning.competitors import ObservedPrice
from services.pricing.learning.facts import Act, Impression, Interaction, ListedProduct
from services.pricing.learning.periods import Periods
from services.pricing.learning.ports import Bounds, Log
from services.pricing.learning.sqlite_rows import DEMAND_FILE
from services.pricing.learning.sqlite_store import SqliteDemandStore
from services.pricing.learning.sqlite_table import DemandTable
from tests.unit.pricing.learning.facts_of_a_day import DAY_S, HOUR_S, START_S, did, offer, shown, usd

WINDOW_S = DAY_S
WIDE = Bounds(3, 60, 1_000_000, 1_000_000, 400, 1_000_000)
FIRST_DAY = date(1970, 1, 1) + timedelta(seconds=START_S)


@contextmanager
def opened(folder: Path) -> Iterator[SqliteDemandStore]:
    with closing(SqliteDemandStore(folder, "UTC", WINDOW_S)) as store:
        yield store


def add(store: SqliteDemandStore, *facts: Impression | Interaction, token: str = "t") -> None:
    shown_ones = [each for each in facts if isinstance(each, Impression)]
    done = [each for each in facts if isinstance(each, Interaction)]
    store.add(Log.EVENTS, token, 0.0, shown_ones, done)


def table(folder: Path, since: date | None = None, product_id: str | None = None) -> Periods:
    return DemandTable(folder, "UTC", WINDOW_S).periods(since, product_id)


def same(one: Periods, other: Periods) -> bool:
    """Sums of floats that were closed in parts may differ in the last bits."""
    return all(
        np.allclose(a, b, rtol=1e-12, equal_nan=True) if isinstance(a, np.ndarray) and a.dtype.kind == "f"
        else np.array_equal(a, b)
        for a, b in ((getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)
    )  # fmt: skip


# A few persons, rankings, prices and hours, so that everything meets; every fact has a key of its own.
TIMES = st.integers(0, 4 * 24).map(lambda hours: hours * HOUR_S)
PERSONS, PRODUCTS = st.integers(1, 3), st.sampled_from("ab")
SHOWN = st.builds(
    shown, st.integers(1, 6), TIMES, st.sampled_from([None, 800, 1_000]), PERSONS, PRODUCTS,
    visitor=st.none() | PERSONS, position=st.integers(0, 9), quote=st.none() | st.integers(50, 55),
    in_stock=st.booleans(), is_sale=st.booleans(),
)  # fmt: skip
DID = st.builds(
    did, st.integers(100, 900), TIMES, st.sampled_from(Act), PERSONS, PRODUCTS, visitor=st.none() | PERSONS,
    page=st.none() | st.integers(1, 6), quote=st.none() | st.integers(50, 55), order=st.none() | st.integers(70, 72),
    quantity=st.integers(1, 3), paid=st.none() | st.builds(usd, st.sampled_from([700, 1_000])),
)  # fmt: skip


def key_of(fact: Impression | Interaction) -> tuple[Any, ...]:
    return (fact.product_id, fact.page) if isinstance(fact, Impression) else (fact.key,)


FACTS = st.lists(SHOWN | DID, max_size=25, unique_by=key_of)


@settings(max_examples=25, deadline=None)
@given(FACTS, st.data())
def test_any_order_and_repetition_gives_the_same_table(
    facts: list[Impression | Interaction], data: st.DataObject
) -> None:
    """Facts in pages of any size, in any order, some of them twice."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        with opened(Path(one)) as store:
            add(store, *facts)
        arriving = data.draw(
            st.permutations([*facts, *data.draw(st.lists(st.sampled_from(facts)) if facts else st.just([]))])
        )
        with opened(Path(other)) as store:
            while arriving:
                size = data.draw(st.integers(1, len(arriving)))
                add(store, *arriving[:size])
                arriving = arriving[size:]
        assert same(table(Path(one)), table(Path(other)))


@settings(max_examples=25, deadline=None)
@given(FACTS, st.lists(st.integers(0, 70), max_size=3).map(sorted))
def test_closing_periods_changes_no_count(facts: list[Impression | Interaction], days: Sequence[int]) -> None:
    """Whenever old facts are added to their periods and removed, the table is the same."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for folder, turns in ((one, ()), (other, days)):
            with opened(Path(folder)) as store:
                add(store, *facts)
                for day in turns:
                    store.close_periods(replace(WIDE, open_days=2, refund_days=30), START_S + day * DAY_S)
        assert same(table(Path(one)), table(Path(other)))


def test_an_event_keeps_its_join_when_the_impression_goes(tmp_path: Path) -> None:
    """A purchase stays refundable for longer than its impression is kept: it counts at the price that was shown."""
    with opened(tmp_path) as store:
        add(store, shown(1, 0, 800), did(9, 60, quantity=2))
        store.close_periods(WIDE, START_S + 10 * DAY_S)
        assert store.size()[:3] == (0, 1, 1)
        add(store, did(10, 11 * DAY_S, Act.REFUND, quantity=1))
    found = table(tmp_path)
    assert found.price.tolist() == [800]
    assert (found.views.tolist(), found.units.tolist(), found.returned_units.tolist()) == ([1], [1], [1])
    assert found.unjoined_units.tolist() == [0]


def test_facts_are_bounded(tmp_path: Path) -> None:
    """Beyond the bound the oldest facts are closed at once, whatever their age; nothing is lost."""
    with opened(tmp_path) as store:
        add(store, *(shown(n, n, person=n) for n in range(2_000)), *(did(5_000 + n, n, person=n) for n in range(2_000)))
        store.close_periods(replace(WIDE, impressions=1_000, interactions=1_500), START_S + 9_999)
        assert store.size().impressions <= 1_000
        assert store.size().interactions <= 1_500
    assert (int(table(tmp_path).views.sum()), int(table(tmp_path).units.sum())) == (2_000, 2_000)


def test_periods_are_bounded(tmp_path: Path) -> None:
    """Old periods leave, and beyond the number of rows the oldest days; products and offers that nothing names too."""
    with opened(tmp_path) as store:
        add(store, *(shown(n, n * DAY_S, cents=n + 1, product=f"p{n}") for n in range(10)))
        store.put_products([ListedProduct("p0", "Shelf", "B")], "t")
        store.close_periods(replace(WIDE, days=12), START_S + 20 * DAY_S)
        assert table(tmp_path).product_id == ["p8", "p9"]
        store.close_periods(replace(WIDE, rows=1), START_S + 20 * DAY_S)
    assert table(tmp_path).product_id == ["p9"]
    with closing(sqlite3.connect(tmp_path / DEMAND_FILE)) as db:
        assert db.execute("SELECT product_id FROM product ORDER BY 1").fetchall() == [("p0",), ("p9",)]
        assert db.execute("SELECT price FROM offer").fetchall() == [(10,)]


def test_competitors_prices_by_day(tmp_path: Path) -> None:
    """The lowest price of a day at which a competitor has the product, from its last observation for three days on, in
    the currency of the offer.
    """

    def seen(competitor: str, day: float, price: int, currency: str = "USD", sold_out: bool = False) -> ObservedPrice:
        return ObservedPrice("a", competitor, START_S + day * DAY_S, currency, price, sold_out)

    observed = [
        seen("rival", 1.0, 700), seen("rival", 1.5, 650), seen("rival", 1.2, 600), seen("rival", 4, 640),
        seen("other", 3.0, 500, sold_out=True), seen("abroad", 1.0, 100, "EUR"),
    ]  # fmt: skip
    with opened(tmp_path) as store:
        add(store, *(shown(n, n * DAY_S) for n in range(8)))
        for each in observed:
            store.put_products([], "t", observed=[each])
        assert store.size().competitors == 4
    assert table(tmp_path).competitor.tolist() == [0, 650, 650, 650, 640, 640, 640, 0]
    with opened(tmp_path) as store:
        store.close_periods(replace(WIDE, days=3), START_S + 8 * DAY_S)
        assert store.size().competitors == 0


def test_a_part_of_the_table(tmp_path: Path) -> None:
    """From a period on, of one product, with what the catalogue says of it; also while the store is open."""
    with opened(tmp_path) as store:
        add(store, *(shown(10 * n + len(p), n * DAY_S, product=p) for n in range(5) for p in ("a", "bb")))
        store.put_products([ListedProduct("a", "Shoes > Boots", "B")], "t")
        store.close_periods(WIDE, START_S + 5.5 * DAY_S)
        found = table(tmp_path, FIRST_DAY + timedelta(days=1), "a")
    assert found.day.tolist() == [FIRST_DAY + timedelta(days=n) for n in range(1, 5)]
    assert (set(found.product_id), set(found.category), set(found.brand)) == ({"a"}, {"Shoes > Boots"}, {"B"})
    assert len(found) == len(found.exposure) == 4


def test_a_price_that_is_not_known(tmp_path: Path) -> None:
    """It has no currency, no amounts, and no share in stock without a view."""
    with opened(tmp_path) as store:
        add(store, did(1, 0, product="A"))
        add(store, shown(2, 0, 500, offer=offer(500, "wholesale")))
    found = table(tmp_path)
    assert (found.currency, found.price.tolist(), found.revenue.tolist()) == (["", "USD"], [0, 500], [0, 0])
    assert found.price_list_id == ["", "wholesale"]
    assert np.isnan(found.in_stock).tolist() == [True, False]


def test_the_place_is_stored_with_the_facts(tmp_path: Path) -> None:
    """A page whose facts could not be stored does not move the place."""
    with opened(tmp_path) as store:
        store.add(Log.IMPRESSIONS, "one", 7.0, [shown(1, 0)])
        with pytest.raises(OverflowError):
            store.add(Log.IMPRESSIONS, "two", 8.0, [shown(2, 0), shown(1 << 70, 0)])
    with opened(tmp_path) as store:
        assert store.place(Log.IMPRESSIONS) == ("one", 7.0)
        assert store.place(Log.EVENTS) == ("", 0.0)
        assert store.size().impressions == 1


def test_keys_are_secret_and_stay(tmp_path: Path) -> None:
    """The same id has the same key after a restart, and another one in another store."""
    with opened(tmp_path / "one") as one, opened(tmp_path / "other") as other:
        key = one.key("user", "ann")
        assert len({key, one.key("visitor", "ann"), other.key("user", "ann")}) == 3
    with opened(tmp_path / "one") as again:
        assert again.key("user", "ann") == key


def test_another_layout_is_refused(tmp_path: Path) -> None:
    """The message names the remedy; a folder without a store is named too."""
    with closing(sqlite3.connect(tmp_path / DEMAND_FILE)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(ValueError, match="move the file away"):
        SqliteDemandStore(tmp_path, "UTC", WINDOW_S)
    with pytest.raises(ValueError, match="does not exist"):
        DemandTable(tmp_path / "nowhere", "UTC", WINDOW_S)
