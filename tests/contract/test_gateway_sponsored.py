"""Sponsored places over real gRPC: labels, order and pages, what is asked of the auction, and a stage that fails."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from kairos.common.v1 import common_pb2, product_pb2
from kairos.control.v1 import control_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from kairos.sponsored.v1 import sponsored_pb2
from services.common.errors import InvalidArgument
from tests.contract.gateways import HOWS, Running, degradations, ids, positions, running, search, stages
from tests.contract.test_gateway_rules import PATIENCE_S, RANKED, joined, pin, publish, rule, searched, whole
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

OFF = gateway_pb2.SPONSORED_MODE_OFF
RELEVANCE = sponsored_pb2.TargetingParameter(kind=sponsored_pb2.TARGETING_KIND_RELEVANCE)


def place(product_id: str, position: int, **fields: Any) -> sponsored_pb2.SponsoredPlace:
    usual: dict[str, Any] = {
        "campaign_id": f"campaign of {product_id}", "advertiser": "Acme", "payer": "Acme Inc.",
        "targeting": [RELEVANCE],
        "click_price": common_pb2.Money(currency_code="EUR", nanos=50_000_000), "expected_clicks": 0.05,
    }  # fmt: skip
    return sponsored_pb2.SponsoredPlace(product_id=product_id, position=position, **{**usual, **fields})


def advertise(running: Running, *places: sponsored_pb2.SponsoredPlace, **targets: Any) -> None:
    """One campaign for the products of `places`, which the auction answers from now on. All products are relevant."""
    ids = [one.product_id for one in places] or ["p3"]
    document = {"kind": "RESOURCE_KIND_CAMPAIGN", "id": "c", "campaign": {"product_ids": ids, "targets": targets}}
    campaign = ParseDict(document, control_pb2.Resource())
    running.parts.campaigns.prepare(control_pb2.Snapshot(tenant="default", version=1, resources=[campaign]))()
    running.stages.sponsored.places = list(places)
    running.stages.retrieval.relevances = dict.fromkeys(RANKED, 0.75)


def asked(running: Running) -> sponsored_pb2.SelectAdsRequest:
    (message,) = running.stages.sponsored.requests
    assert isinstance(message, sponsored_pb2.SelectAdsRequest)
    return message


def home(**fields: Any) -> gateway_pb2.RecommendRequest:
    return gateway_pb2.RecommendRequest(user_id="anna", page_size=5, **fields)


async def test_an_ad_has_its_label(running: Running) -> None:
    """Its product comes to its position with the label, the others keep their order; the log names the campaign."""
    advertise(running, place("p3", 1))
    answer = await searched(running, search())
    assert ids(answer) == ["p3", *RANKED[:4]]
    assert positions(answer) == [1, 2, 3, 4, 5]
    first, *others = answer.results
    assert first.sponsored == gateway_pb2.SponsoredLabel(
        campaign_id="campaign of p3", advertiser="Acme", payer="Acme Inc.", targeting=[RELEVANCE]
    )
    assert not any(result.HasField("sponsored") for result in others)
    assert not answer.degradations
    ranker = running.stages.ranker
    await until(lambda: len(ranker.shown) == 1)
    ((_, ranking_id, shown),) = ranker.shown
    assert (shown, ranker.ads[ranking_id]) == ([1, 2, 3, 4, 5], {"p3": "campaign of p3"})
    (logged,) = (r for r in ranker.requests if isinstance(r, ranker_pb2.RecordImpressionsRequest))
    (ad,) = logged.shown[0].sponsored
    assert (ad.click_price, ad.expected_clicks) == (place("p3", 1).click_price, 0.05)
    assert running.metric("sponsored_items_total") == 1


async def test_no_product_is_on_two_pages(running: Running) -> None:
    """The pages together are the organic order with the ads before it; only the first one has an auction and labels."""
    advertise(running, place("p3", 1), place("p4", 4))
    pages = await whole(running, search())
    others = [id for id in RANKED if id not in ("p3", "p4")]
    assert joined(pages) == ["p3", *others[:2], "p4", *others[2:]]
    assert len(running.stages.sponsored.requests) == 1
    assert not any(result.HasField("sponsored") for page in pages[1:] for result in page.results)


async def forgotten(running: Running, first_id: str) -> None:
    """The ranker has stored the order that begins with this product, and loses all orders."""
    rankings = running.stages.ranker.rankings
    await until(lambda: any(kept.item_ids[0] == first_id for kept in rankings.values()))
    rankings.clear()


async def test_a_page_that_is_computed_again(running: Running) -> None:
    """With the ranking expired and the campaign over, each page goes on where the one before it ended."""
    ad = RANKED[13]
    advertise(running, place(ad, 1))
    first = await searched(running, search())
    await forgotten(running, ad)
    running.stages.sponsored.places.clear()
    second = await searched(running, search(page_token=first.next_page_token))
    assert ids(second) == RANKED[4:9]
    # The third page as well, if the second ranking is lost too.
    await forgotten(running, ad)
    third = await searched(running, search(page_token=second.next_page_token))
    assert ids(third) == [id for id in RANKED if id != ad][9:14]
    assert len(running.stages.sponsored.requests) == 1


async def test_what_the_auction_is_asked(running: Running) -> None:
    """The page and the advertised products behind it, with relevance and click probability; who asks what."""
    advertise(running, place("p3", 1), place("p24", 4), audience=[{"attribute": "style", "values": ["classic"]}])
    running.stages.sponsored.places.clear()
    running.stages.retrieval.stocks["p24"] = 0
    running.stages.ranker.declared["anna"] = [profile_pb2.UserAttribute(name="Style", texts=["Classic"])]
    await searched(running, search("red shoes", user_id="anna", filter={"categories": ["Shoes"]}))
    message = asked(running)
    assert list(message.product_ids) == [*RANKED[:5], "p3"]
    assert list(message.relevances) == [0.75] * 6
    # Of the ranker.
    assert list(message.click_probabilities) == [0.5] * 6
    assert (message.page_results, list(message.queries), message.category) == (5, ["red shoes"], "Shoes")
    assert (message.person_id, message.placement) == ("anna", "")
    assert [(one.name, list(one.values)) for one in message.attributes] == [("style", ["classic"])]
    assert list(message.excluded_ids) == ["p24"]


async def test_without_a_trained_ranker(running: Running) -> None:
    """A product of relevance r is expected to be clicked r / 10 times where it is looked at."""
    advertise(running, place("p3", 1))
    await running.stages.worsen("ranker", "down")
    answer = await searched(running, search())
    # In retrieval's order p3 stands on the page.
    assert ids(answer) == ["p3", "p1", "p2", "p4", "p5"]
    assert list(asked(running).click_probabilities) == pytest.approx([0.075] * 5)


@pytest.mark.parametrize(
    "message",
    [
        search(sponsored=OFF),
        search(""),
        search(sort=product_pb2.SORT_ORDER_PRICE_ASCENDING),
        search(filter={"brands": ["none"]}),
        home(sponsored=OFF),
        home(placement="buy-again"),
    ],
)
async def test_where_nothing_is_sponsored(running: Running, message: Any) -> None:
    """Switched off, when browsing, in the order of prices, without results, and in a placement that has no ads."""
    advertise(running, place("p3", 1))
    running.stages.ranker.of_person[ranker_pb2.PERSON_ITEMS_BUY_AGAIN] = RANKED
    call: Any = running.stub.Search if isinstance(message, gateway_pb2.SearchRequest) else running.stub.Recommend
    answer = await call(message, timeout=PATIENCE_S)
    assert not running.stages.sponsored.requests
    assert not any(result.HasField("sponsored") for result in answer.results)


async def test_without_an_advertised_product_nothing_is_asked(running: Running) -> None:
    """Also with campaigns: if they advertise nothing of the answer, only sold-out products, or conditions not met."""
    await searched(running, search())
    advertise(running, place("elsewhere", 1))
    await searched(running, search())
    advertise(running, place("p3", 1))
    running.stages.retrieval.stocks["p3"] = 0
    await searched(running, search())
    running.stages.retrieval.stocks.clear()
    running.stages.retrieval.tiers = {"p3": 1}
    await searched(running, search())
    assert not running.stages.sponsored.requests


@pytest.mark.parametrize("how", [*HOWS, "garbage"])
async def test_a_stage_that_fails(running: Running, how: str) -> None:
    """Late, down, failing or garbled: the page is organic, in time, and the degradation says so."""
    advertise(running, place("p3", 1))
    await running.stages.worsen("sponsored", how)
    answer = await running.within_budget(search())
    assert ids(answer) == RANKED[:5]
    assert (common_pb2.STAGE_SPONSORED, "organic results") in degradations(answer)
    assert not any(result.HasField("sponsored") for result in answer.results)


async def test_a_refusal_is_not_the_shoppers(running: Running) -> None:
    """If the stage refuses what the gateway asks, the search is answered all the same."""
    advertise(running, place("p3", 1))
    running.stages.sponsored.refusal = InvalidArgument.of("category", "is too long")
    answer = await searched(running, search())
    assert ids(answer) == RANKED[:5]
    assert (common_pb2.STAGE_SPONSORED, "organic results") in degradations(answer)


@pytest.mark.parametrize(
    "places",
    [
        [place("unknown", 1)],
        [place("p3", 0)],
        [place("p3", 6)],
        # Not before its organic place.
        [place("p24", 2)],
        [place("p3", 1), place("p3", 2)],
        [place("p3", 1), place("p4", 1)],
        [place("p3", 1, payer="")],
        [place("p3", 1, campaign_id="")],
        [place("p3", 1, click_price=common_pb2.Money(currency_code="EUR", nanos=1))],
        [place("p3", 1, click_price=common_pb2.Money(currency_code="EUR", units=-1))],
        [place("p3", 1, expected_clicks=float("nan"))],
    ],
)
async def test_an_answer_that_breaks_the_contract(running: Running, places: list[sponsored_pb2.SponsoredPlace]) -> None:
    """Nothing of it is used."""
    advertise(running, place("p3", 1), place("p4", 2), place("p24", 2))
    running.stages.sponsored.places = places
    answer = await searched(running, search())
    assert ids(answer) == RANKED[:5]
    assert (common_pb2.STAGE_SPONSORED, "organic results") in degradations(answer)


async def test_a_pin_keeps_its_position(running: Running) -> None:
    """On every page; the auction is told, a pinned product is not advertised, and an ad at its position is refused."""
    publish(running, rule("first", pin("p9", 1)), rule("later", pin("p8", 7)))
    advertise(running, place("p3", 2), place("p9", 2), place("p8", 2))
    running.stages.sponsored.places = [place("p3", 2)]
    pages = await whole(running, search())
    assert joined(pages)[:8] == ["p9", "p3", "p25", "p24", "p23", "p22", "p8", "p21"]
    assert sorted(joined(pages)) == sorted(RANKED)
    message = asked(running)
    assert (list(message.pinned_positions), list(message.excluded_ids)) == ([1], ["p9"])
    assert "p8" not in message.product_ids
    running.stages.sponsored.places = [place("p3", 1)]
    assert ids(await searched(running, search()))[:2] == ["p9", "p25"]


async def test_a_recommendation(running: Running) -> None:
    """A placement that allows it has labelled ads; relevance is the share of the highest click probability."""
    advertise(running, place("p3", 2), placements=["home"])
    answer = await running.stub.Recommend(home(explain=True), timeout=PATIENCE_S)
    message = asked(running)
    assert (message.placement, list(message.queries)) == ("home", [])
    assert set(message.relevances) == {1.0}
    assert ids(answer)[1] == "p3"
    result = answer.results[1]
    assert result.sponsored.payer == "Acme Inc."
    assert not result.HasField("relevance")
    (fired,) = (one for one in result.explanation.rules if one.type == gateway_pb2.RULE_TYPE_SPONSORED)
    assert fired.subject == "campaign of p3"
    assert fired.count > 0
    assert "Sponsored by Acme, paid for by Acme Inc." in result.explanation.text


async def test_an_explained_item_and_a_preview_cost_no_advertiser_anything(running: Running) -> None:
    """Neither asks for ads."""
    advertise(running, place("p3", 1))
    ask = gateway_pb2.ExplainItemRequest(item_id="p3", search=search())
    await running.stub.ExplainItem(ask, timeout=PATIENCE_S)
    preview = gateway_pb2.PreviewRulesRequest(queries=["shoes"])
    preview.rules.add(id="new").actions.add().pin.product_id = "p3"
    preview.rules[0].actions[0].pin.position = 1
    await running.stub.PreviewRules(preview, timeout=PATIENCE_S)
    assert not running.stages.sponsored.requests
