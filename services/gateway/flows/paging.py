"""Which rows of which ranking a page shows, and where the next page begins.

The first page cuts a ranking that was just made. A later page reads its rows from the ranker's store, or follows
retrieval's cursor when browsing (see `flows.search`). A ranking that is not available is computed again.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from kairos.common.v1 import common_pb2, product_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import NotFound
from services.common.product import Product
from services.gateway import fallbacks
from services.gateway.convert import offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.rule_index import exclusion_keys
from services.gateway.domain.tokens import PageToken
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.effective_offers import offers_of
from services.gateway.flows.ranking import Ranking
from services.gateway.flows.sponsored import placed_text
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls
from services.gateway.stage_errors import StageFailed

# Characters in a page token.
_MAX_SOFT_FILTER = 2_048


@dataclass(frozen=True)
class Page:
    """Rows of a ranking. The sequences have equal length."""

    ranking: Ranking
    item_ids: Sequence[str]
    scores: Sequence[float]
    # 1-based, over all pages, as the shopper sees them.
    positions: range
    # 1-based, in the ranking as the ranker stores it.
    stored_positions: range
    total_size: int
    total_accuracy: product_pb2.CountAccuracy.ValueType
    # None: this is the last page.
    next_page: PageToken | None


def cut(ranking: Ranking, viewer: Viewer, locale: str) -> Page:
    """The requested page of a whole ranking."""
    first, last = viewer.page.offset, viewer.page.offset + viewer.page_size
    ids = ranking.item_ids[first:last]
    positions = range(first + 1, first + 1 + len(ids))
    next_page = None
    if last < len(ranking.item_ids):
        next_page = PageToken(
            viewer.page.fingerprint, last, ranking.id, locale=locale, accuracy=ranking.total_accuracy,
            soft_filter=_soft_filter_text(ranking.soft_filter), cursor=ranking.cursor,
            total_size=ranking.total_size if ranking.cursor else 0, moved=" ".join(ranking.moved),
            excluding=exclusion_keys(rule_id for rule_id, _ in ranking.conditions.excluded),
            sponsored=placed_text(ranking) or viewer.page.sponsored,
            coin=ranking.draft.coin if ranking.draft is not None else viewer.page.coin,
        )  # fmt: skip
    elif ranking.cursor:
        next_page = PageToken(
            viewer.page.fingerprint, first + len(ids), cursor=ranking.cursor, total_size=ranking.total_size,
            locale=locale, accuracy=ranking.total_accuracy, moved=" ".join(ranking.moved),
        )  # fmt: skip
    return Page(
        ranking, ids, ranking.scores[first:last], positions, positions, ranking.total_size, ranking.total_accuracy,
        next_page,
    )  # fmt: skip


async def stored_page(
    calls: StageCalls, parts: Parts, viewer: Viewer, excluded_ids: Collection[str] = ()
) -> Page | None:
    """The page of the stored ranking that the page token names; None if it must be computed.

    A product that was deleted meanwhile is missing in the ranking's `products`: the page is shorter, and the other
    products keep their positions. Without retrieval the page has popular items: none of `excluded_ids`, and none that
    rules excluded from the ranking.
    """
    rows = await _stored_rows(calls, parts, viewer)
    if rows is None:
        return None
    first = viewer.page.offset
    positions = range(first + 1, first + 1 + len(rows.item_ids))
    next_page = None
    if first + len(rows.item_ids) < rows.ranked_count:
        next_page = replace(viewer.page, offset=first + len(rows.item_ids))
    elif viewer.page.cursor:
        next_page = replace(viewer.page, offset=first + len(rows.item_ids), ranking_id="")
    found = await _lookup(calls, parts, viewer, rows.item_ids)
    if found is None:
        by_rules = parts.rules.of(calls.info.tenant).excluded_by(viewer.page.excluding)

        def is_excluded(product: Product) -> bool:
            return product.id in excluded_ids or any(each.cover(product) for each in by_rules)

        late = fallbacks.retrieval_late(parts, calls.info.tenant, viewer, is_excluded)
        popular = cut(late, viewer, calls.locale)
        return replace(popular, total_size=rows.total_size, next_page=next_page)
    ranking = Ranking(
        viewer.page.ranking_id, rows.item_ids, rows.scores, rows.model_version,
        ranker_pb2.CANDIDATE_SOURCE_UNSPECIFIED, dict(zip(found.ids, found.products, strict=True)), rows.total_size,
        offers=offers_of(found), is_stored=True,
        meets_conditions=dict(zip(found.ids, found.meets_soft_filter, strict=False)),
    )  # fmt: skip
    accuracy = product_pb2.CountAccuracy.ValueType(viewer.page.accuracy)
    return Page(ranking, rows.item_ids, rows.scores, positions, positions, rows.total_size, accuracy, next_page)


async def _stored_rows(calls: StageCalls, parts: Parts, viewer: Viewer) -> ranker_pb2.GetRankingResponse | None:
    if not viewer.page.ranking_id:
        return None
    message = ranker_pb2.GetRankingRequest(
        ranking_id=viewer.page.ranking_id, offset=viewer.page.offset, limit=viewer.page_size
    )
    later, cap = [Stage.RETRIEVAL, Stage.PRICING], parts.settings.budget.stored_read
    try:
        rows = await calls.call(Stage.RANKER, parts.stubs.ranker.GetRanking, message, later, cap)
    except NotFound:
        reason = common_pb2.DEGRADATION_REASON_RANKING_EXPIRED
        calls.degrade(Stage.RANKER, reason, fallbacks.RANKING_COMPUTED_AGAIN, "the ranking is no longer stored")
    except StageFailed as failed:
        calls.degrade(Stage.RANKER, failed.degradation, fallbacks.RANKING_COMPUTED_AGAIN, failed.detail)
    else:
        # The token's fingerprint holds the person: this is a second lock on another person's ranking.
        if (rows.user_id, rows.visitor_id, rows.session_id) == (viewer.user_id, viewer.visitor_id, viewer.session_id):
            parts.metrics.later_pages.labels("stored").inc()
            return rows
        reason = common_pb2.DEGRADATION_REASON_RANKING_EXPIRED
        calls.degrade(Stage.RANKER, reason, fallbacks.RANKING_COMPUTED_AGAIN, "the ranking is of another person")
    parts.metrics.later_pages.labels("recomputed").inc()
    return None


async def _lookup(
    calls: StageCalls, parts: Parts, viewer: Viewer, ids: Sequence[str]
) -> retrieval_pb2.Candidates | None:
    """The products of these ids; None if retrieval did not answer."""
    if not ids:
        return retrieval_pb2.Candidates()
    lookup = retrieval_pb2.LookupProductsRequest(ids=ids, with_products=True, offer_context=offer_context(viewer))
    if viewer.page.soft_filter:
        lookup.soft_filter.ParseFromString(base64.b64decode(viewer.page.soft_filter))
    found = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, [Stage.PRICING], fallbacks.POPULAR_ITEMS
    )
    return None if found is None else found.candidates


def _soft_filter_text(soft_filter: product_pb2.ProductFilter | None) -> str:
    """For a page token. Empty if it is too long for one: later pages do not say then which results meet it."""
    text = "" if soft_filter is None else base64.b64encode(soft_filter.SerializeToString(deterministic=True)).decode()
    return text if len(text) <= _MAX_SOFT_FILTER else ""
