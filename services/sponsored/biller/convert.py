"""Protobuf <-> facts and bills. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_UP

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import event_pb2
from kairos.control.v1 import budgets_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.attribution import ranking_of
from services.common.convert import minor_units_from_proto, minor_units_to_proto, money_from_proto
from services.common.errors import InvalidArgument
from services.common.gateway_log import readable
from services.common.money import MAX_UNITS, MINOR_UNIT_DECIMALS, in_minor_units
from services.sponsored.biller.ports import LogPage
from services.sponsored.domain.billing import DailyBill
from services.sponsored.domain.facts import Click, Fact, Impression, Purchase, Refund
from services.sponsored.domain.invalid_clicks import Verdict

_AMOUNTS = ("value", "amount", "sales", "same_brand_sales")
_REASONS = {verdict.value: verdict for verdict in Verdict}
_REFUNDS = (event_pb2.EVENT_TYPE_REFUND, event_pb2.EVENT_TYPE_CANCELLATION)


def page_from_proto(answer: gateway_pb2.ReadLogResponse, person: Callable[[str], str]) -> LogPage:
    """`person`: see Ledger.person."""
    places = [(page, row) for page in answer.impressions for row in range(len(page.sponsored))]
    shown = list(readable(lambda place: impression_from_proto(*place, person), places))
    done = list(readable(lambda event: fact_from_proto(event, person), answer.events))
    times = [page.shown_at for page in answer.impressions] or [event.occurred_at for event in answer.events]
    return LogPage(
        [*shown, *(fact for fact in done if fact is not None)],
        answer.next_page_token,
        answer.is_last_page,
        seconds(times[-1]) if times else None,
        len(places) + len(answer.events) - len(shown) - len(done),
    )


def impression_from_proto(page: event_pb2.Impressions, row: int, person: Callable[[str], str]) -> Impression:
    """Of a sponsored place of the page."""
    place, field = page.sponsored[row], f"sponsored[{row}]"
    if place.item_id not in page.item_ids:
        raise InvalidArgument.of(f"{field}.item_id", f"{place.item_id!r} is not on the page {page.ranking_id!r}")
    if math.isnan(place.expected_clicks) or not 0 <= place.expected_clicks <= 1:
        raise InvalidArgument.of(f"{field}.expected_clicks", f"is {place.expected_clicks:g}; 0 to 1 is expected")
    price = minor_units_from_proto(place.click_price, f"{field}.click_price")
    if price < 0:
        raise InvalidArgument.of(f"{field}.click_price", f"is {price}; 0 or more is expected")
    # The expected clicks of a person add up. Somebody without any id has seen this page only.
    person_id = person(page.user_id or page.visitor_id or page.session_id or page.ranking_id)
    return Impression(
        page.ranking_id, place.item_id, place.campaign_id, price, place.expected_clicks, person_id,
        seconds(page.shown_at), place.click_price.currency_code,
    )  # fmt: skip


def fact_from_proto(event: event_pb2.Event, person: Callable[[str], str]) -> Fact | None:
    """None for an event that bills do not need: a click without a token is on no ad, a purchase without a price no
    amount.
    """
    person_id, at_s = person(event.user_id or event.visitor_id), seconds(event.occurred_at)
    if event.type == event_pb2.EVENT_TYPE_CLICK:
        ranking_id = ranking_of(event.attribution_token)
        return Click(event.event_id, ranking_id, event.item_id, person_id, at_s) if ranking_id else None
    if event.type == event_pb2.EVENT_TYPE_PURCHASE and event.HasField("price"):
        paid = money_from_proto(event.price, "price")
        # A share of an order's discount may leave parts of a cent.
        whole = in_minor_units(paid.amount, paid.currency, ROUND_HALF_UP).scaleb(MINOR_UNIT_DECIMALS[paid.currency])
        return Purchase(
            event.event_id, person_id, event.item_id, int(whole), at_s, paid.currency, event.quantity, event.order_id
        )  # fmt: skip
    if event.type in _REFUNDS:
        return Refund(event.event_id, person_id, event.item_id, at_s, event.quantity, event.order_id)
    return None


def bill_to_proto(bill: DailyBill) -> budgets_pb2.Bill:
    return budgets_pb2.Bill(
        campaign_id=bill.campaign_id,
        day=bill.day.isoformat(),
        impressions=bill.impressions,
        clicks=bill.clicks,
        refused=[
            budgets_pb2.RefusedClicks(reason=verdict.value, clicks=count) for verdict, count in bill.refused.items()
        ],
        is_final=bill.is_final,
        **{name: minor_units_to_proto(min(getattr(bill, name), MAX_UNITS), bill.currency) for name in _AMOUNTS},
    )


def bill_from_proto(message: budgets_pb2.Bill) -> DailyBill:
    """Reasons of another version of Kairos are left out: the bill is then recorded again."""
    return DailyBill(
        message.campaign_id, date.fromisoformat(message.day), message.value.currency_code, message.impressions,
        message.clicks, is_final=message.is_final,
        refused={_REASONS[one.reason]: one.clicks for one in message.refused if one.reason in _REASONS},
        **{name: minor_units_from_proto(getattr(message, name), name) for name in _AMOUNTS},
    )  # fmt: skip


def seconds(moment: Timestamp) -> float:
    """Since 1970."""
    return moment.ToNanoseconds() / 1e9
