"""RecordFeedback over real gRPC: what the ranker records, wrong fields by name; the placement of pages in the log."""

from __future__ import annotations

from typing import Any

import pytest

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from tests.contract.gateways import Running, running, search, stages, violated_fields
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures


def sent(running: Running, kind: type[Any]) -> Any:
    """The last message of this kind that the ranker received."""
    return [request for request in running.stages.ranker.requests if isinstance(request, kind)][-1]


def feedback(**fields: Any) -> gateway_pb2.RecordFeedbackRequest:
    said = event_pb2.Feedback(rating=4, thumb=event_pb2.THUMB_UP, text="good", conversation_id="c", turn_id="t")
    known: dict[str, Any] = {"feedback_id": "f1", "visitor_id": "v", "feedback": said}
    return gateway_pb2.RecordFeedbackRequest(**known | fields)


async def test_feedback_is_an_event(running: Running) -> None:
    """With the token of the answer, and the time of the call."""
    answer = await running.stub.Search(search(), timeout=10)
    request = feedback(attribution_token=answer.attribution_token, session_id="s", item_id="p1")
    recorded = await running.stub.RecordFeedback(request)
    assert not recorded.is_duplicate
    assert recorded.request_id
    (event,) = sent(running, ranker_pb2.RecordEventsRequest).events
    assert event.occurred_at.seconds
    assert (event.event_id, event.visitor_id, event.session_id, event.item_id) == ("f1", "v", "s", "p1")
    assert (event.type, event.feedback) == (event_pb2.EVENT_TYPE_FEEDBACK, request.feedback)
    assert event.attribution_token == answer.attribution_token


async def test_personal_data_is_not_recorded(running: Running) -> None:
    """Where it was stands what it was."""
    await running.stub.RecordFeedback(feedback(feedback=event_pb2.Feedback(text="Write to ann@example.com, I wait")))
    (event,) = sent(running, ranker_pb2.RecordEventsRequest).events
    assert event.feedback.text == "Write to [email_address], I wait"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"feedback_id": ""}, "feedback_id"),
        ({"visitor_id": ""}, "user_id"),
        ({"attribution_token": "x"}, "attribution_token"),
        ({"item_id": "x" * 129}, "item_id"),
        ({"feedback": None}, "feedback"),
        ({"feedback": event_pb2.Feedback()}, "feedback"),
        ({"feedback": event_pb2.Feedback(text="  ")}, "feedback"),
        ({"feedback": event_pb2.Feedback(rating=6)}, "feedback.rating"),
        ({"feedback": event_pb2.Feedback(rating=-1)}, "feedback.rating"),
        ({"feedback": event_pb2.Feedback(text="x" * 2_001)}, "feedback.text"),
        ({"feedback": event_pb2.Feedback(rating=1, turn_id="x" * 129)}, "feedback.turn_id"),
    ],
)
async def test_wrong_fields(running: Running, fields: dict[str, Any], wrong: str) -> None:
    """Each is named by its path in the request, and nothing reaches the ranker."""
    before = len(running.stages.ranker.requests)
    assert wrong in await violated_fields(running.stub.RecordFeedback(feedback(**fields)))
    assert len(running.stages.ranker.requests) == before


async def test_events_are_not_feedback(running: Running) -> None:
    """RecordEvents refuses the type, whose texts would be too many for its messages."""
    event = event_pb2.Event(
        event_id="e", user_id="u", type=event_pb2.EVENT_TYPE_FEEDBACK, feedback=event_pb2.Feedback(rating=1)
    )
    request = gateway_pb2.RecordEventsRequest(events=[event])
    assert await violated_fields(running.stub.RecordEvents(request)) == ["events[0].type"]


async def test_pages_in_the_log_name_their_placement(running: Running) -> None:
    """That of the request, else "search" or the default placement."""
    await running.stub.Search(search(), timeout=10)
    await running.stub.Search(search(placement="header"), timeout=10)
    await running.stub.Recommend(gateway_pb2.RecommendRequest(visitor_id="v"), timeout=10)
    await until(lambda: len(running.stages.ranker.shown) == 3)
    sent_pages = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RecordImpressionsRequest)]
    assert sorted(page.placement for one in sent_pages for page in one.shown) == ["header", "home", "search"]
