"""ImportProductReviews and SetReviewSummaries."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import product_reviews_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import time_from_proto
from services.common.convert_moderation import moderated_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.events import MAX_AHEAD_S, event_violations
from services.common.limits import MAX_FEEDBACK_TEXT, MAX_RATING, id_problem
from services.common.personal_data import masked, may_hold_personal_data
from services.common.visibility import Moderated, Outcome
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls
from services.gateway.steps import in_steps

MAX_REVIEWS = 500
MAX_REVIEW_ID = 100
_EVENT_ID = "review:"
_EVENT_FIELDS = {"event_id": "review_id", "item_id": "product_id"}


async def import_product_reviews(
    calls: StageCalls, parts: Parts, message: product_reviews_pb2.ImportProductReviewsRequest
) -> product_reviews_pb2.ImportProductReviewsResponse:
    """Raises InvalidArgument, and what the ranker's call raises: acknowledged reviews are durable."""
    if not 1 <= len(message.reviews) <= MAX_REVIEWS:
        raise InvalidArgument.of("reviews", f"holds {len(message.reviews)}; send 1 to {MAX_REVIEWS}")
    tenant, now_s = calls.info.tenant, parts.clock()
    response = product_reviews_pb2.ImportProductReviewsResponse(request_id=calls.info.request_id)
    record, wrong = ranker_pb2.RecordEventsRequest(), list[FieldViolation]()
    doubted: list[tuple[event_pb2.Event, Moderated]] = []
    async for index, review in in_steps(enumerate(message.reviews)):
        event = _event_of(review, now_s)
        if problems := list(_problems(review, event, now_s)):
            response.rejected.add(index=index, field=problems[0].field, reason=problems[0].description)
            wrong += [FieldViolation(f"reviews[{index}].{one.field}", one.description) for one in problems]
            continue
        if may_hold_personal_data(review.text):
            # The recognisers are loaded with the first such text, which takes seconds.
            # Masked, it may be longer than the ranker takes.
            event.feedback.text = (await asyncio.to_thread(masked, review.text))[:MAX_FEEDBACK_TEXT]
        moderated = parts.moderation.moderator.of_text(event.feedback.text)
        event.feedback.moderation = moderated_to_proto(moderated).outcome
        response.blocked_count += moderated.outcome is Outcome.BLOCK
        response.review_count += moderated.outcome is Outcome.REVIEW
        if moderated.outcome is not Outcome.PASS:
            doubted.append((event, moderated))
        record.events.append(event)
    if not record.events:
        raise InvalidArgument(*wrong[:MAX_REVIEWS])
    count = len(record.events)
    answer = await calls.call(
        Stage.RANKER, parts.stubs.ranker.RecordEvents, record,
        is_valid=lambda counts: counts.recorded_count + counts.duplicate_count == count,
    )  # fmt: skip
    for event, moderated in doubted:
        parts.moderation.ask_about_review(tenant, event, moderated)
    parts.metrics.product_reviews.labels("recorded").inc(answer.recorded_count)
    parts.metrics.product_reviews.labels("duplicate").inc(answer.duplicate_count)
    parts.metrics.product_reviews.labels("rejected").inc(len(response.rejected))
    response.recorded_count, response.duplicate_count = answer.recorded_count, answer.duplicate_count
    return response


async def set_review_summaries(
    calls: StageCalls, parts: Parts, message: product_reviews_pb2.SetReviewSummariesRequest
) -> product_reviews_pb2.SetReviewSummariesResponse:
    if not 1 <= len(message.products) <= MAX_REVIEWS:
        raise InvalidArgument.of("products", f"holds {len(message.products)}; send 1 to {MAX_REVIEWS}")
    wrong = [
        FieldViolation(f"products[{index}].{field}", problem)
        for index, product in enumerate(message.products)
        for field, problem in _summary_problems(product)
    ]
    if wrong:
        raise InvalidArgument(*wrong)
    request = retrieval_pb2.SetReviewSummariesRequest(
        products=[
            retrieval_pb2.SummarizedProduct(
                id=product.product_id, summary=product.summary if product.HasField("summary") else None
            )
            for product in message.products
        ]
    )
    answer = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.SetReviewSummaries, request)
    return product_reviews_pb2.SetReviewSummariesResponse(
        changed_count=answer.changed_count, missing_ids=answer.missing_ids, request_id=calls.info.request_id
    )


def _event_of(review: product_reviews_pb2.ProductReview, now_s: float) -> event_pb2.Event:
    event = event_pb2.Event(
        event_id=_EVENT_ID + review.review_id, item_id=review.product_id, user_id=review.user_id,
        visitor_id=review.visitor_id, type=event_pb2.EVENT_TYPE_FEEDBACK,
        feedback=event_pb2.Feedback(rating=review.rating, text=review.text, is_product_review=True),
    )  # fmt: skip
    event.occurred_at.FromNanoseconds(int(now_s * 1e9))
    event.feedback.written_at.CopyFrom(review.created_at if review.HasField("created_at") else event.occurred_at)
    return event


def _problems(
    review: product_reviews_pb2.ProductReview, event: event_pb2.Event, now_s: float
) -> Iterator[FieldViolation]:
    """By the fields of ProductReview."""
    if problem := id_problem(review.review_id, limit=MAX_REVIEW_ID):
        yield FieldViolation("review_id", problem)
    if not review.product_id:
        yield FieldViolation("product_id", "is empty; a review is about a product")
    if not 1 <= review.rating <= MAX_RATING:
        yield FieldViolation("rating", f"is {review.rating}; send 1 to {MAX_RATING}")
    try:
        if time_from_proto(event.feedback.written_at, "created_at").timestamp() > now_s + MAX_AHEAD_S:
            yield FieldViolation("created_at", "is more than a day ahead; send the time at which it was written")
    except InvalidArgument as error:
        yield error.violations[0]
    for one in event_violations(event, "", now_s):
        field = one.field.removeprefix(".").removeprefix("feedback.")
        if field not in ("event_id", "rating", "feedback"):
            yield FieldViolation(_EVENT_FIELDS.get(field, field), one.description)


def _summary_problems(product: product_reviews_pb2.ProductReviewSummary) -> Iterator[tuple[str, str]]:
    if problem := id_problem(product.product_id):
        yield "product_id", problem
    summary = product.summary
    if not product.HasField("summary"):
        return
    if summary.count < 0:
        yield "summary.count", f"{summary.count} is negative"
    for name, least, most in (("mean", 1.0, 5.0), ("rating", 1.0, 5.0), ("sentiment", -1.0, 1.0)):
        value = getattr(summary, name)
        if not (math.isfinite(value) and least <= value <= most):
            yield f"summary.{name}", f"is {value}; send {least:g} to {most:g}"
