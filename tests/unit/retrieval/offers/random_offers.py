"""Random offers, contexts and catalogues; and the effective offer of one product, written down as the rule reads."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from services.common.money import Money
from services.common.offers import Fulfilment, Offer, OfferSource
from services.retrieval.domain.catalogue.effective import CURRENCIES as CURRENCY_CODES
from services.retrieval.domain.catalogue.effective import CURRENCY_NUMBERS, EffectiveOffers, own_offers
from services.retrieval.domain.offers.book import OfferBook
from services.retrieval.domain.offers.context import OfferContext

CURRENCIES = ("EUR", "JPY")
LISTS = ("", "staff")
PLACES = ("", "ulm")
ROWS = 2
# Seconds since 1970: the times of sales and of searches are in the same few seconds.
START = 1_700_000_000

seconds = st.integers(0, 4)


def moment(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(START, UTC) + timedelta(seconds=second)


def _random_offers(chance: random.Random, count: int) -> list[Offer]:
    return [_random_offer(chance) for _ in range(count)]


def _random_offer(chance: random.Random) -> Offer:
    """A valid one, of any source. The currency of a price list is fixed."""
    price_list = chance.choice(LISTS)
    currency = "EUR" if price_list else chance.choice(CURRENCIES)
    place, updated_at_ns = chance.choice(PLACES), chance.randrange(4)
    if chance.random() < 0.1:
        return Offer(updated_at_ns, price_list, place, chance.choice(list(OfferSource)), is_removed=True)
    begins, ends = sorted(chance.sample(range(6), 2))
    times: Any = {
        "sale_starts_at": moment(chance.choice((None, begins))),
        "sale_ends_at": moment(chance.choice((None, ends))),
    }
    if chance.random() < 0.5:
        price, base = _random_money(chance, currency), _random_money(chance, currency)
        lowest = chance.choice((None, _random_money(chance, currency)))
        return Offer(
            updated_at_ns, price_list, place, OfferSource.PRICING, price=price, base_price=base, lowest_30_days=lowest,
            guardrail=chance.randrange(3), **times,
        )  # fmt: skip
    if chance.random() < 0.2:
        # A competitor may be named as a place.
        price, stock = _random_money(chance, chance.choice(CURRENCIES)), chance.choice((None, 0, 2))
        return Offer(updated_at_ns, "", place or "rival", OfferSource.COMPETITOR, price=price, stock=stock)
    prices = [chance.choice((None, _random_money(chance, currency))) for _ in range(2)]
    if all(prices):
        prices.sort(key=lambda money: money.amount if money else Decimal(0), reverse=True)
    return Offer(
        updated_at_ns,
        price_list,
        place,
        price=prices[0],
        sale_price=prices[1],
        stock=chance.choice((None, 0, 1, 2)),
        fulfilments=frozenset(chance.sample(list(Fulfilment), chance.randrange(3))),
        **times,
    )


def _random_money(chance: random.Random, currency: str) -> Money:
    """Few different ones, so that prices are often equal."""
    return Money(currency, Decimal(chance.randrange(3)) + Decimal("0.99") * (currency == "EUR"))


# Drawn from a fixed list: building them one field at a time takes hypothesis a hundred times longer.
updates = st.lists(
    st.tuples(st.integers(0, ROWS - 1), st.sampled_from(_random_offers(random.Random(0), 3_000))),
    min_size=8,
    max_size=24,
)


@dataclass(frozen=True)
class BaseProduct:
    """The price and stock of a product without offers."""

    price: Money | None
    stock: int | None


base_products = st.sampled_from(
    [
        BaseProduct(price, stock)
        for price in (None, *(_random_money(random.Random(seed), CURRENCIES[seed % 2]) for seed in range(9)))
        for stock in (None, 0, 1)
    ]
)
contexts = st.builds(
    OfferContext,
    st.sampled_from(LISTS),
    st.sampled_from(("", *CURRENCIES)),
    st.sampled_from(PLACES),
    st.none() | st.sampled_from(list(Fulfilment)),
    st.booleans(),
)


def base_of(products: Sequence[BaseProduct]) -> EffectiveOffers:
    prices = np.array([math.nan if product.price is None else float(product.price.amount) for product in products])
    stocks = np.array([-1 if product.stock is None else product.stock for product in products], np.int64)
    codes = [0 if product.price is None else CURRENCY_NUMBERS[product.price.currency] for product in products]
    return own_offers(prices, np.array(codes, np.uint16), stocks)


def book_of(entries: Sequence[tuple[int, Offer]]) -> OfferBook:
    book = OfferBook()
    for row, offer in entries:
        book.update(row, offer)
    return book


def known(book: OfferBook, context: OfferContext) -> bool:
    """Whether the context names only a list and a place that have offers."""
    return context.price_list_id in {"", *book.price_lists} and context.place_id in {"", *book.places}


# (price, list price, currency, stock, in stock, lowest price of 30 days, guardrail)
Effective = tuple[Decimal | None, Decimal | None, str, int, bool, Decimal | None, int]


def shown(view: EffectiveOffers, row: int) -> Effective:
    """One row of a view. Prices as decimals, exact."""
    currency = CURRENCY_CODES[view.currencies[row]]
    price, list_price = float(view.prices[row]), float(view.list_prices[row])
    lowest, guardrail = _decimal(float(view.lowest[row])), int(view.guardrails[row])
    stock, is_in_stock = int(view.stocks[row]), bool(view.in_stock[row])
    return _decimal(price), _decimal(list_price), currency, stock, is_in_stock, lowest, guardrail


def effective(stored: Sequence[Offer], product: BaseProduct, context: OfferContext, now_s: float) -> Effective:
    """Of one product with these offers."""
    at = {(offer.price_list_id, offer.place_id, offer.source): offer for offer in stored if not offer.is_removed}
    chain = _chain(context.price_list_id, context.place_id)
    list_price, price, level = _of_shop(at, product, chain, now_s)
    result, lowest, guardrail = price, None, 0
    for number, place in enumerate(chain[: level + 1]):
        computed = at.get((*place, OfferSource.PRICING))
        own = _of_shop(at, product, _chain(*place), now_s)[1]
        is_same = computed and computed.base_price == price == own and number <= level
        if computed and is_same and _is_on(computed, now_s) and not context.list_price_only:
            result, lowest, guardrail = computed.price, computed.lowest_30_days, computed.guardrail
            break
    stock = product.stock
    for place in chain:
        offer = at.get((*place, OfferSource.SHOP))
        if offer and offer.stock is not None:
            is_had = context.fulfilment is None or not offer.fulfilments or context.fulfilment in offer.fulfilments
            stock = offer.stock if is_had else 0
            break
    count, is_in_stock = (-1, True) if stock is None else (stock, stock > 0)
    if result is None or list_price is None or context.currency not in ("", result.currency):
        return None, None, "", count, is_in_stock, None, guardrail
    before = lowest.amount if lowest else None
    return result.amount, list_price.amount, result.currency, count, is_in_stock, before, guardrail


def _of_shop(
    at: dict[tuple[str, str, OfferSource], Offer], product: BaseProduct, chain: list[tuple[str, str]], now_s: float
) -> tuple[Money | None, Money | None, int]:
    """(price without sale, price, place in the chain that the price without sale is from)."""
    of_chain = [at.get((*place, OfferSource.SHOP)) for place in chain]
    prices = [(offer.price, level) for level, offer in enumerate(of_chain) if offer and offer.price]
    list_price, level = prices[0] if prices else (product.price, len(chain))
    sale = next((offer for offer in of_chain if offer and offer.sale_price), None)
    price = sale.sale_price if sale and _is_on(sale, now_s) else None
    if not price or not list_price or price.currency != list_price.currency or price.amount > list_price.amount:
        price = list_price
    return list_price, price, level


def _is_on(offer: Offer, now_s: float) -> bool:
    now = datetime.fromtimestamp(now_s, UTC)
    return (offer.sale_starts_at or now) <= now and (offer.sale_ends_at is None or now < offer.sale_ends_at)


def _chain(price_list: str, place: str) -> list[tuple[str, str]]:
    return [(price_list, place), (price_list, ""), ("", place), ("", "")]


def _decimal(amount: float) -> Decimal | None:
    return None if math.isnan(amount) else Decimal(repr(amount))
