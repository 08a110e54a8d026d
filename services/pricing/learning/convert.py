"""Records of the gateway's log and catalogue -> facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2, event_pb2, offer_pb2, product_pb2
from services.common.attribution import ranking_of
from services.common.convert import minor_units_from_proto, money_from_proto
from services.common.money import MINOR_UNIT_DECIMALS, in_minor_units
from services.common.product import CATEGORY_SEPARATOR
from services.pricing.learning.competitors import ObservedPrice
from services.pricing.learning.facts import Act, Impression, Interaction, ListedProduct, Paid, ShownOffer

ACTS = {
    event_pb2.EVENT_TYPE_CLICK: Act.CLICK,
    event_pb2.EVENT_TYPE_CART: Act.CART,
    event_pb2.EVENT_TYPE_PURCHASE: Act.PURCHASE,
    event_pb2.EVENT_TYPE_REFUND: Act.REFUND,
    event_pb2.EVENT_TYPE_CANCELLATION: Act.REFUND,
}
# The reason of a price that the shop itself has published.
_PUBLISHED = "published"
# Makes a key of 64 bits of the texts.
Key = Callable[..., int]


def impressions_from_proto(page: event_pb2.Impressions, key: Key) -> Iterator[Impression]:
    """One for each product of a page that was shown. Raises InvalidArgument for an unreadable amount."""
    of_page = key("ranking", page.ranking_id)
    person, visitor = _person(page.user_id, page.visitor_id, page.session_id, of_page, key)
    shown_s, prices = seconds(page.shown_at), page.prices if page.HasField("prices") else None
    for row, (product_id, position) in enumerate(zip(page.item_ids, page.positions, strict=True)):
        offer, quote_id, in_stock, is_sale = None, "", True, False
        if prices is not None and prices.offers[row].currency_code:
            offer = ShownOffer(
                prices.price_list_id, prices.offers[row].currency_code, minor_units_from_proto(prices.offers[row], ""),
                minor_units_from_proto(prices.list_prices[row], ""),
            )  # fmt: skip
            quote_id, in_stock = prices.quote_ids[row], prices.in_stock[row]
            is_sale = prices.reasons[row] == _PUBLISHED and offer.price < offer.list_price
        quote = key("quote", quote_id) if quote_id else None
        yield Impression(
            of_page, product_id, person, visitor, shown_s, position, offer, quote, in_stock, is_sale
        )  # fmt: skip


def impression_of_event(event: event_pb2.Event, key: Key) -> Impression:
    """Of an IMPRESSION: the page was the caller's, and its price is not known."""
    of_page = key("event", event.event_id)
    person, visitor = _person(event.user_id, event.visitor_id, event.session_id, of_page, key)
    return Impression(of_page, event.item_id, person, visitor, seconds(event.occurred_at), 0, None)


def interaction_from_proto(event: event_pb2.Event, key: Key) -> Interaction:
    """Raises InvalidArgument for an unreadable amount."""
    of_event, ranking_id = key("event", event.event_id), ranking_of(event.attribution_token)
    person, visitor = _person(event.user_id, event.visitor_id, event.session_id, of_event, key)
    return Interaction(
        of_event,
        ACTS[event.type],
        event.item_id,
        person,
        visitor,
        seconds(event.occurred_at),
        key("ranking", ranking_id) if ranking_id else None,
        key("quote", event.quote_id) if event.quote_id else None,
        key("order", event.order_id) if event.order_id else None,
        event.quantity,
        _paid(event.price) if event.HasField("price") else None,
    )


def listed_from_proto(product: product_pb2.Product) -> ListedProduct:
    return ListedProduct(product.id, CATEGORY_SEPARATOR.join(product.category_path), product.brand)


def is_observed(made: offer_pb2.Offer) -> bool:
    """Whether it is a price of a competitor."""
    return made.source == offer_pb2.OFFER_SOURCE_COMPETITOR and not made.is_removed


def observed_from_proto(made: offer_pb2.Offer) -> ObservedPrice:
    """Raises InvalidArgument for an unreadable amount."""
    return ObservedPrice(
        made.product_id, made.place_id, seconds(made.updated_at), made.price.currency_code,
        minor_units_from_proto(made.price, "price"), made.HasField("stock") and made.stock <= 0,
    )  # fmt: skip


def seconds(moment: Timestamp) -> float:
    """Since the epoch."""
    return moment.ToNanoseconds() / 1e9


def _person(user_id: str, visitor_id: str, session_id: str, otherwise: int, key: Key) -> tuple[int, int | None]:
    """(person, visitor of a user) as of an Impression."""
    visitor = key("visitor", visitor_id) if visitor_id else None
    if user_id:
        return key("user", user_id), visitor
    if visitor is not None:
        return visitor, None
    return (key("session", session_id) if session_id else otherwise), None


def _paid(price: common_pb2.Money) -> Paid:
    """In whole minor units: a share of an order's discount may leave parts of a cent."""
    money = money_from_proto(price, "price")
    decimals = MINOR_UNIT_DECIMALS[money.currency]
    return Paid(money.currency, int(in_minor_units(money.amount, money.currency, ROUND_HALF_UP).scaleb(decimals)))
