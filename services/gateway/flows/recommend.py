"""Recommend: products for a placement, without a query.

The serving configuration says which sources a placement has. What they find is merged, and the ranker makes a slate of
it; a source that is late or down is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import InvalidArgument
from services.common.filters import AttributeFilter, ProductFilter
from services.common.serving_configuration import OF_PRODUCTS, Placement, Source, SourceUse
from services.gateway import fallbacks
from services.gateway.convert import offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.experiments import Assignment
from services.gateway.domain.merging import Merged, SourceList, filled, merged
from services.gateway.domain.viewer import Explained, Viewer
from services.gateway.flows.candidate_sources import CandidateSources
from services.gateway.flows.candidates import joined, one_of_each_group, taken
from services.gateway.flows.explanation import Conditions
from services.gateway.flows.interleaving import ranked_and_arranged
from services.gateway.flows.merchandising import audience_of, rules_of_placement
from services.gateway.flows.paging import cut, stored_page
from services.gateway.flows.rank_items import Turn, rank_items
from services.gateway.flows.ranking import Ranking
from services.gateway.flows.results import attribution_of, results_of
from services.gateway.flows.sponsored import may_have_ads, space_of_placement, with_ads
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

_AFTER_RANKER = (Stage.RETRIEVAL, Stage.PRICING)
_AFTER_LOOKUP = (Stage.RETRIEVAL, Stage.RANKER, Stage.PRICING)
# What the ranker accepts.
_MOST_CANDIDATES = 1_000
# The version of an order that no ranker made.
SOURCE_ORDER = "source-order"
_UNKNOWN = ranker_pb2.CANDIDATE_SOURCE_UNSPECIFIED


async def recommend(
    calls: StageCalls, parts: Parts, message: gateway_pb2.RecommendRequest, viewer: Viewer
) -> gateway_pb2.RecommendResponse:
    # Read once: both may change meanwhile.
    configuration = parts.serving.of(calls.info.tenant, calls.assignment.configuration_ids)
    snapshot_version = parts.snapshot_versions.get(calls.info.tenant, 0)
    name, placement = configuration.placement(message.placement)
    page, response = await stored_page(calls, parts, viewer, _of_request(message)), gateway_pb2.RecommendResponse()
    if page is None:
        ranking = await _ranking_of(calls, parts, message, viewer, viewer.explained, name, placement, response)
        ranking = await with_ads(calls, parts, message, viewer, ranking)
        page = cut(ranking, viewer, calls.locale)
    results = await results_of(calls, parts, page, viewer)
    if message.page_token:
        response.ClearField("merchandising")
    response.MergeFrom(
        gateway_pb2.RecommendResponse(
            results=results,
            next_page_token=page.next_page.encode(parts.token_keys.of(calls.info.tenant)[0]) if page.next_page else "",
            attribution_token=attribution_of(calls, page, parts),
            degradations=calls.degradations,
            request_id=calls.info.request_id,
            timings=calls.timings if message.explain else [],
            placement=name,
            serving_configuration_version=configuration.full_version,
            snapshot_version=snapshot_version,
        )
    )
    return response


async def new_ranking(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.RecommendRequest,
    viewer: Viewer,
    explained: Explained | None,
) -> Ranking:
    configuration = parts.serving.of(calls.info.tenant, calls.assignment.configuration_ids)
    name, placement = configuration.placement(message.placement)
    answer = gateway_pb2.RecommendResponse()
    return await _ranking_of(calls, parts, message, viewer, explained, name, placement, answer)


@dataclass(frozen=True)
class _Found:
    """Candidates in the order of `merged`, row by row."""

    candidates: retrieval_pb2.Candidates
    merged: Sequence[Merged]


async def _ranking_of(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.RecommendRequest,
    viewer: Viewer,
    explained: Explained | None,
    name: str,
    placement: Placement,
    response: gateway_pb2.RecommendResponse,
) -> Ranking:
    """Fills `merchandising` of `response`."""
    if placement.needs_products and not (message.item_ids or message.cart_item_ids):
        raise InvalidArgument.of("item_ids", "is empty; this placement needs the products of the page or of the cart")
    has_ads = placement.sponsored and may_have_ads(calls, parts, message)
    known, products, audience = await asyncio.gather(
        _interests(calls, parts, message, viewer, placement),
        _products(calls, parts, message, viewer, placement),
        audience_of(calls, parts, message, _AFTER_RANKER, has_ads),
    )
    rules = rules_of_placement(calls, parts, message, name, audience)
    purchased = frozenset(known.recently_purchased_item_ids)
    excluded = _of_request(message) | rules.excluded_ids
    # The variants of a product that is shown or bought are the same thing.
    groups = frozenset(products.item_group_ids) if viewer.is_collapsed else frozenset[str]()
    if placement.filters.exclude_purchased:
        excluded |= purchased
        groups |= frozenset(known.recently_purchased_item_group_ids)
    narrowing = _filter_of(placement, products)
    sources = CandidateSources(
        calls, parts, message, viewer, narrowing, _both(message.filter, narrowing), excluded, groups, known, products
    )
    found = await _find(sources, placement, parts.settings.search.candidates)
    if found.merged:
        allowed = rules.allowed(found.candidates)
        candidates = await rules.with_named(calls, parts, viewer, allowed, _AFTER_RANKER, narrowing, excluded)
        found = _with_rules(found, candidates, len(allowed.ids))
    if found.merged:
        ranking = await ranked_and_arranged(
            calls, viewer, found.candidates, explained,
            lambda arms, turn: _rank(
                calls, parts, viewer, explained, _ranked_as(calls, parts, placement, name, arms), found, arms, turn
            ),
            lambda arms: rules_of_placement(calls, parts, message, name, audience, arms), rules,
        )  # fmt: skip
        if has_ads:
            ranking.ad_space = space_of_placement(ranking, name, audience, found.candidates)
        ranking.sources = {entry.item_id: [_number(source) for source in entry.sources] for entry in found.merged}
        ranking.related_title = _title(products, message)
    elif placement.minimum_results:
        parts.metrics.recommendations.labels("memory").inc()
        ranking = fallbacks.retrieval_late(
            parts, calls.info.tenant, viewer, lambda product: product.id in excluded or rules.is_excluded(product)
        )
        ranking.sources = {id: [_number(Source.POPULAR)] for id in ranking.item_ids}
    else:
        ranking = Ranking.in_retrieval_order(retrieval_pb2.Candidates(), _UNKNOWN, 0, with_scores=False)
    ranking.conditions = Conditions(viewer.filter, recently_purchased=purchased & excluded)
    rules.report_in(response, ranking)
    return ranking


def _of_request(message: gateway_pb2.RecommendRequest) -> frozenset[str]:
    """Products that the shopper sees already."""
    return frozenset([*message.item_ids, *message.cart_item_ids])


def _with_rules(found: _Found, candidates: retrieval_pb2.Candidates, kept_count: int) -> _Found:
    """What rules left of the candidates, and behind these `kept_count` what they added. Empty if only that remains."""
    kept, least = set(candidates.ids[:kept_count]), found.merged[-1].score
    entries = [entry for entry in found.merged if entry.item_id in kept]
    if not entries:
        return _Found(retrieval_pb2.Candidates(), ())
    return _Found(candidates, [*entries, *(Merged(id, least / 2, ()) for id in candidates.ids[kept_count:])])


async def _rank(
    calls: StageCalls,
    parts: Parts,
    viewer: Viewer,
    explained: Explained | None,
    placement: Placement,
    found: _Found,
    assignment: Assignment,
    turn: Turn,
) -> Ranking | None:
    """As `rank_items`."""
    first, count = _main_source(found.merged), len(found.merged)
    if turn is not Turn.SECOND:
        parts.metrics.recommendations.labels(first.value).inc()
    if placement.slate.order == "source":
        ordered = _in_order(found.candidates, found.merged)
        shown = one_of_each_group(ordered) if viewer.is_collapsed else ordered
        ranking = Ranking.in_retrieval_order(shown, _number(first), len(shown.ids), explained is not None)
        return replace(ranking, model_version=SOURCE_ORDER)
    slate, business = placement.slate, placement.business
    options = ranker_pb2.RankingOptions(
        diversity=slate.diversity, brand_cap=slate.brand_cap or 0, margin_weight=business.margin_weight,
        freshness_weight=business.freshness_weight, share_interests=slate.share_interests,
    )  # fmt: skip
    return await rank_items(
        calls, parts, found.candidates, viewer, None, _number(first), count, explained, as_slate=True, options=options,
        assignment=assignment, turn=turn,
    )  # fmt: skip


def _ranked_as(calls: StageCalls, parts: Parts, placement: Placement, name: str, assignment: Assignment) -> Placement:
    """The placement with the order that these arms have: of an interleaving the arms differ in no more."""
    if assignment is calls.assignment:
        return placement
    _, other = parts.serving.of(calls.info.tenant, assignment.configuration_ids).placement(name)
    return placement.model_copy(update={"slate": other.slate, "business": other.business})


def _main_source(found: Sequence[Merged]) -> Source:
    """The first source of the best product; of candidates that were found by products, the first such source."""
    of_products = (source for entry in found for source in entry.sources if source in OF_PRODUCTS)
    return next(of_products, found[0].sources[0])


async def _find(sources: CandidateSources, placement: Placement, most: int) -> _Found:
    """What the sources of the placement find, and behind it the fallback's products if these are too few."""
    lists: list[tuple[SourceUse, retrieval_pb2.Candidates]] = []
    for group in _groups(placement.sources):
        known = {id for _, part in lists for id in part.ids}
        asked = [use for use in group if use.if_fewer_than is None or len(known) < use.if_fewer_than]
        parts = await asyncio.gather(*(sources.found_by(use.source, use.quota or most) for use in asked))
        if placement.filters.other_types:
            # Persons who bought both know better than titles.
            parts = [
                part if use.source is Source.BOUGHT_TOGETHER else _of_other_types(part, sources.products)
                for use, part in zip(asked, parts, strict=True)
            ]
        lists.extend((use, part) for use, part in zip(asked, parts, strict=True) if part.ids)
    order = merged([SourceList(use.source, use.weight, list(part.ids)) for use, part in lists])
    columns = [part for _, part in lists]
    has_one_source = len(lists) == 1
    for source in placement.fallback:
        if len(order) >= placement.minimum_results:
            break
        if source in (use.source for use, _ in lists):
            continue
        part = await sources.found_by(source, most)
        if part.ids:
            has_one_source = not order
            order = filled(order, SourceList(source, 1.0, list(part.ids)))
            columns.append(part)
    whole, order = joined(columns), order[:_MOST_CANDIDATES]
    if not has_one_source:
        # Several sources have no common scale: the merged score stands for their own.
        whole = _in_order(whole, order)
    return _Found(whole, order)


