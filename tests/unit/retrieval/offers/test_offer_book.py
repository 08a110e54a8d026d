"""The book of offers: the same state in whatever order updates come, and the effective offer of every row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.money import Money
from services.common.offers import Offer, OfferSource
from services.retrieval.domain.offers.book import (
    MAX_COMPETITORS,
    MAX_PLACES,
    MAX_PRICE_LISTS,
    OBSERVED_S,
    TOMBSTONE_S,
    OfferBook,
    is_past,
)
from services.retrieval.domain.offers.context import OfferContext
from tests.unit.retrieval.offers.random_offers import (
    ROWS,
    START,
    BaseProduct,
    Effective,
    base_of,
    base_products,
    book_of,
    contexts,
    effective,
    known,
    moment,
    seconds,
    shown,
    updates,
)

Updates = list[tuple[int, Offer]]
catalogues = st.lists(base_products, min_size=ROWS, max_size=ROWS)


def state(book: OfferBook, rows: int = ROWS) -> list[set[Offer]]:
    return [set(book.offers_of(row)) for row in range(rows)]


def newer(book: OfferBook, entries: Updates) -> list[int]:
    return book.newer(dict(enumerate(entries)))


def rows_of(book: OfferBook, context: OfferContext, now_s: float, products: Sequence[BaseProduct]) -> list[Effective]:
    view = book.view(context, now_s, base_of(products))
    return [shown(view, row) for row in range(len(products))]


def expected(book: OfferBook, context: OfferContext, now_s: float, products: Sequence[BaseProduct]) -> list[Effective]:
    return [effective(book.offers_of(row), product, context, now_s) for row, product in enumerate(products)]


@given(updates, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_state(entries: Updates, chance: random.Random) -> None:
    """Updates in any order, each any number of times, lead to the same offers, price lists and places."""
    others = entries + chance.choices(entries, k=len(entries) // 2) if entries else []
    chance.shuffle(others)
    one, other = book_of(entries), book_of(others)
    assert state(one) == state(other)
    assert (one.price_lists, one.places) == (other.price_lists, other.places)


@given(updates)
def test_a_batch_is_as_single_updates(entries: Updates) -> None:
    """The entries of a batch that `newer` names lead to the same state as all of them, and each of them is stored."""
    batch = OfferBook()
    for place in newer(batch, entries):
        assert batch.update(*entries[place])
    assert state(batch) == state(book_of(entries))
    assert newer(batch, entries) == []


@settings(max_examples=300)
@given(updates, catalogues, contexts, seconds)
def test_the_view_is_the_rule(
    entries: Updates, products: list[BaseProduct], context: OfferContext, second: int
) -> None:
    """A view shows for each product what the chain of its own offers gives, to the minor unit."""
    book = book_of(entries)
    if known(book, context):
        now_s = START + second
        assert rows_of(book, context, now_s, products) == expected(book, context, now_s, products)


@given(
    st.lists(st.tuples(updates.map(lambda entries: entries[:4]), contexts, seconds), min_size=2, max_size=8),
    st.lists(base_products, min_size=ROWS, max_size=6),
)
def test_a_view_follows_changes(steps: list[tuple[Updates, OfferContext, int]], products: list[BaseProduct]) -> None:
    """Views that were used before show updates, beginnings and ends of sales, and rows that were added."""
    book, count = OfferBook(), ROWS
    for entries, context, second in steps:
        count = min(count + 1, len(products))
        for row, offer in entries:
            book.update(row, offer)
        if known(book, context):
            now_s = START + second
            assert rows_of(book, context, now_s, products[:count]) == expected(book, context, now_s, products[:count])


@given(updates, st.permutations(range(ROWS)), st.sets(st.integers(0, ROWS - 1)), catalogues)
def test_offers_follow_their_rows(
    entries: Updates, order: list[int], dropped: set[int], products: list[BaseProduct]
) -> None:
    """Offers are found under the new rows after a move and a compaction, those of dropped rows are gone, and so do
    views that were used before.
    """
    book, anywhere, more = book_of(entries), OfferContext(), [*products, *products]
    before = state(book)
    book.view(anywhere, START, base_of(more))
    book.drop(dropped)
    book.move({row: row + ROWS for row in range(ROWS)})
    moved = [set() if row in dropped else offers for row, offers in enumerate(before)]
    assert state(book, 2 * ROWS) == [set[Offer]()] * ROWS + moved
    assert rows_of(book, anywhere, START, more) == expected(book, anywhere, START, more)
    new_rows = np.array([-1] * ROWS + [-1 if row in dropped else order[row] for row in range(ROWS)])
    book.remap(new_rows)
    assert state(book) == [moved[order.index(row)] for row in range(ROWS)]
    assert rows_of(book, anywhere, START, products) == expected(book, anywhere, START, products)
    assert len(book) == sum(map(len, moved))


@given(updates, updates)
def test_a_refused_batch_changes_nothing(entries: Updates, batch: Updates) -> None:
    """A batch with a second currency for a price list is refused with the place of the offer, and nothing changes."""
    book = book_of(entries)
    euro = Offer(9, "staff", price=Money("EUR", Decimal(3)))
    book.update(0, euro)
    before = state(book)
    wrong = replace(euro, place_id="ulm", price=Money("JPY", Decimal(3)))
    with pytest.raises(InvalidArgument) as refusal:
        newer(book, [*batch, (1, wrong)])
    assert [violation.field for violation in refusal.value.violations] == [f"offers[{len(batch)}].price.currency_code"]
    assert state(book) == before


def test_a_price_list_may_change_its_currency_at_once() -> None:
    """A batch that brings all prices of a list to another currency is accepted."""
    prices = [(row, Offer(1, "staff", price=Money("EUR", Decimal(row)))) for row in range(3)]
    book = book_of(prices)
    others = [(row, Offer(2, "staff", price=Money("JPY", Decimal(row)))) for row in range(3)]
    assert newer(book, others) == [0, 1, 2]
    with pytest.raises(InvalidArgument, match="another currency"):
        newer(book, others[1:])


@pytest.mark.parametrize(("field", "limit"), [("price_list_id", MAX_PRICE_LISTS), ("place_id", MAX_PLACES)])
def test_too_many(field: str, limit: int) -> None:
    """One price list or place too many is refused, and accepted once another one has only removed offers."""
    offers = [Offer(1, **{field: f"{number}"}, stock=1) for number in range(limit)]  # type: ignore[arg-type]
    book = book_of([(0, offer) for offer in offers])
    another = (0, Offer(1, **{field: "another"}, stock=1))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="remove all offers of another one") as refusal:
        newer(book, [another])
    assert refusal.value.violations[0].field == f"offers[0].{field}"
    removed = (0, replace(offers[0], updated_at_ns=2, is_removed=True))
    assert newer(book, [removed, another]) == [0, 1]


def test_too_many_competitors() -> None:
    """One competitor too many is refused; a competitor is no place that a request may name."""
    price = Money("EUR", Decimal(1))
    book = book_of(
        [
            (0, Offer(1, place_id=f"{number}", source=OfferSource.COMPETITOR, price=price))
            for number in range(MAX_COMPETITORS)
        ]
    )
    with pytest.raises(InvalidArgument, match="20 competitors have offers") as refusal:
        newer(book, [(1, Offer(1, place_id="another", source=OfferSource.COMPETITOR, price=price))])
    assert refusal.value.violations[0].field == "offers[0].place_id"
    with pytest.raises(InvalidArgument, match="has no offers"):
        book.view(OfferContext(place_id="3"), START, base_of([]))


def test_an_old_observation() -> None:
    """A competitor's price that was not observed again may be forgotten after 60 days."""
    seen = Offer(START * 10**9, place_id="rival", source=OfferSource.COMPETITOR, price=Money("EUR", Decimal(1)))
    assert [is_past(seen, START + OBSERVED_S + late_s) for late_s in (0, 1)] == [False, True]


