"""The results of a page: products with prices and explanations; what was shown is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.convert_moderation import visibility_of
from services.gateway.convert import offer_context
from services.gateway.domain.tokens import AttributionToken
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.disclosure import shopper_product
from services.gateway.flows.explanation import add_advertiser, add_source, explain_result
from services.gateway.flows.history_events import add_event, history_titles
from services.gateway.flows.localized import localized_product
from services.gateway.flows.paging import Page
from services.gateway.flows.prices import quote, shown_prices
from services.gateway.flows.sponsored import label, shown_ads
from services.gateway.flows.variants import other_variants
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


async def results_of(calls: StageCalls, parts: Parts, page: Page, viewer: Viewer) -> list[gateway_pb2.Result]:
    """One result for each product of the page that still exists."""
    ranking = page.ranking
    known = [row for row, id in enumerate(page.item_ids) if id in ranking.products]
    found = [(row, localized_product(ranking.products[page.item_ids[row]], calls.locale)) for row in known]
    # What came before a decision of moderation, or from memory, is not shown after it.
    shown = [(row, product) for row, product in found if visibility_of(product).shows_to(viewer.viewing)]
    rows, products = [row for row, _ in shown], [product for _, product in shown]
    context = offer_context(viewer)
    quotes, variants, titles = await asyncio.gather(
        quote(calls, parts, products, ranking.offers, context),
        other_variants(calls, parts, products, context) if viewer.is_collapsed else _none(),
        history_titles(calls, parts, ranking.reasons, [product.id for product in products]),
    )
    results = []
    for row, product in zip(rows, products, strict=True):
        result = gateway_pb2.Result(
            product=shopper_product(product),
            position=page.positions[row],
            score=page.scores[row],
            price=quotes.get(product.id),
            variants=variants.get(product.id, ()),
            sources=ranking.sources.get(product.id, ()),
            meets_conditions=ranking.meets_conditions.get(product.id),
            relevance=ranking.relevances.get(product.id),
        )
        ad = ranking.ads.get(product.id)
        if ad is not None:
            label(result, ad)
        # A stored ranking has no scores of the stages.
        if viewer.explain and product.id in ranking.stage_scores:
            result.stage_scores.CopyFrom(ranking.stage_scores[product.id])
            reasons = ranking.reasons.get(product.id)
            texts = parts.texts.of(calls.locale)
            explain_result(result, ranking.model_version, ranking.count, reasons, ranking.conditions, texts)
            add_source(result, ranking.related_title, texts)
            add_advertiser(result, texts)
            add_event(result, reasons, titles, texts)
        results.append(result)
    parts.metrics.shown_items.inc(len(rows))
    offers = [ranking.offers.get(product.id) for product in products]
    prices = shown_prices([quotes.get(product.id) for product in products], offers, context)
    ads = shown_ads(ranking.ads, [product.id for product in products])
    _log_shown(calls, parts, page, viewer, [page.stored_positions[row] for row in rows], prices, ads)
    return results


async def _none() -> dict[str, list[product_pb2.Variant]]:
    return {}


def attribution_of(calls: StageCalls, page: Page, parts: Parts) -> str:
    token = AttributionToken(page.ranking.id, page.ranking.model_version)
    return token.encode(parts.token_keys.of(calls.info.tenant)[0])


def _log_shown(
    calls: StageCalls,
    parts: Parts,
    page: Page,
    viewer: Viewer,
    positions: list[int],
    prices: event_pb2.ShownPrices | None,
    ads: Sequence[event_pb2.SponsoredImpression],
) -> None:
    """In the background: the ranking if the ranker does not have it yet, then the positions.

    An answer without results is logged if its request is in an experiment: who was exposed does not depend on the arm.
    """
    tenant, assignment = calls.info.tenant, calls.assignment
    is_empty_exposure = not (page.ranking.item_ids or page.positions or viewer.page.offset) and bool(assignment.arms)
    storing = None
    if not page.ranking.is_stored and (page.ranking.item_ids or is_empty_exposure):
        storing = parts.rankings.store(tenant, page.ranking.to_store(viewer), assignment)
    if positions or is_empty_exposure:
        shown = ranker_pb2.ShownPositions(ranking_id=page.ranking.id, positions=positions, prices=prices, sponsored=ads)
        shown.shown_at.FromNanoseconds(int(parts.clock() * 1e9))
        shown.placement = viewer.placement
        shown.latency_ms = max(0.0, (calls.clock() - calls.info.received_s) * 1e3)
        for stage, reason in dict.fromkeys((each.stage, each.reason) for each in calls.degradations):
            shown.degradations.add(stage=stage, reason=reason)
        parts.impressions.put(tenant, shown, storing)
