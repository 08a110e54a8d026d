"""A batch of events is valid as a whole, or refused with every wrong field."""

from __future__ import annotations

import asyncio
import time

import pytest

from kairos.common.v1 import event_pb2
from services.common.errors import InvalidArgument
from services.gateway.domain.tokens import AttributionToken
from services.gateway.flows.record_events import check_events

KEY = "a key that only the gateway has"
OURS = AttributionToken("r1", "weighted-sum@1").encode(KEY)


def click(**fields: object) -> event_pb2.Event:
    made = event_pb2.Event(event_id="e", user_id="u", item_id="p1", type=event_pb2.EVENT_TYPE_CLICK)
    made.MergeFrom(event_pb2.Event(**fields))  # type: ignore[arg-type]
    return made


def wrong_fields(*events: event_pb2.Event) -> list[str]:
    try:
        asyncio.run(check_events(events, (KEY,), time.time()))
    except InvalidArgument as error:
        return [violation.field for violation in error.violations]
    return []


def test_good_events_pass() -> None:
    """A click with a genuine token, one without a token, one of a visitor, and a search without an item."""
    search = event_pb2.Event(event_id="s", user_id="u", query="shoes", type=event_pb2.EVENT_TYPE_SEARCH)
    visit = event_pb2.Event(event_id="v", visitor_id="v", item_id="p1", type=event_pb2.EVENT_TYPE_CLICK)
    assert wrong_fields(click(attribution_token=OURS), click(), visit, search) == []


@pytest.mark.parametrize(
    "token",
    [OURS[:-1], OURS + "A", OURS.swapcase(), "x", AttributionToken("r1", "weighted-sum@1").encode("other key")],
    ids=["cut", "longer", "changed", "short", "forged"],
)
def test_a_token_that_is_not_genuine(token: str) -> None:
    """A damaged or forged attribution token, which would join the event to no ranking, is refused by name."""
    assert wrong_fields(click(), click(attribution_token=token)) == ["events[1].attribution_token"]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (click(event_id="x" * 129), "event_id"),
        (click(user_id="x" * 129), "user_id"),
        (click(visitor_id="x" * 129), "visitor_id"),
        (click(session_id="x" * 129), "session_id"),
        (click(item_id="x" * 129), "item_id"),
        (click(query="x" * 513), "query"),
        (click(quantity=-1), "quantity"),
        (click(dwell_ms=-1), "dwell_ms"),
        (click(type=99), "type"),
        (event_pb2.Event(event_id="e", user_id="u", type=event_pb2.EVENT_TYPE_CART), "item_id"),
    ],
)
def test_each_bound(event: event_pb2.Event, field: str) -> None:
    """Beyond its bound a field is refused by its path."""
    assert wrong_fields(event) == [f"events[0].{field}"]


def test_not_from_the_future() -> None:
    """A clock may be an hour ahead, but not two days."""
    soon, later = click(), click()
    soon.occurred_at.FromSeconds(int(time.time()) + 3_600)
    later.occurred_at.FromSeconds(int(time.time()) + 2 * 86_400)
    assert wrong_fields(soon, later) == ["events[1].occurred_at"]


@pytest.mark.parametrize("count", [0, 1_001])
def test_how_many(count: int) -> None:
    """No event at all, or more than 1,000, is refused."""
    assert wrong_fields(*[click()] * count) == ["events"]
