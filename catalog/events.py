"""Rows of an event file as events."""

from __future__ import annotations

from typing import Any

from catalog.mapping import RowRefused, parse_time, parse_whole_number
from kairos.common.v1 import event_pb2


def event_of(values: dict[str, Any]) -> event_pb2.Event:
    """The event of one row. Keys are those of event.proto, and `time` (ISO 8601) and `type` (click, cart, …).

    Raises RowRefused.
    """
    name = f"EVENT_TYPE_{str(values.get('type', '')).upper()}"
    if name not in event_pb2.EventType.DESCRIPTOR.values_by_name:
        raise RowRefused(
            "type", f"{values.get('type')!r} is unknown; use click, cart, purchase, remove, dwell or search"
        )
    event = event_pb2.Event(type=event_pb2.EventType.Value(name))
    for key in ("event_id", "user_id", "visitor_id", "session_id", "item_id", "query"):
        setattr(event, key, str(values.get(key) or ""))
    for key, most in (("quantity", 2**31 - 1), ("dwell_ms", 2**62)):
        if values.get(key) not in (None, ""):
            setattr(event, key, parse_whole_number(key, str(values[key]), most))
    if not event.event_id:
        raise RowRefused("event_id", "is empty; it is required")
    if not event.user_id and not event.visitor_id:
        raise RowRefused("user_id", "is empty, and so is visitor_id; one of them is required")
    if event.type != event_pb2.EVENT_TYPE_SEARCH and not event.item_id:
        raise RowRefused("item_id", "is empty; only a search may have none")
    if values.get("time"):
        event.occurred_at.FromDatetime(parse_time("time", str(values["time"])))
    return event
