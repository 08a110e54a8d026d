"""The entry of the FAQ above a search, and its products among the candidates."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway import fallbacks
from services.gateway.convert import collapse_mode, offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.candidates import appended, matching, taken
from services.gateway.flows.merchandising import BY_RELEVANCE, AppliedRules
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

_AFTER_RETRIEVAL = (Stage.RANKER, Stage.PRICING)
# Products of the categories of an entry; and the most of the budget that they, and those it names, may take.
_OF_CATEGORIES, _SHARE = 20, 0.25


def faq_question(message: gateway_pb2.SearchRequest) -> str:
    """What the FAQ is asked: the query of a first page by relevance. Empty: nothing."""
    is_off = message.faq == gateway_pb2.FAQ_MODE_OFF or message.image or message.similar_to_id
    return "" if is_off or message.page_token or message.sort not in BY_RELEVANCE else message.query


async def with_faq_products(
    calls: StageCalls,
    parts: Parts,
    viewer: Viewer,
    rules: AppliedRules,
    candidates: retrieval_pb2.Candidates,
    found: retrieval_pb2.FaqCandidate,
    vectors: Sequence[common_pb2.Vectors],
) -> tuple[retrieval_pb2.Candidates, set[str]]:
    """The candidates with the products of the entry's ids and categories, and the ids of these.

    They answer the question as well as the best of the others: their scores are as high. The ranker orders them.
    """
    entry = found.entry
    if not (entry.product_ids or entry.categories):
        return candidates, set()
    looked_up, retrieved = await asyncio.gather(
        _named(calls, parts, viewer, list(dict.fromkeys(entry.product_ids))),
        _of_categories(calls, parts, viewer, entry.categories, vectors),
    )
    recommended, known = set[str](), set(candidates.ids)
    for more in (looked_up, retrieved):
        allowed = rules.allowed(matching(more, viewer.filter))
        recommended.update(allowed.ids)
        rows = [row for row, id in enumerate(allowed.ids) if id not in known]
        known.update(allowed.ids)
        if rows:
            candidates = appended(candidates, taken(allowed, rows))
    if not recommended:
        return candidates, recommended
    # Copied, because the candidates may come from a lookup whose answer other code also holds.
    raised = retrieval_pb2.Candidates()
    raised.CopyFrom(candidates)
    rows = [row for row, id in enumerate(raised.ids) if id in recommended]
    for column in (raised.scores, raised.dense_scores, raised.lexical_scores):
        if column:
            best = max(column)
            for row in rows:
                column[row] = best
    for row in rows:
        if raised.tiers:
            raised.tiers[row] = min(raised.tiers)
        if raised.relevances:
            raised.relevances[row] = max(raised.relevances[row], found.confidence)
    return raised, recommended


async def _named(calls: StageCalls, parts: Parts, viewer: Viewer, ids: Sequence[str]) -> retrieval_pb2.Candidates:
    if not ids:
        return retrieval_pb2.Candidates()
    lookup = retrieval_pb2.LookupProductsRequest(
        ids=ids, with_products=True, with_vectors=True, offer_context=offer_context(viewer)
    )
    answer = await calls.call_or_degrade(
        Stage.RETRIEVAL,
        parts.stubs.retrieval.LookupProducts,
        lookup,
        _AFTER_RETRIEVAL,
        fallbacks.WITHOUT_FAQ_PRODUCTS,
        _SHARE,
    )
    return retrieval_pb2.Candidates() if answer is None else answer.candidates


async def _of_categories(
    calls: StageCalls, parts: Parts, viewer: Viewer, categories: Sequence[str], vectors: Sequence[common_pb2.Vectors]
) -> retrieval_pb2.Candidates:
    """Those nearest to the query; without vectors, in the order of the catalogue."""
    if not categories:
        return retrieval_pb2.Candidates()
    query = retrieval_pb2.RetrieveCandidatesRequest(
        query_vectors=vectors[0] if vectors else None,
        other_query_vectors=vectors[1:],
        filter=product_pb2.ProductFilter(categories=categories),
        limit=_OF_CATEGORIES,
        with_vectors=True,
        offer_context=offer_context(viewer),
        collapse=collapse_mode(viewer),
    )
    answer = await calls.call_or_degrade(
        Stage.RETRIEVAL,
        parts.stubs.retrieval.RetrieveCandidates,
        query,
        _AFTER_RETRIEVAL,
        fallbacks.WITHOUT_FAQ_PRODUCTS,
        _SHARE,
    )
    return retrieval_pb2.Candidates() if answer is None else answer.candidates
