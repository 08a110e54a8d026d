"""The prices of a shown page, as the gateway sends them to the log of impressions."""

from __future__ import annotations

import pytest

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.convert import minor_units_from_proto
from tests.contract.gateways import BUDGET_S, HOWS, Running, running, search, stages
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures


async def logged_prices(running: Running) -> event_pb2.ShownPrices:
    """Of the only page that was shown."""
    ranker = running.stages.ranker
    await until(lambda: len(ranker.shown) == 1)
    (message,) = (r for r in ranker.requests if isinstance(r, ranker_pb2.RecordImpressionsRequest))
    (shown,) = message.shown
    return shown.prices


async def test_a_page_is_logged_with_its_prices(running: Running) -> None:
    """Each shown product with price, list price, reason, quote, and whether it was in stock; for list and place."""
    retrieval = running.stages.retrieval
    retrieval.stored["p2"][0].ClearField("price")
    retrieval.offers |= {"p1": 7.5, "p2": float("nan")}
    retrieval.stocks |= {"p1": 0, "p3": 4}
    running.stages.pricing.reason = pricing_pb2.PRICE_REASON_OVERSTOCK
    answer = await running.stub.Search(search("", price_list_id="wholesale", place_id="oslo"), timeout=BUDGET_S)
    assert [result.product.id for result in answer.results] == ["p1", "p2", "p3", "p4", "p5"]
    prices = await logged_prices(running)
    assert (prices.price_list_id, prices.place_id) == ("wholesale", "oslo")
    assert [minor_units_from_proto(price, "") for price in prices.offers if price.currency_code] == [
        750, 3_000, 4_000, 5_000,
    ]  # fmt: skip
    assert [price.units for price in prices.list_prices] == [10, 0, 30, 40, 50]
    assert list(prices.reasons) == ["overstock", "", "overstock", "overstock", "overstock"]
    assert list(prices.quote_ids) == ["q-p1", "", "q-p3", "q-p4", "q-p5"]
    assert list(prices.in_stock) == [False, True, True, True, True]


@pytest.mark.parametrize("how", HOWS)
async def test_the_published_offer_is_logged(running: Running, how: str) -> None:
    """With pricing late, down or failing the log has the published offers that were shown, as fallbacks."""
    running.stages.retrieval.offers["p1"] = 7.5
    await running.stages.worsen("pricing", how)
    answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(page_size=5), timeout=BUDGET_S)
    prices = await logged_prices(running)
    assert [result.price.offer for result in answer.results] == list(prices.offers)
    assert (set(prices.reasons), set(prices.quote_ids)) == ({"fallback"}, {""})


async def test_a_newer_pricing(running: Running) -> None:
    """A reason that this gateway does not know is logged without a name, and the answer is whole."""
    running.stages.pricing.reason = 99  # type: ignore[assignment]
    assert not (await running.stub.Search(search(), timeout=BUDGET_S)).degradations
    assert set((await logged_prices(running)).reasons) == {""}
