"""Recommend: the user's interests take the place of a query, and what is popular takes theirs."""

from __future__ import annotations

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.gateway.domain.budget import Stage
from services.gateway.explanation import Conditions
from services.gateway.flow import (
    DEFAULT_PAGE_SIZE,
    MAX_PAGE_SIZE,
    Explained,
    Parts,
    Ranked,
    Viewer,
    kept_ranking,
    popular,
    rank,
    show,
)
from services.gateway.memory import matches
from services.gateway.stages import Request

_AFTER_RETRIEVAL = (Stage.RANKER, Stage.PRICING)
# Of a filter; each is one call.
_MAX_CATEGORIES = 3


async def recommend(
    request: Request, parts: Parts, message: gateway_pb2.RecommendRequest, viewer: Viewer
) -> gateway_pb2.RecommendResponse:
    ranked = await kept_ranking(request, parts, viewer)
    if ranked is None:
        ranked = await new_ranking(request, parts, message, viewer.explained)
    results, next_page, attribution = await show(request, parts, ranked, viewer)
    return gateway_pb2.RecommendResponse(
        results=results,
        next_page_token=next_page,
        attribution_token=attribution,
        degradations=request.degradations,
        request_id=request.call.request_id,
        timings=request.timings if message.explain else [],
    )


async def new_ranking(
    request: Request, parts: Parts, message: gateway_pb2.RecommendRequest, explained: Explained | None
) -> Ranked:
    """By several interests at once; of someone new by the session, and by what is popular where that is new too."""
    interests = None
    if message.user_id:
        interests = await request.call_or_degrade(
            Stage.RANKER,
            parts.clients.ranker.GetInterests,
            ranker_pb2.GetInterestsRequest(user_id=message.user_id, session_id=message.session_id),
            [Stage.RETRIEVAL, Stage.PRICING],
            "popular items",
        )
    recently_purchased = frozenset(interests.recently_purchased_item_ids) if interests is not None else frozenset()
    query = retrieval_pb2.RetrieveCandidatesRequest(
        filter=message.filter,
        excluded_ids=sorted(recently_purchased),
        limit=parts.settings.search.candidates,
        with_vectors=True,
    )
    session = parts.memory.session(request.call.tenant, message.session_id)
    source = "popular"
    if interests is not None and interests.HasField("interests"):
        source = "interests"
        query.query_vectors.CopyFrom(interests.interests)
        query.query_vector_weights.extend(interests.weights)
    elif session is not None:
        source = "session"
        query.query_vectors.CopyFrom(vectors_to_proto(session[1].reshape(1, -1), session[0]))
    found = None
    if query.HasField("query_vectors"):
        found = await request.call_or_degrade(
            Stage.RETRIEVAL, parts.clients.retrieval.RetrieveCandidates, query, _AFTER_RETRIEVAL, "popular items"
        )
        if found is not None:
            request.degradations.extend(found.degradations)
    candidates = found.candidates if found is not None else retrieval_pb2.Candidates()
    if not candidates.ids:
        source = "popular"
        candidates = await _popular_candidates(request, parts, message, recently_purchased)
    if not candidates.ids:
        request.metrics.recommendations.labels("memory").inc()
        ranked = popular(request, parts, message.filter, recently_purchased)
    else:
        request.metrics.recommendations.labels(source).inc()
        ranked = await rank(
            request, parts, candidates, message.user_id, message.session_id, None, explained, as_slate=True
        )
    ranked.conditions = Conditions(message.filter, recently_purchased=recently_purchased)
    return ranked


async def _popular_candidates(
    request: Request, parts: Parts, message: gateway_pb2.RecommendRequest, recently_purchased: frozenset[str]
) -> retrieval_pb2.Candidates:
    """What is popular in the asked categories, else in the shop; where that leaves no page, the newest that match.

    Empty where retrieval is down. The ranker puts them in order.
    """
    limit, page = parts.settings.search.candidates, min(message.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    ids = list[str]()
    for category in message.filter.categories[:_MAX_CATEGORIES]:
        answer = await request.call_or_degrade(
            Stage.RANKER,
            parts.clients.ranker.ListPopularItems,
            ranker_pb2.ListPopularItemsRequest(category=category, limit=limit),
            [Stage.RETRIEVAL, Stage.PRICING],
            "popular items",
        )
        ids.extend(answer.item_ids if answer is not None else ())
    ids.extend(product.id for product in parts.memory.popular(request.call.tenant, message.filter))
    wanted = [id for id in dict.fromkeys(ids) if id not in recently_purchased][:limit]
    if wanted:
        lookup = retrieval_pb2.LookupProductsRequest(ids=wanted, with_products=True, with_vectors=True)
        known = await request.call_or_degrade(
            Stage.RETRIEVAL, parts.clients.retrieval.LookupProducts, lookup, _AFTER_RETRIEVAL, "popular items"
        )
        if known is None:
            return retrieval_pb2.Candidates()
        matching = _matching(known.candidates, message.filter)
        if len(matching.ids) >= page:
            return matching
    browse = retrieval_pb2.RetrieveCandidatesRequest(
        filter=message.filter, excluded_ids=sorted(recently_purchased), limit=limit, with_vectors=True,
        sort=product_pb2.SORT_ORDER_NEWEST,
    )  # fmt: skip
    newest = await request.call_or_degrade(
        Stage.RETRIEVAL, parts.clients.retrieval.RetrieveCandidates, browse, _AFTER_RETRIEVAL, "popular items"
    )
    return newest.candidates if newest is not None else retrieval_pb2.Candidates()


def _matching(candidates: retrieval_pb2.Candidates, narrowing: product_pb2.ProductFilter) -> retrieval_pb2.Candidates:
    """The rows whose products match, of every column."""
    rows = [
        row for row, data in enumerate(candidates.products) if matches(product_pb2.Product.FromString(data), narrowing)
    ]
    if len(rows) == len(candidates.ids):
        return candidates
    chosen = retrieval_pb2.Candidates()
    for field, column in candidates.ListFields():
        if field.name == "vectors":
            vectors = vectors_from_proto(column, "vectors")[rows]
            chosen.vectors.CopyFrom(vectors_to_proto(vectors, column.model_version))
        else:
            getattr(chosen, field.name).extend(column[row] for row in rows)
    return chosen
