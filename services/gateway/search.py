"""Search: understand words and picture, retrieve, rank, price.

Each step has its fallback; the answer says which ones it took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.gateway.domain.budget import Stage
from services.gateway.explanation import Conditions, retrieval_scores
from services.gateway.flow import Explained, Parts, Ranked, Viewer, kept_ranking, popular, rank, show
from services.gateway.interpretation import interpret, lookup_text, soft_filter, tell_effects
from services.gateway.stages import Request

_RELEVANCE = (product_pb2.SORT_ORDER_UNSPECIFIED, product_pb2.SORT_ORDER_RELEVANCE)
_AFTER_ENCODER = (Stage.RETRIEVAL, Stage.RANKER, Stage.PRICING)
_AFTER_RETRIEVAL = (Stage.RANKER, Stage.PRICING)


async def search(
    request: Request, parts: Parts, message: gateway_pb2.SearchRequest, viewer: Viewer
) -> gateway_pb2.SearchResponse:
    response = gateway_pb2.SearchResponse(request_id=request.call.request_id)
    ranked = await kept_ranking(request, parts, viewer)
    if ranked is None:
        ranked = await new_ranking(request, parts, message, response, viewer.explained)
    response.total_size = max(response.total_size, len(ranked.ids))
    results, response.next_page_token, response.attribution_token = await show(request, parts, ranked, viewer)
    response.results.extend(results)
    if not (results or viewer.page.offset):
        request.metrics.empty_searches.inc()
    response.degradations.extend(request.degradations)
    if message.explain:
        response.timings.extend(request.timings)
    return response


async def new_ranking(
    request: Request,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    response: gateway_pb2.SearchResponse,
    explained: Explained | None,
) -> Ranked:
    """Fills interpretation, facets and total_size of `response`. What explains one item moves no session."""
    ranked = await _find_and_rank(request, parts, message, response, explained)
    ranked.conditions = Conditions(message.filter, response.interpretation)
    return ranked


async def _find_and_rank(
    request: Request,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    response: gateway_pb2.SearchResponse,
    explained: Explained | None,
) -> Ranked:
    understood, picture = await asyncio.gather(_understand(request, parts, message), _look(request, parts, message))
    looks_for_nothing = not message.query.strip() and not message.similar_to_id
    if message.image and picture is None and looks_for_nothing:
        return popular(request, parts, message.filter)
    wish = None
    if understood is not None:
        interpret(response.interpretation, message, understood)
        request.locale = request.locale or understood.language
        wish = soft_filter(message, understood)
    by_relevance = message.sort in _RELEVANCE
    vectors = _vectors(understood)
    query = retrieval_pb2.RetrieveCandidatesRequest(
        text=lookup_text(message, understood),
        query_vectors=vectors[0] if vectors else None,
        other_query_vectors=vectors[1:],
        filter=message.filter,
        soft_filter=wish,
        soft_filter_minimum=message.page_size,
        limit=parts.settings.search.candidates,
        sort=message.sort,
        facets=message.facets,
        with_vectors=by_relevance,
        image_vector=picture,
        similar_to_id=message.similar_to_id,
    )
    found = await request.call_or_degrade(
        Stage.RETRIEVAL, parts.clients.retrieval.RetrieveCandidates, query, _AFTER_RETRIEVAL, "popular items"
    )
    vector = _in_terms_of(vectors, found.model_version if found is not None else "")
    if vector is not None and not (explained and explained.item_id):
        row = vectors_from_proto(vector, "vector")[0]
        parts.memory.remember(request.call.tenant, message.session_id, vector.model_version, row, message.user_id)
    if found is None:
        return popular(request, parts, message.filter)
    request.degradations.extend(found.degradations)
    response.facets.extend(found.facets)
    response.total_size = found.total_size
    tell_effects(response.interpretation, wish is not None and found.soft_filter_applied)
    if not by_relevance or (looks_for_nothing and not message.image):
        return _as_retrieved(found.candidates, explained)
    return await rank(request, parts, found.candidates, message.user_id, message.session_id, vector, explained)


async def _look(request: Request, parts: Parts, message: gateway_pb2.SearchRequest) -> common_pb2.Vectors | None:
    """The picture's vector. None without a picture, and where the encoder is late or down."""
    if not message.image:
        return None
    fallback = "retrieval without the picture" if message.query.strip() else "popular items"
    query = encoder_pb2.EncodeImageRequest(image=message.image)
    answer = await request.call_or_degrade(
        Stage.QUERY_ENCODER, parts.clients.encoder.EncodeImage, query, _AFTER_ENCODER, fallback
    )
    return None if answer is None else answer.vector


async def _understand(
    request: Request, parts: Parts, message: gateway_pb2.SearchRequest
) -> encoder_pb2.EncodeQueryResponse | None:
    """None for an empty query, and where the encoder is late or down: then the words as typed are looked up."""
    if not message.query.strip():
        return None
    tenant, session_id = request.call.tenant, message.session_id
    around = encoder_pb2.QueryContext(category=message.filter.categories[0] if message.filter.categories else "")
    if known := parts.memory.session(tenant, session_id):
        around.session.CopyFrom(vectors_to_proto(known[1].reshape(1, -1), known[0]))
    query = encoder_pb2.EncodeQueryRequest(text=message.query, query_context=around)
    answer = await request.call_or_degrade(
        Stage.QUERY_ENCODER, parts.clients.encoder.EncodeQuery, query, _AFTER_ENCODER, "lexical retrieval"
    )
    if answer is None:
        return None
    if not _vectors(answer):
        reason = common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE
        request.degrade(Stage.QUERY_ENCODER, reason, "lexical retrieval", "the encoder does not know the language")
    return answer


def _vectors(understood: encoder_pb2.EncodeQueryResponse | None) -> list[common_pb2.Vectors]:
    """The query by each model that is served and knows its language."""
    if understood is None:
        return []
    return [*([understood.vector] if understood.HasField("vector") else []), *understood.other_vectors]


def _in_terms_of(vectors: Sequence[common_pb2.Vectors], model_version: str) -> common_pb2.Vectors | None:
    """The one of the collection that answered; else the first."""
    fitting = [vector for vector in vectors if vector.model_version == model_version]
    return next(iter([*fitting, *vectors]), None)


def _as_retrieved(candidates: retrieval_pb2.Candidates, explained: Explained | None) -> Ranked:
    products = dict(zip(candidates.ids, candidates.products, strict=True))
    stage_scores = retrieval_scores(candidates) if explained is not None else {}
    return Ranked(candidates.ids, candidates.scores, "retrieval-order", products, stage_scores)
