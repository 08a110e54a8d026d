"""The sponsored places of an answer: what the auction is asked, and how its ads come into the order.

Only the first page has them. Ads are products of the answer, so that its filters, rules and stock hold for them, and
none is on two pages. Pinned products keep their positions and are not advertised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kairos.common.v1 import common_pb2, event_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from kairos.sponsored.v1 import sponsored_pb2
from services.common.convert import minor_units_from_proto
from services.common.errors import InvalidArgument, KairosError
from services.common.limits import MAX_QUERY, id_problem
from services.gateway import fallbacks
from services.gateway.domain.budget import Stage
from services.gateway.domain.rule_order import at_positions
from services.gateway.domain.tokens import product_key
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.explanation import Fired
from services.gateway.flows.merchandising import Asked, attributes_of, readings_of
from services.gateway.flows.ranking import AdSpace, Ranking, new_ranking_id
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

# Without a trained ranker a product of relevance 1 is clicked so often at the first position. Neither the order of ads
# nor prices depend on it: it is the same factor in all scores. What a lease pays for an impression does.
UNTRAINED_CLICK_PROBABILITY = 0.1
# What the stage accepts.
_MOST_PRODUCTS = 1_000


def may_have_ads(calls: StageCalls, parts: Parts, message: Asked) -> bool:
    """Whether the answer to the request may have sponsored places at all."""
    if parts.stubs.sponsored is None or message.sponsored == gateway_pb2.SPONSORED_MODE_OFF or message.page_token:
        return False
    tenant = calls.info.tenant
    return (
        bool(parts.campaigns.of(tenant).product_ids)
        and parts.serving.of(tenant, calls.assignment.configuration_ids).sponsored
    )


def space_of_search(
    message: gateway_pb2.SearchRequest,
    understood: encoder_pb2.EncodeQueryResponse | None,
    audience: ranker_pb2.GetInterestsResponse | None,
    candidates: retrieval_pb2.Candidates,
) -> AdSpace | None:
    """None without relevances: then nothing bounds how much less relevant an ad may be."""
    if not candidates.relevances:
        return None
    return AdSpace(
        dict(zip(candidates.ids, candidates.relevances, strict=False)), _not_advertised(candidates),
        [text[:MAX_QUERY] for text in readings_of(message, understood)], attributes=_declared(audience),
    )  # fmt: skip


def space_of_placement(
    ranking: Ranking,
    placement: str,
    audience: ranker_pb2.GetInterestsResponse | None,
    candidates: retrieval_pb2.Candidates,
) -> AdSpace:
    """A recommendation has no relevance to a query. In its place is the probability of a click, or without a trained
    ranker the score, as a share of the highest one of the answer.
    """
    values = ranking.click_probabilities or dict(zip(ranking.item_ids, ranking.scores, strict=True))
    best = max(values.values(), default=0.0)
    relevances = {id: max(0.0, value / best) for id, value in values.items()} if best > 0 else {}
    return AdSpace(relevances, _not_advertised(candidates), placement=placement, attributes=_declared(audience))


async def with_ads(calls: StageCalls, parts: Parts, message: Asked, viewer: Viewer, ranking: Ranking) -> Ranking:
    """The order with the ads of the first page; on a later page, which is computed again, as the first page had it."""
    if message.page_token:
        return _with_ads_as_before(ranking, viewer.page.sponsored)
    space, stub = ranking.ad_space, parts.stubs.sponsored
    if space is None or stub is None:
        return ranking
    pins = ranking.pins
    request = _request(message, viewer, ranking, space, pins, parts.campaigns.of(calls.info.tenant).product_ids)
    if request is None:
        return ranking
    try:
        answer = await calls.call_or_degrade(
            Stage.SPONSORED, stub.SelectAds, request, [Stage.PRICING], fallbacks.ORGANIC_RESULTS,
            is_valid=lambda found: _is_answer_to(request, found),
        )  # fmt: skip
    except KairosError as refusal:
        # The shopper's request is right: what the stage refuses is ours.
        reason = common_pb2.DEGRADATION_REASON_ERROR
        calls.degrade(Stage.SPONSORED, reason, fallbacks.ORGANIC_RESULTS, str(refusal))
        return ranking
    if answer is None or not answer.places:
        return ranking
    ads = {place.product_id: place for place in answer.places}
    parts.metrics.sponsored_items.inc(len(ads))
    moved = _moved(ranking, {place.position: id for id, place in ads.items()} | pins)
    return replace(moved, ads=ads, conditions=replace(ranking.conditions, fired=_with_campaigns(ranking, ads)))


def placed_text(ranking: Ranking) -> str:
    """The sponsored places for a page token."""
    return " ".join(f"{place.position}:{product_key(id)}" for id, place in ranking.ads.items())


def label(result: gateway_pb2.Result, place: sponsored_pb2.SponsoredPlace) -> None:
    """Fills `sponsored`."""
    result.sponsored.CopyFrom(
        gateway_pb2.SponsoredLabel(
            campaign_id=place.campaign_id, advertiser=place.advertiser, payer=place.payer, targeting=place.targeting
        )
    )


def shown_ads(
    ads: Mapping[str, sponsored_pb2.SponsoredPlace], shown_ids: Sequence[str]
) -> list[event_pb2.SponsoredImpression]:
    """For the log, of the results of a page."""
    return [
        event_pb2.SponsoredImpression(
            item_id=id, campaign_id=place.campaign_id, click_price=place.click_price,
            expected_clicks=place.expected_clicks,
        )
        for id in shown_ids
        if (place := ads.get(id)) is not None
    ]  # fmt: skip


def _request(
    message: Asked,
    viewer: Viewer,
    ranking: Ranking,
    space: AdSpace,
    pins: Mapping[int, str],
    advertised: frozenset[str],
) -> sponsored_pb2.SelectAdsRequest | None:
    """None if nothing of the answer is advertised."""
    barred, results = space.excluded.union(pins.values()), min(viewer.page_size, len(ranking.item_ids))
    offered = advertised.intersection(ranking.item_ids) - barred
    if not offered:
        return None
    page = ranking.item_ids[:results]
    ids = [*page, *(id for id in ranking.item_ids[results:] if id in offered)][:_MOST_PRODUCTS]
    relevances = [min(1.0, space.relevances.get(id, 0.0)) for id in ids]
    known = ranking.click_probabilities
    return sponsored_pb2.SelectAdsRequest(
        product_ids=ids, relevances=relevances,
        click_probabilities=[
            min(1.0, known[id]) if id in known else UNTRAINED_CLICK_PROBABILITY * relevance
            for id, relevance in zip(ids, relevances, strict=True)
        ],
        page_results=results, queries=space.queries,
        category=message.filter.categories[0] if len(message.filter.categories) == 1 else "",
        placement=space.placement, attributes=space.attributes, person_id=viewer.user_id or viewer.visitor_id,
        pinned_positions=[position for position in pins if position <= results],
        excluded_ids=[id for id in page if id in barred],
    )  # fmt: skip


def _is_answer_to(request: sponsored_pb2.SelectAdsRequest, answer: sponsored_pb2.SelectAdsResponse) -> bool:
    """Whether each ad stands before its organic place, once, at a free position of the page, with label and price."""
    rows = {id: row for row, id in enumerate(request.product_ids)}
    taken, barred = set(request.pinned_positions), set(request.excluded_ids)
    for place in answer.places:
        row = rows.pop(place.product_id, None)
        if row is None or place.product_id in barred or place.position in taken:
            return False
        taken.add(place.position)
        has_label = bool(place.advertiser and place.payer) and id_problem(place.campaign_id) is None
        if not (1 <= place.position <= min(row, request.page_results) and has_label):
            return False
        try:
            price = minor_units_from_proto(place.click_price, "click_price")
        except InvalidArgument:
            return False
        if price < 0 or not 0 <= place.expected_clicks <= 1:
            return False
    return True


def _moved(ranking: Ranking, slots: Mapping[int, str]) -> Ranking:
    """A ranking of its own with the products of `slots` at their positions: later pages follow this order."""
    scores = dict(zip(ranking.item_ids, ranking.scores, strict=True))
    order = at_positions(ranking.item_ids, slots)
    return replace(
        ranking, id=new_ranking_id(), item_ids=order, scores=[scores[id] for id in order], is_stored=False,
        reordered_id=ranking.id if ranking.is_stored else ranking.reordered_id,
    )  # fmt: skip


def _with_ads_as_before(ranking: Ranking, placed: str) -> Ranking:
    """Without labels: the ads are on the page before."""
    if not placed:
        return ranking
    ids = {product_key(id): id for id in ranking.item_ids}
    found = (entry.partition(":") for entry in placed.split())
    slots = {int(position): ids[key] for position, _, key in found if key in ids}
    pins = ranking.pins
    # A rule that was published since then may have pinned an ad.
    pinned = set(pins.values())
    kept = {position: id for position, id in slots.items() if position <= len(ids) and id not in pinned}
    return _moved(ranking, kept | pins)


def _with_campaigns(ranking: Ranking, ads: Mapping[str, sponsored_pb2.SponsoredPlace]) -> Mapping[str, Sequence[Fired]]:
    """What moved the products, with the campaigns."""
    fired = dict(ranking.conditions.fired)
    for position, id in enumerate(ranking.item_ids, 1):
        if (place := ads.get(id)) is not None:
            up = Fired(gateway_pb2.RULE_TYPE_SPONSORED, place.campaign_id, position - place.position)
            fired[id] = [*fired.get(id, ()), up]
    return fired


def _not_advertised(candidates: retrieval_pb2.Candidates) -> frozenset[str]:
    """What is out of stock, and what comes behind products that answer the request better (Candidates.tiers)."""
    first = min(candidates.tiers, default=0)
    tiers = candidates.tiers or [first] * len(candidates.ids)
    rows = zip(candidates.ids, candidates.stocks, tiers, strict=True)
    return frozenset(id for id, stock, tier in rows if stock == 0 or tier > first)


def _declared(audience: ranker_pb2.GetInterestsResponse | None) -> list[sponsored_pb2.DeclaredAttribute]:
    return [
        sponsored_pb2.DeclaredAttribute(name=name, values=sorted(values))
        for name, values in attributes_of(audience).items()
    ]
