"""Search without query, picture and similar product: a filtered, sorted walk through all matching products.

Every page asks retrieval for its own rows; the page token holds retrieval's cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway import fallbacks
from services.gateway.convert import collapse_mode, offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.tokens import PageToken, product_key
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.effective_offers import offers_of
from services.gateway.flows.explanation import Conditions, retrieval_scores
from services.gateway.flows.merchandising import AppliedRules, audience_of, rules_of_search
from services.gateway.flows.paging import Page, cut
from services.gateway.flows.ranking import Ranking
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

# The most that retrieval returns in one call.
_MOST_ROWS = 1_000
_AFTER_AUDIENCE = (Stage.RETRIEVAL, Stage.PRICING)
_AFTER_RETRIEVAL = (Stage.PRICING,)


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
    # A token with both names a page of the arranged ranking, which has expired.
    cursor = "" if token.ranking_id else token.cursor
    rules = rules_of_search(calls, parts, message, audience=await audience_of(calls, parts, message, _AFTER_AUDIENCE))
    if rules.changes_order and not cursor:
        return cut(await _arranged(calls, parts, message, viewer, response, rules), viewer, calls.locale)
    if cursor:
        parts.metrics.later_pages.labels("browsed").inc()
    # Without a cursor the rows before the page are fetched as well.
    skipped = 0 if cursor else token.offset
    found = await _retrieve(calls, parts, message, viewer, skipped + viewer.page_size, cursor, rules)
    if found is None:
        late = fallbacks.retrieval_late(parts, calls.info.tenant, viewer, rules.is_excluded)
        rules.report_in(response, late)
        return cut(late, viewer, calls.locale)
    response.facets.extend(found.facets)
    whole = _as_ranking(found, viewer, token.total_size, viewer.explain)
    rules.report_in(response, whole)
    # Stored as a ranking of its own: the positions of this page begin at 1 there. What rules put on an earlier page is
    # not shown again.
    before = set(token.moved.split())
    keys = _keys(found.candidates, viewer)
    rows = [row for row, key in enumerate(keys) if row >= skipped and key not in before]
    ranking = replace(whole, item_ids=[whole.item_ids[row] for row in rows], scores=[whole.scores[row] for row in rows])
    count, next_page = len(ranking.item_ids), None
    if found.next_page_token:
        next_page = PageToken(
            token.fingerprint, token.offset + count, cursor=found.next_page_token, total_size=whole.total_size,
            locale=calls.locale, accuracy=whole.total_accuracy, moved=token.moved,
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
    rules = rules_of_search(calls, parts, message, audience=await audience_of(calls, parts, message, _AFTER_AUDIENCE))
    return await _arranged(calls, parts, message, viewer, response, rules)


async def _arranged(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    viewer: Viewer,
    response: gateway_pb2.SearchResponse,
    rules: AppliedRules,
) -> Ranking:
    """As many products as a query has candidates, in the order of the rules; retrieval's cursor leads on."""
    found = await _retrieve(calls, parts, message, viewer, parts.settings.search.candidates, "", rules)
    if found is None:
        ranking = fallbacks.retrieval_late(parts, calls.info.tenant, viewer, rules.is_excluded)
    else:
        response.facets.extend(found.facets)
        candidates = await rules.with_named(calls, parts, viewer, found.candidates, _AFTER_RETRIEVAL)
        moved = _keys(candidates, viewer)[len(found.candidates.ids) :]
        whole = replace(
            _as_ranking(found, viewer, 0, with_scores=True), item_ids=candidates.ids, scores=candidates.scores,
            products=dict(zip(candidates.ids, candidates.products, strict=True)), offers=offers_of(candidates),
            stage_scores=retrieval_scores(candidates),
        )  # fmt: skip
        ranking = rules.arranged(whole, candidates)
        ranking = replace(ranking, cursor=found.next_page_token, moved=moved)
    rules.report_in(response, ranking)
    return ranking


def _keys(candidates: retrieval_pb2.Candidates, viewer: Viewer) -> Sequence[str]:
    """Of each product, in a form without blanks: of its item group if one variant of each is shown."""
    groups = candidates.item_group_ids if viewer.is_collapsed else ()
    return [product_key(key) for key in groups or candidates.ids]


async def _retrieve(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    viewer: Viewer,
    limit: int,
    cursor: str,
    rules: AppliedRules,
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
    rules.exclude(query)
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
