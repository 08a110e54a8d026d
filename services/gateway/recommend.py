"""Recommend: the user's interests take the place of a query."""

from __future__ import annotations

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.domain.budget import Stage
from services.gateway.flow import Parts, Ranked, Viewer, kept_ranking, popular, rank, show
from services.gateway.stages import Request, StageFailed, unavailable


async def recommend(
    request: Request, parts: Parts, message: gateway_pb2.RecommendRequest, viewer: Viewer
) -> gateway_pb2.RecommendResponse:
    try:
        ranked = await kept_ranking(request, parts, viewer)
    except StageFailed as failed:
        raise unavailable(failed) from None
    if ranked is None:
        ranked = await _new_ranking(request, parts, message)
    results, next_page, attribution = await show(request, parts, ranked, viewer)
    return gateway_pb2.RecommendResponse(
        results=results,
        next_page_token=next_page,
        attribution_token=attribution,
        degradations=request.degradations,
        request_id=request.call.request_id,
        timings=request.timings if message.explain else [],
    )


async def _new_ranking(request: Request, parts: Parts, message: gateway_pb2.RecommendRequest) -> Ranked:
    """By several interests at once; what is popular for a user of whom nothing is known."""
    interests = None
    if message.user_id:
        interests = await request.call_or_degrade(
            Stage.RANKER,
            parts.clients.ranker.GetInterests,
            ranker_pb2.GetInterestsRequest(user_id=message.user_id, session_id=message.session_id),
            [Stage.RETRIEVAL, Stage.PRICING],
            "popular items",
        )
    if interests is None or not interests.HasField("interests"):
        return popular(request, parts, message.filter)
    query = retrieval_pb2.RetrieveCandidatesRequest(
        query_vectors=interests.interests,
        query_vector_weights=interests.weights,
        filter=message.filter,
        excluded_ids=interests.purchased_item_ids,
        limit=parts.settings.search.candidates,
        with_vectors=True,
    )
    found = await request.call_or_degrade(
        Stage.RETRIEVAL, parts.clients.retrieval.RetrieveCandidates, query, [Stage.RANKER, Stage.PRICING],
        "popular items",
    )  # fmt: skip
    if found is None or not found.candidates.ids:
        return popular(request, parts, message.filter)
    request.degradations.extend(found.degradations)
    return await rank(request, parts, found.candidates, message.user_id, message.session_id, None, message.explain)