def _of_other_types(found: retrieval_pb2.Candidates, products: retrieval_pb2.Candidates) -> retrieval_pb2.Candidates:
    """Without products of the types of `products`."""
    own = set(filter(None, products.product_types))
    return taken(found, [row for row, type in enumerate(found.product_types) if type not in own]) if own else found


def _in_order(candidates: retrieval_pb2.Candidates, order: Sequence[Merged]) -> retrieval_pb2.Candidates:
    rows = {item_id: row for row, item_id in enumerate(candidates.ids)}
    ordered = retrieval_pb2.Candidates()
    ordered.CopyFrom(taken(candidates, [rows[entry.item_id] for entry in order]))
    ordered.scores[:] = [entry.score for entry in order]
    return ordered


def _groups(uses: Sequence[SourceUse]) -> list[list[SourceUse]]:
    """Sources that are asked at the same time: a condition waits for those before it."""
    groups: list[list[SourceUse]] = [[]]
    for use in uses:
        last = groups[-1]
        if last and use.if_fewer_than != last[0].if_fewer_than:
            groups.append([])
        groups[-1].append(use)
    return groups


async def _interests(
    calls: StageCalls, parts: Parts, message: gateway_pb2.RecommendRequest, viewer: Viewer, placement: Placement
) -> ranker_pb2.GetInterestsResponse:
    """Empty if the ranker does not answer. Of nobody, the version of the shopper model is asked for if it is needed."""
    ask = ranker_pb2.GetInterestsRequest(
        user_id=viewer.user_id, visitor_id=viewer.visitor_id, session_id=viewer.session_id
    )
    if not (ask.ByteSize() or (message.item_ids and Source.SHOPPER in _asked(placement))):
        return ranker_pb2.GetInterestsResponse()
    answer = await calls.call_or_degrade(
        Stage.RANKER, parts.stubs.ranker.GetInterests, ask, _AFTER_RANKER, fallbacks.POPULAR_ITEMS
    )
    return answer if answer is not None else ranker_pb2.GetInterestsResponse()