def test_an_unknown_context() -> None:
    """A price list or place that has no offers is refused, also one whose offers were all removed."""
    book = book_of([(0, Offer(1, "staff", stock=1)), (0, Offer(2, "staff", is_removed=True))])
    for context, path in ((OfferContext("staff"), "price_list_id"), (OfferContext(place_id="ulm"), "place_id")):
        with pytest.raises(InvalidArgument, match=f"offer_context.{path}"):
            book.view(context, START, base_of([]))


def test_a_tombstone_ends() -> None:
    """A removed offer makes older ones stale, and may be forgotten after a week; so may an ended computed price."""
    removed = Offer(START * 10**9, is_removed=True)
    assert not book_of([(0, removed)]).update(0, Offer(removed.updated_at_ns - 1, stock=3))
    price = Money("EUR", Decimal(1))
    ended = Offer(1, source=OfferSource.PRICING, price=price, base_price=price, sale_ends_at=moment(0))
    for offer in (removed, ended):
        assert not is_past(offer, START + TOMBSTONE_S)
        assert is_past(offer, START + TOMBSTONE_S + 1)
    assert not is_past(replace(ended, source=OfferSource.SHOP), START * 2)


@given(st.sampled_from([("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)]), st.integers(0, 10**13))
def test_amounts_are_exact(currency: tuple[str, int], minor_units: int) -> None:
    """Every amount comes back to the minor unit."""
    price = Money(currency[0], Decimal(minor_units).scaleb(-currency[1]))
    offer = Offer(1, price=price, sale_price=price)
    assert book_of([(0, offer)]).offers_of(0) == [offer]


EUROS = [Money("EUR", Decimal(number)) for number in range(5)]
STAFF_IN_ULM = OfferContext("staff", place_id="ulm")


def price_of(book: OfferBook, context: OfferContext, now_s: float = START) -> Decimal | None:
    """Of one product with the list price 3 EUR."""
    return rows_of(book, context, now_s, [BaseProduct(EUROS[3], None)])[0][0]


def computed(price: int, base: int, **fields: Any) -> tuple[int, Offer]:
    return 0, Offer(1, source=OfferSource.PRICING, price=EUROS[price], base_price=EUROS[base], **fields)


def priced(price: int, **fields: Any) -> tuple[int, Offer]:
    return 0, Offer(1, price=EUROS[price], **fields)


def test_a_computed_price_applies_while_its_base_price_does() -> None:
    """A computed price takes the place of the shop's price that it was computed from, and of no other one."""
    book = book_of([computed(1, 3), priced(2, price_list_id="staff")])
    assert price_of(book, OfferContext()) == 1
    assert price_of(book, OfferContext("staff")) == 2
    book.update(0, Offer(2, price=EUROS[4]))
    assert price_of(book, OfferContext()) == 4


def test_a_computed_price_and_a_sale_of_a_place() -> None:
    """A computed price for any place does not replace the sale of one place."""
    book = book_of([computed(1, 3), (0, Offer(1, place_id="ulm", sale_price=EUROS[2]))])
    assert [price_of(book, context) for context in (OfferContext(), OfferContext(place_id="ulm"))] == [1, 2]


def test_a_computed_price_includes_the_sale() -> None:
    """A computed price whose base price is the sale price applies during the sale, and not after it."""
    sale = (0, Offer(1, price=EUROS[3], sale_price=EUROS[2], sale_ends_at=moment(2)))
    book = book_of([computed(1, 2), sale])
    assert [price_of(book, OfferContext(), START + second) for second in (1, 2)] == [1, 3]


def test_a_nearer_price_of_the_shop_wins() -> None:
    """A shop's price for a place is not replaced by a computed price for any place, even if it is the base price."""
    book = book_of([computed(1, 3), priced(3, place_id="ulm"), priced(4, price_list_id="staff")])
    assert price_of(book, OfferContext(place_id="ulm")) == 3


def test_a_computed_price_of_another_place() -> None:
    """A computed price of a price list does not apply to a place where another price happens to be its base price."""
    book = book_of([computed(1, 2, price_list_id="staff"), priced(2, place_id="ulm")])
    assert price_of(book, STAFF_IN_ULM) == 2


def test_a_sale_never_raises_a_price() -> None:
    """A sale price of a further offer does not apply where a nearer price is lower."""
    sale = (0, Offer(1, price=EUROS[4], sale_price=EUROS[3]))
    book = book_of([sale, priced(2, price_list_id="staff"), (0, Offer(1, "staff", "ulm", stock=1))])
    assert [price_of(book, context) for context in (OfferContext(), STAFF_IN_ULM)] == [3, 2]


def test_the_clock_may_go_back() -> None:
    """One view shows a sale in its dates, whatever the order of the times that are asked for, and offers that came in
    between.
    """
    times: Any = {"sale_starts_at": moment(1), "sale_ends_at": moment(3)}
    book = book_of([(0, Offer(1, sale_price=EUROS[1], **times))])
    asked = (0, 2, 1, 3, 2, 4, 0)
    assert [price_of(book, OfferContext(), START + second) for second in asked] == [3, 1, 1, 3, 1, 3, 3]
    without = OfferBook()
    for now, expected_price in ((2, 3), (2, 1), (0, 3), (3, 1), (5, 3)):
        assert price_of(without, OfferContext(), START + now) == expected_price
        without.update(0, Offer(1, sale_price=EUROS[1], sale_starts_at=moment(1), sale_ends_at=moment(4)))
    book.update(0, Offer(2, sale_price=EUROS[2], sale_starts_at=moment(2)))
    assert [price_of(book, OfferContext(), START + second) for second in asked] == [3, 2, 3, 2, 2, 2, 3]


def test_many_changes_at_once() -> None:
    """A view that missed thousands of changes shows all of them, and one that was handed out before does not change."""
    book, products = OfferBook(), [BaseProduct(Money("EUR", Decimal(1)), 1)] * 5_000
    base = base_of(products)
    before = book.view(OfferContext(), START, base)
    for row in range(5_000):
        book.update(row, Offer(1, price=Money("EUR", Decimal(2)), source=OfferSource.SHOP))
    assert np.all(book.view(OfferContext(), START, base).prices == 2)
    assert np.all(before.prices == 1)
