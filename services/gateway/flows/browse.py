"""Search without query, picture and similar product: a filtered, sorted walk through all matching products.

Every page asks retrieval for its own rows; the page token holds retrieval's cursor.
"""

from __future__ import annotations

from dataclasses import replace

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway import fallbacks
from services.gateway.convert import collapse_mode, offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.tokens import PageToken
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.explanation import Conditions
from services.gateway.flows.paging import Page, cut
from services.gateway.flows.ranking import Ranking
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

# The most that retrieval returns in one call.
_MOST_ROWS = 1_000


def is_browsing(message: gateway_pb2.SearchRequest) -> bool:
    return not (message.query.strip() or message.image or message.similar_to_id)


async def browse(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    viewer: Viewer,
    response: gateway_pb2.SearchResponse,
) -> Page:
    """Fills the facets of `response` on the first page."""
    token = viewer.page
    if token.cursor:
        parts.metrics.later_pages.labels("browsed").inc()
    # Without a cursor the rows before the page are fetched as well.
    skipped = 0 if token.cursor else token.offset
    found = await _retrieve(calls, parts, message, viewer, skipped + viewer.page_size, token.cursor)
    if found is None:
        return cut(fallbacks.retrieval_late(parts, calls.info.tenant, viewer), viewer, calls.locale)
    response.facets.extend(found.facets)
    whole = _as_ranking(found, viewer, token.total_size, viewer.explain)
    # Stored as a ranking of its own: the positions of this page begin at 1 there.
    ranking = replace(whole, item_ids=whole.item_ids[skipped:], scores=whole.scores[skipped:])
    count, next_page = len(ranking.item_ids), None
    if found.next_page_token:
        next_page = PageToken(
            token.fingerprint, token.offset + count, cursor=found.next_page_token, total_size=whole.total_size,
            locale=calls.locale, accuracy=whole.total_accuracy,
        )  # fmt: skip
    positions = range(token.offset + 1, token.offset + 1 + count)
    return Page(
        ranking, ranking.item_ids, ranking.scores, positions, range(1, count + 1), whole.total_size,
        whole.total_accuracy, next_page,
    )  # fmt: skip


async def first_products(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    viewer: Viewer,
    response: gateway_pb2.SearchResponse,
) -> Ranking:
    """As many products as a query has candidates. Fills the facets of `response`."""
    found = await _retrieve(calls, parts, message, viewer, parts.settings.search.candidates, "")
    if found is None:
        return fallbacks.retrieval_late(parts, calls.info.tenant, viewer)
    response.facets.extend(found.facets)
    return _as_ranking(found, viewer, 0, with_scores=True)


async def _retrieve(
    calls: StageCalls, parts: Parts, message: gateway_pb2.SearchRequest, viewer: Viewer, limit: int, cursor: str
) -> retrieval_pb2.RetrieveCandidatesResponse | None:
    query = retrieval_pb2.RetrieveCandidatesRequest(
        filter=message.filter,
        sort=message.sort,
        facets=[] if cursor else message.facets,
        limit=min(limit, _MOST_ROWS),
        page_token=cursor,
        offer_context=offer_context(viewer),
        collapse=collapse_mode(viewer),
        best_facet_count=0 if cursor else message.best_facet_count,
    )
    found = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.RetrieveCandidates, query, [Stage.PRICING], fallbacks.POPULAR_ITEMS
    )
    if found is not None:
        calls.degradations.extend(found.degradations)
    return found


def _as_ranking(
    found: retrieval_pb2.RetrieveCandidatesResponse, viewer: Viewer, total_size: int, with_scores: bool
) -> Ranking:
    """`total_size`: the one that the first page reported; 0: this is the first page."""
    total_size = total_size or found.total_size
    ranking = Ranking.in_retrieval_order(
        found.candidates, ranker_pb2.CANDIDATE_SOURCE_UNSPECIFIED, total_size, with_scores
    )
    return replace(
        ranking, whole_count=total_size, total_accuracy=found.total_accuracy, conditions=Conditions(viewer.filter)
    )