async def _products(
    calls: StageCalls, parts: Parts, message: gateway_pb2.RecommendRequest, viewer: Viewer, placement: Placement
) -> retrieval_pb2.Candidates:
    """The products of the page, else of the cart, with vectors. Unknown ones are missing."""
    ids = list(dict.fromkeys(message.item_ids or message.cart_item_ids))
    reads_them = placement.filters.same_category or placement.filters.other_types
    if not ids or not (_asked(placement) & {*OF_PRODUCTS, Source.CATEGORY} or reads_them):
        return retrieval_pb2.Candidates()
    lookup = retrieval_pb2.LookupProductsRequest(
        ids=ids, with_products=True, with_vectors=True, offer_context=offer_context(viewer)
    )
    answer = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, _AFTER_LOOKUP, fallbacks.WITHOUT_PAGE_PRODUCTS
    )
    return answer.candidates if answer is not None else retrieval_pb2.Candidates()


def _asked(placement: Placement) -> set[Source]:
    return {use.source for use in placement.sources} | set(placement.fallback)


def _filter_of(placement: Placement, products: retrieval_pb2.Candidates) -> ProductFilter:
    """The placement's own conditions."""
    filters = placement.filters
    categories = filters.categories
    if filters.same_category:
        categories = tuple(dict.fromkeys(filter(None, products.categories))) or categories
    return ProductFilter(
        categories=categories, brands=filters.brands, in_stock_only=filters.in_stock_only,
        attributes=tuple(AttributeFilter(name, values) for name, values in sorted(filters.attributes.items())),
    )  # fmt: skip


def _both(asked: product_pb2.ProductFilter, narrowing: ProductFilter) -> product_pb2.ProductFilter:
    """The filter of the request with the placement's conditions in the fields that it leaves open.

    Values of a field are alternatives, so that two conditions on one field are not one filter: candidates are checked
    against the placement's filter once more.
    """
    both = product_pb2.ProductFilter()
    both.CopyFrom(asked)
    if not both.categories:
        both.categories.extend(narrowing.categories)
    if not both.brands:
        both.brands.extend(narrowing.brands)
    named = {attribute.name for attribute in asked.attributes}
    for attribute in narrowing.attributes:
        if attribute.name not in named:
            both.attributes.add(name=attribute.name, values=attribute.values)
    both.in_stock_only |= narrowing.in_stock_only
    return both


def _title(products: retrieval_pb2.Candidates, message: gateway_pb2.RecommendRequest) -> str:
    """Of the only product of the page; empty for several, and for a cart."""
    if len(message.item_ids) != 1 or not products.products:
        return ""
    return product_pb2.Product.FromString(products.products[0]).title


def _number(source: Source) -> ranker_pb2.CandidateSource.ValueType:
    return ranker_pb2.CandidateSource.Value(f"CANDIDATE_SOURCE_{source.name}")
