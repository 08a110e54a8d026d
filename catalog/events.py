"""Rows of an event file as events."""

from __future__ import annotations

from typing import Any

from catalog.columns import snake_case
from catalog.dates import parse_time
from catalog.files import RowRefused
from catalog.money import parse_currency, parse_money
from catalog.numbers import cut, parse_whole_number
from catalog.text import is_missing, stripped
from kairos.common.v1 import event_pb2
from services.common.convert import money_to_proto

_IDS = (
    "event_id", "user_id", "visitor_id", "session_id", "item_id", "attribution_token", "order_id", "quote_id",
)  # fmt: skip
_PREFIX = "EVENT_TYPE_"


def event_of(values: dict[str, Any]) -> event_pb2.Event:
    """The event of one row. Keys are those of event.proto in any spelling of protobuf's JSON; `time` is `occurred_at`.
    A type is `click` or `EVENT_TYPE_CLICK`. `price` is what was paid for one piece, with its currency or with a column
    `currency` beside it.

    Raises RowRefused.
    """
    row = {snake_case(key): value for key, value in values.items() if not is_missing(value)}
    row |= {key: values[key] for key in ("query",) if isinstance(values.get(key), str)}  # "null" may be a query
    name = _PREFIX + str(row.get("type", "")).strip().upper().removeprefix(_PREFIX)
    if name not in event_pb2.EventType.DESCRIPTOR.values_by_name or name == f"{_PREFIX}UNSPECIFIED":
        raise RowRefused(
            "type",
            f"{cut(row.get('type', ''))} is unknown; use click, cart, purchase, remove, dwell, search, "
            "impression, refund or cancellation",
        )
    event = event_pb2.Event(type=event_pb2.EventType.Value(name))
    for key in (*_IDS, "query"):
        if key in row:
            setattr(event, key, _text(key, row[key]))
    for key, most in (("quantity", 2**31 - 1), ("dwell_ms", 2**62)):
        if key in row:
            setattr(event, key, parse_whole_number(key, row[key], most))
    if "price" in row:
        currency = parse_currency("currency", row["currency"]) if "currency" in row else ""
        event.price.CopyFrom(money_to_proto(parse_money("price", row["price"], currency)))
    if not event.event_id:
        raise RowRefused("event_id", "is empty; it is required")
    if not event.user_id and not event.visitor_id:
        raise RowRefused("user_id", "is empty, and so is visitor_id; one of them is required")
    if event.type != event_pb2.EVENT_TYPE_SEARCH and not event.item_id:
        raise RowRefused("item_id", "is empty; only a search may have none")
    for key in ("time", "occurred_at"):
        if key in row:
            event.occurred_at.FromDatetime(parse_time(key, row[key]))
    return event


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool | dict | list):
        raise RowRefused(key, f"{cut(value)} is not a text")
    return stripped(str(value))
