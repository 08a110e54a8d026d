"""One price everywhere: what is published is what a quote offers, whatever the shop does and whenever it does it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from kairos.common.v1 import common_pb2, offer_pb2, product_pb2
from services.common.convert import money_from_proto
from services.common.money import Money
from services.pricing.domain.guardrails import offer, quoted
from services.pricing.domain.pricing import PricedItem, PriceReason
from tests.contract.test_price_publisher import NOW_S, RAILS, RULES, Clock, worker
from tests.fakes.shop_gateway import Effective, FakeShopGateway, serving

DAY_S = 86_400
LISTS = ("", "wholesale")
IDS = st.sampled_from(["a", "b", "c"])
CENTS = st.integers(1, 20_000)
# Seconds before or after the start.
TIMES = st.integers(-3 * DAY_S, 3 * DAY_S)

Change = Callable[[FakeShopGateway, int], None]


def usd(cents: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=cents // 100, nanos=cents % 100 * 10_000_000)


@st.composite
def imports(draw: st.DrawFn) -> Change:
    product = product_pb2.Product(id=draw(IDS), title="x", price=usd(draw(CENTS)), stock=draw(st.integers(0, 300)))
    for name in draw(st.sets(st.sampled_from(["cost", "price_floor", "price_ceiling"]))):
        getattr(product, name).CopyFrom(usd(draw(CENTS)))
    # Around the age at which a product is marked down.
    product.created_at.FromSeconds(NOW_S - 540 * DAY_S + draw(TIMES))
    return lambda shop, number: shop.put(product)


@st.composite
def offers(draw: st.DrawFn) -> Change:
    made = offer_pb2.Offer(product_id=draw(IDS), price_list_id=draw(st.sampled_from(LISTS)))
    if draw(st.booleans()):
        made.price.CopyFrom(usd(draw(CENTS)))
    if draw(st.booleans()):
        made.sale_price.CopyFrom(usd(draw(CENTS)))
        for bound in (made.sale_starts_at, made.sale_ends_at):
            bound.FromSeconds(NOW_S + draw(TIMES))
    if draw(st.booleans()):
        made.stock = draw(st.integers(0, 300))
    made.is_removed = draw(st.booleans())

    def change(shop: FakeShopGateway, number: int) -> None:
        made.updated_at.FromSeconds(NOW_S - 1_000 + number)
        if made.product_id in shop.products:
            shop.update(made)

    return change


# Each change, the seconds until the next one, and whether the publisher is started again.
HISTORIES = st.lists(st.tuples(imports() | offers(), st.integers(0, 2 * DAY_S), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(HISTORIES)
def test_the_effective_price_is_the_quoted_one(history: list[tuple[Change, int, bool]]) -> None:
    """After the publisher has worked, for every product and price list: the quote offers the effective price, the
    pricer's own price if no sale applies, and never more than the list price.
    """
    shop, clock = FakeShopGateway(), Clock()
    with tempfile.TemporaryDirectory() as folder, serving(shop) as port:
        rest = list(enumerate(history))
        while rest:
            with worker(Path(folder), port, clock=clock) as one:
                while rest:
                    number, (change, wait_s, is_restarted) = rest.pop(0)
                    change(shop, number)
                    one.work()
                    _check(shop, clock.now_s)
                    clock.now_s += wait_s
                    one.work()
                    _check(shop, clock.now_s)
                    if is_restarted:
                        break


def _check(shop: FakeShopGateway, now_s: float) -> None:
    for product_id, product in shop.products.items():
        for list_id in LISTS:
            if (found := shop.effective(product_id, list_id, now_s)) is None:
                continue
            item = _item(product, found)
            price, listed = item.published, item.list_price
            made = quoted(item, RULES(item, now_s), RAILS)
            assert price is not None
            assert made.amount.amount == price.amount <= listed.amount
            # A list without a price of its own has the default list's price, also with another stock.
            if not found.is_sale and list_id in ("", found.list_of_price):
                assert price.amount == offer(item, RULES(item, now_s), RAILS).amount.amount
                assert made.reason is not PriceReason.PUBLISHED


def _item(product: product_pb2.Product, found: Effective) -> PricedItem:
    """As the gateway sends it to pricing."""

    def bound(name: Literal["cost", "price_floor", "price_ceiling"]) -> Money | None:
        return money_from_proto(getattr(product, name), name) if product.HasField(name) else None

    listed, price = (money_from_proto(money, "price") for money in (found.list_price, found.price))
    return PricedItem(
        product.id, listed, bound("cost"), bound("price_floor"), bound("price_ceiling"), found.stock,
        float(product.created_at.seconds), price,
    )  # fmt: skip
