"""Recommend: products for a user, a visitor or a session, without a query.

Candidates come from the interests, else from the session, else from the popular items of the shop.
"""

from __future__ import annotations

import asyncio

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import product_from_proto, tensor_from_proto, vectors_to_proto
from services.common.filters import ProductFilter, matches
from services.gateway import fallbacks
from services.gateway.domain.budget import Stage
from services.gateway.domain.viewer import Explained, Viewer
from services.gateway.flows.explanation import Conditions
from services.gateway.flows.paging import cut, stored_page
from services.gateway.flows.rank_items import rank_items
from services.gateway.flows.ranking import Ranking
from services.gateway.flows.results import attribution_of, results_of
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

_AFTER_RANKER = (Stage.RETRIEVAL, Stage.PRICING)
_AFTER_RETRIEVAL = (Stage.RANKER, Stage.PRICING)
# Of a filter: each is one call.
_MAX_CATEGORIES = 3
_SOURCES = {
    ranker_pb2.CANDIDATE_SOURCE_INTERESTS: "interests",
    ranker_pb2.CANDIDATE_SOURCE_SESSION: "session",
    ranker_pb2.CANDIDATE_SOURCE_POPULAR: "popular",
}


async def recommend(
    calls: StageCalls, parts: Parts, message: gateway_pb2.RecommendRequest, viewer: Viewer
) -> gateway_pb2.RecommendResponse:
    page = await stored_page(calls, parts, viewer)
    if page is None:
        ranking = await new_ranking(calls, parts, message, viewer, viewer.explained)
        page = cut(ranking, viewer, calls.locale)
    results = await results_of(calls, parts, page, viewer)
    return gateway_pb2.RecommendResponse(
        results=results,
        next_page_token=page.next_page.encode(parts.token_keys.of(calls.info.tenant)[0]) if page.next_page else "",
        attribution_token=attribution_of(calls, page, parts),
        degradations=calls.degradations,
        request_id=calls.info.request_id,
        timings=calls.timings if message.explain else [],
    )


async def new_ranking(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.RecommendRequest,
    viewer: Viewer,
    explained: Explained | None,
) -> Ranking:
    known = await _interests(calls, parts, viewer)
    recently_purchased = frozenset(known.recently_purchased_item_ids)
    source = ranker_pb2.CANDIDATE_SOURCE_POPULAR
    query = retrieval_pb2.RetrieveCandidatesRequest(
        filter=message.filter,
        excluded_ids=sorted(recently_purchased),
        limit=parts.settings.search.candidates,
        with_vectors=True,
    )
    if known.HasField("interests"):
        source = ranker_pb2.CANDIDATE_SOURCE_INTERESTS
        query.query_vectors.CopyFrom(known.interests)
        query.query_vector_weights.extend(known.weights)
    elif known.HasField("session"):
        source = ranker_pb2.CANDIDATE_SOURCE_SESSION
        query.query_vectors.CopyFrom(known.session)
    candidates = retrieval_pb2.Candidates()
    if query.HasField("query_vectors"):
        found = await calls.call_or_degrade(
            Stage.RETRIEVAL, parts.stubs.retrieval.RetrieveCandidates, query, _AFTER_RETRIEVAL, fallbacks.POPULAR_ITEMS
        )
        if found is not None:
            calls.degradations.extend(found.degradations)
            candidates = found.candidates
    if not candidates.ids:
        source = ranker_pb2.CANDIDATE_SOURCE_POPULAR
        candidates = await _popular_candidates(calls, parts, message, viewer, recently_purchased)
    if candidates.ids:
        parts.metrics.recommendations.labels(_SOURCES[source]).inc()
        count = len(candidates.ids)
        ranking = await rank_items(
            calls, parts, candidates, viewer, None, source, count, explained, as_slate=True
        )  # fmt: skip
    else:
        parts.metrics.recommendations.labels("memory").inc()
        ranking = fallbacks.retrieval_late(parts, calls.info.tenant, viewer, recently_purchased)
    ranking.conditions = Conditions(viewer.filter, recently_purchased=recently_purchased)
    return ranking


async def _interests(calls: StageCalls, parts: Parts, viewer: Viewer) -> ranker_pb2.GetInterestsResponse:
    """Empty for an unknown person in an unknown session, and if the ranker does not answer."""
    ask = ranker_pb2.GetInterestsRequest(
        user_id=viewer.user_id, visitor_id=viewer.visitor_id, session_id=viewer.session_id
    )
    if not ask.ByteSize():
        return ranker_pb2.GetInterestsResponse()
    answer = await calls.call_or_degrade(
        Stage.RANKER, parts.stubs.ranker.GetInterests, ask, _AFTER_RANKER, fallbacks.POPULAR_ITEMS
    )
    return answer if answer is not None else ranker_pb2.GetInterestsResponse()


async def _popular_candidates(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.RecommendRequest,
    viewer: Viewer,
    recently_purchased: frozenset[str],
) -> retrieval_pb2.Candidates:
    """The popular items of the filter's categories, else of the shop; if they fill no page, the newest that match.

    Empty if retrieval does not answer.
    """
    limit = parts.settings.search.candidates
    answers = await asyncio.gather(
        *(
            calls.call_or_degrade(
                Stage.RANKER,
                parts.stubs.ranker.ListPopularItems,
                ranker_pb2.ListPopularItemsRequest(category=category, limit=limit),
                _AFTER_RANKER,
                fallbacks.POPULAR_ITEMS,
            )
            for category in viewer.filter.categories[:_MAX_CATEGORIES]
        )
    )
    ids = [id for answer in answers if answer is not None for id in answer.item_ids]
    ids.extend(parts.popular_items.matching(calls.info.tenant, viewer.filter))
    wanted = [id for id in dict.fromkeys(ids) if id not in recently_purchased][:limit]
    if wanted:
        lookup = retrieval_pb2.LookupProductsRequest(ids=wanted, with_products=True, with_vectors=True)
        known = await calls.call_or_degrade(
            Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, _AFTER_RETRIEVAL, fallbacks.POPULAR_ITEMS
        )
        if known is None:
            return retrieval_pb2.Candidates()
        matching = _matching(known.candidates, viewer.filter)
        if len(matching.ids) >= viewer.page_size:
            return matching
    browse = retrieval_pb2.RetrieveCandidatesRequest(
        filter=message.filter, excluded_ids=sorted(recently_purchased), limit=limit, with_vectors=True,
        sort=product_pb2.SORT_ORDER_NEWEST,
    )  # fmt: skip
    newest = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.RetrieveCandidates, browse, _AFTER_RETRIEVAL, fallbacks.POPULAR_ITEMS
    )
    return newest.candidates if newest is not None else retrieval_pb2.Candidates()


def _matching(candidates: retrieval_pb2.Candidates, narrowing: ProductFilter) -> retrieval_pb2.Candidates:
    """The rows of all columns whose products match."""
    if narrowing.is_empty:
        return candidates
    products = map(product_pb2.Product.FromString, candidates.products)
    rows = [row for row, data in enumerate(products) if matches(product_from_proto(data, "product"), narrowing)]
    if len(rows) == len(candidates.ids):
        return candidates
    chosen = retrieval_pb2.Candidates()
    for field, column in candidates.ListFields():
        if field.name == "vectors":
            vectors = tensor_from_proto(column.values, "vectors")[rows]
            chosen.vectors.CopyFrom(vectors_to_proto(vectors, column.model_version))
        else:
            getattr(chosen, field.name).extend(column[row] for row in rows)
    return chosen
