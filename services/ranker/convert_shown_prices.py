"""Protobuf <-> domain for the prices of a page that was shown. Raises InvalidArgument with the field's path."""

from __future__ import annotations

import numpy as np

from kairos.common.v1 import common_pb2, event_pb2
from services.common.convert import minor_units_from_proto, minor_units_to_proto
from services.common.errors import InvalidArgument
from services.common.limits import MAX_LIST_ID, id_problem, text_problem
from services.ranker.convert import check_ids
from services.ranker.domain.shown_prices import ShownPrices

# Characters of a reason.
_MAX_REASON = 64
# In minor units. The most that the log's columns hold is some 9 * 10^18.
_MAX_AMOUNT = 10**18
_COLUMNS = ("offers", "list_prices", "reasons", "quote_ids", "in_stock")


def shown_prices_from_proto(message: event_pb2.ShownPrices, count: int, path: str) -> ShownPrices:
    """`count`: rows of the page."""
    for name in ("price_list_id", "place_id"):
        if problem := id_problem(getattr(message, name), required=False, limit=MAX_LIST_ID):
            raise InvalidArgument.of(f"{path}.{name}", problem)
    for name in _COLUMNS:
        if len(getattr(message, name)) != count:
            found = len(getattr(message, name))
            raise InvalidArgument.of(f"{path}.{name}", f"has {found} rows for {count} positions; send one each")
    for row, reason in enumerate(message.reasons):
        if problem := text_problem(reason, _MAX_REASON):
            raise InvalidArgument.of(f"{path}.reasons[{row}]", problem)
    check_ids([quote_id for quote_id in message.quote_ids if quote_id], f"{path}.quote_ids")
    offers, list_prices = (
        [_amount(money, f"{path}.{name}[{row}]") for row, money in enumerate(getattr(message, name))]
        for name in ("offers", "list_prices")
    )
    for row, (offer, list_price) in enumerate(zip(message.offers, message.list_prices, strict=True)):
        if offer.currency_code != list_price.currency_code:
            raise InvalidArgument.of(
                f"{path}.list_prices[{row}].currency_code",
                f"is {list_price.currency_code!r}, the offer is in {offer.currency_code!r}; use one",
            )
    return ShownPrices(
        message.price_list_id, message.place_id, [money.currency_code for money in message.offers],
        np.array(offers, np.int64), np.array(list_prices, np.int64), list(message.reasons), list(message.quote_ids),
        np.array(message.in_stock, np.bool_),
    )  # fmt: skip


def shown_prices_to_proto(prices: ShownPrices) -> event_pb2.ShownPrices:
    offers, list_prices = (
        [
            minor_units_to_proto(amount, currency) if currency else common_pb2.Money()
            for amount, currency in zip(amounts.tolist(), prices.currencies, strict=True)
        ]
        for amounts in (prices.offers, prices.list_prices)
    )
    return event_pb2.ShownPrices(
        price_list_id=prices.price_list_id, place_id=prices.place_id, offers=offers, list_prices=list_prices,
        reasons=prices.reasons, quote_ids=prices.quote_ids, in_stock=prices.in_stock.tolist(),
    )  # fmt: skip


def _amount(money: common_pb2.Money, path: str) -> int:
    """In minor units; 0 without a currency."""
    if not money.currency_code:
        return 0
    amount = minor_units_from_proto(money, path)
    if not 0 <= amount <= _MAX_AMOUNT:
        raise InvalidArgument.of(path, f"{amount} minor units are outside 0 to {_MAX_AMOUNT}")
    return amount
