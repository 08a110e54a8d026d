"""Validation of events, the same for the gateway and the ranker."""

from __future__ import annotations

from typing import Any

import pytest

from kairos.common.v1 import event_pb2
from services.common.events import event_violations

NOW_S = 1_800_000_000.0


def event(**fields: Any) -> event_pb2.Event:
    made: dict[str, Any] = {"event_id": "e", "user_id": "u", "item_id": "i", "type": event_pb2.EVENT_TYPE_CLICK}
    return event_pb2.Event(**(made | fields))


def at(seconds: float) -> event_pb2.Event:
    made = event()
    made.occurred_at.seconds = int(seconds)
    return made


@pytest.mark.parametrize(
    "valid",
    [
        event(),
        event(user_id="", visitor_id="v"),
        event(visitor_id="v", quantity=3, session_id="s" * 128, query="q" * 512, attribution_token="t" * 1_024),
        event(item_id="", type=event_pb2.EVENT_TYPE_SEARCH, query="boots"),
        at(NOW_S + 86_400),
        at(0),
    ],
)
def test_a_valid_event_has_no_violation(valid: event_pb2.Event) -> None:
    """An event within all bounds, of a user or of a visitor, violates nothing."""
    assert event_violations(valid, "events[0]", NOW_S) == []


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        (event(event_id=""), ["event_id"]),
        (event(event_id="x" * 129), ["event_id"]),
        (event(event_id="a\0b", user_id="a\nb", item_id="a\u2028b"), ["event_id", "user_id", "item_id"]),
        (event(visitor_id="\x7f", session_id="\u0085"), ["visitor_id", "session_id"]),
        (event(user_id=""), ["user_id"]),
        (event(user_id="x" * 129), ["user_id"]),
        (event(visitor_id="x" * 129), ["visitor_id"]),
        (event(session_id="x" * 129, query="x" * 513), ["session_id", "query"]),
        (event(attribution_token="x" * 1_025), ["attribution_token"]),
        (event(type=event_pb2.EVENT_TYPE_UNSPECIFIED), ["type"]),
        (event(type=99), ["type"]),
        (event(item_id=""), ["item_id"]),
        (event(item_id="x" * 129), ["item_id"]),
        (event(quantity=-1, dwell_ms=-1), ["quantity", "dwell_ms"]),
        (at(NOW_S + 86_401), ["occurred_at"]),
        (at(300_000_000_000), ["occurred_at"]),
        (at(-300_000_000_000), ["occurred_at"]),
        (event_pb2.Event(), ["event_id", "user_id", "type"]),
    ],
)
def test_each_wrong_field_is_named(wrong: event_pb2.Event, fields: list[str]) -> None:
    """Every wrong field is named once, by its path below the path of the event."""
    found = event_violations(wrong, "events[7]", NOW_S)
    assert [violation.field for violation in found] == [f"events[7].{field}" for field in fields]
