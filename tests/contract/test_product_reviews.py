"""ImportProductReviews and SetReviewSummaries over real gRPC."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, product_reviews_pb2
from kairos.ranker.v1 import ranker_pb2
from tests.contract.gateways import Running, running, stages, violated_fields

__all__ = ["running", "stages"]  # fixtures


def review(id: str = "r1", **fields: object) -> product_reviews_pb2.ProductReview:
    usual: dict[str, object] = {"product_id": "p1", "visitor_id": "v1", "rating": 4, "text": "Good shoe"}
    return product_reviews_pb2.ProductReview(review_id=id, **usual | fields)  # type: ignore[arg-type]


async def sent(
    shop: Running, *reviews: product_reviews_pb2.ProductReview
) -> product_reviews_pb2.ImportProductReviewsResponse:
    request = product_reviews_pb2.ImportProductReviewsRequest(reviews=reviews)
    return await shop.stub.ImportProductReviews(request, timeout=30)


def recorded(shop: Running) -> list[event_pb2.Event]:
    return [
        event
        for request in shop.stages.ranker.requests
        if isinstance(request, ranker_pb2.RecordEventsRequest)
        for event in request.events
    ]


async def test_reviews_are_events_of_their_writers(running: Running) -> None:
    """Each is stored once, as feedback on the product; a wrong one is rejected with its field."""
    written = Timestamp(seconds=1_000_000_000)
    ahead = Timestamp(seconds=4_000_000_000)
    answer = await sent(
        running,
        review(created_at=written),
        review("r2", rating=9),
        review("r3", product_id=""),
        review("r4", created_at=ahead),
    )
    assert (answer.recorded_count, answer.duplicate_count) == (1, 0)
    assert [(one.index, one.field) for one in answer.rejected] == [
        (1, "rating"), (2, "product_id"), (3, "created_at"),
    ]  # fmt: skip
    (event,) = recorded(running)
    assert (event.type, event.item_id, event.visitor_id) == (event_pb2.EVENT_TYPE_FEEDBACK, "p1", "v1")
    assert (event.feedback.rating, event.feedback.is_product_review) == (4, True)
    # Retention counts from the import.
    assert event.feedback.written_at == written
    assert event.occurred_at.seconds > 1_700_000_000
    assert event.feedback.moderation == product_pb2.MODERATION_OUTCOME_PASS
    assert await violated_fields(sent(running, review("r4", rating=0))) == ["reviews[0].rating"]


async def test_texts_are_moderated_and_masked(running: Running) -> None:
    """Hate does not count, a doubtful text waits for a person, and an address is not stored."""
    answer = await sent(
        running,
        review("hate", text="Kill all jews"),
        review("claim", text="This cures cancer, believe me"),
        review("mail", text="Write to anna.k@example.com if you want one"),
    )
    assert (answer.blocked_count, answer.review_count) == (1, 1)
    hate, claim, mail = recorded(running)
    assert hate.feedback.moderation == product_pb2.MODERATION_OUTCOME_BLOCK
    assert claim.feedback.moderation == product_pb2.MODERATION_OUTCOME_REVIEW
    assert "example.com" not in mail.feedback.text


async def test_feedback_is_no_review(running: Running) -> None:
    """RecordFeedback refuses what only ImportProductReviews may say."""
    feedback = event_pb2.Feedback(rating=5, is_product_review=True)
    request = gateway_pb2.RecordFeedbackRequest(feedback_id="f", user_id="u", feedback=feedback)
    assert await violated_fields(running.stub.RecordFeedback(request)) == ["feedback.is_product_review"]


@pytest.mark.parametrize("field", ["mean", "rating", "sentiment"])
async def test_a_summary_beyond_its_bounds(running: Running, field: str) -> None:
    """It is refused, by its path."""
    said = product_pb2.ReviewSummary(count=1, mean=5, rating=4, sentiment=0.1)
    setattr(said, field, 7.0)
    entry = product_reviews_pb2.ProductReviewSummary(product_id="p1", summary=said)
    request = product_reviews_pb2.SetReviewSummariesRequest(products=[entry])
    assert await violated_fields(running.stub.SetReviewSummaries(request)) == [f"products[0].summary.{field}"]


async def test_summaries_are_shown(running: Running) -> None:
    """Results have what the reviews of the product say; unknown products are named."""
    said = product_pb2.ReviewSummary(count=3, mean=5, rating=4, sentiment=0.1)
    entries = [product_reviews_pb2.ProductReviewSummary(product_id=id, summary=said) for id in ("p1", "nothing")]
    answer = await running.stub.SetReviewSummaries(product_reviews_pb2.SetReviewSummariesRequest(products=entries))
    assert (answer.changed_count, list(answer.missing_ids)) == (1, ["nothing"])
    found = await running.stub.Search(gateway_pb2.SearchRequest(query="shoes", page_size=100))
    assert {result.product.id: result.product.reviews for result in found.results}["p1"] == said
