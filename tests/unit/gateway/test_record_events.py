"""The valid events of a batch are recorded; the others are rejected with their wrong fields."""

from __future__ import annotations

import asyncio
import time

import pytest

from kairos.common.v1 import common_pb2, event_pb2
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
        wrong = asyncio.run(check_events(events, (KEY,), time.time()))
    except InvalidArgument as error:
        return [violation.field for violation in error.violations]
    return [violation.field for violations in wrong.values() for violation in violations]


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
        (click(order_id="x" * 129), "order_id"),
        (click(quote_id="x\n"), "quote_id"),
        (click(price=common_pb2.Money(currency_code="XYZ", units=1)), "price.currency_code"),
        (click(price=common_pb2.Money(currency_code="USD", units=-1)), "price"),
        (click(price=common_pb2.Money(currency_code="USD", units=1, nanos=-5)), "price.nanos"),
        (event_pb2.Event(event_id="e", user_id="u", type=event_pb2.EVENT_TYPE_REFUND), "item_id"),
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


def test_the_others_of_a_batch_are_good() -> None:
    """Invalid events are named by their index; only if all are invalid, the batch is refused with every wrong field."""
    wrong = asyncio.run(check_events([click(), click(quantity=-1, dwell_ms=-1), click()], (KEY,), time.time()))
    assert {index: [v.field for v in found] for index, found in wrong.items()} == {
        1: ["events[1].quantity", "events[1].dwell_ms"]
    }
    with pytest.raises(InvalidArgument) as refused:
        asyncio.run(check_events([click(quantity=-1), click(dwell_ms=-1)], (KEY,), time.time()))
    assert [v.field for v in refused.value.violations] == ["events[0].quantity", "events[1].dwell_ms"]
