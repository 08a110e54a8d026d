"""What is counted of clicks and offers."""

from __future__ import annotations

import math

from kairos.common.v1 import common_pb2, event_pb2
from kairos.pricing.v1 import pricing_pb2
from services.gateway.call import CallInfo
from services.gateway.domain.budget import RequestBudget
from services.gateway.domain.tokens import AttributionToken
from services.gateway.memory import Memory, Ranking
from services.gateway.metrics import Metrics
from services.gateway.settings import SearchSettings
from services.gateway.shop_metrics import count_events, count_offers
from services.gateway.stages import Request

KEY = "k"


def click(item_id: str, ranking_id: str = "") -> event_pb2.Event:
    token = AttributionToken(ranking_id, "m").encode(KEY) if ranking_id else ""
    return event_pb2.Event(type=event_pb2.EVENT_TYPE_CLICK, item_id=item_id, attribution_token=token)


def test_a_click_is_worth_what_its_place_says() -> None:
    """Located clicks add 1 / log2(1 + position); rankings of elsewhere and clicks without a token add none."""
    metrics, memory = Metrics(), Memory(SearchSettings())
    memory.keep_ranking("t", "here", Ranking(("a", "b", "c"), (3.0, 2.0, 1.0), "m"))
    request = Request(CallInfo("r", "t", 0.0, None), RequestBudget(0.0, 1.0, {}, 0.0), {}, metrics)
    cart = event_pb2.Event(type=event_pb2.EVENT_TYPE_CART, item_id="a")
    events = [click("a", "here"), click("c", "here"), click("x", "here"), click("a", "elsewhere"), click("a"), cart]
    count_events(request, memory, KEY, events)
    read = metrics.registry.get_sample_value
    clicks = {
        known: read("kairos_gateway_clicks_total", {"attribution": known})
        for known in ("located", "attributed", "none")
    }
    assert clicks == {"located": 2, "attributed": 2, "none": 1}
    assert math.isclose(read("kairos_gateway_click_gain_total") or 0, 1 + 1 / math.log2(4))
    assert read("kairos_gateway_events_total", {"type": "click"}) == 5
    assert read("kairos_gateway_events_total", {"type": "cart"}) == 1


def test_offers_are_counted_by_reason_and_change() -> None:
    """Lower, higher and unchanged prices are told apart, to the nano."""
    metrics = Metrics()

    def quote(units: int, nanos: int, reason: pricing_pb2.PriceReason.ValueType) -> pricing_pb2.PriceQuote:
        listed = common_pb2.Money(currency_code="USD", units=10)
        offer = common_pb2.Money(currency_code="USD", units=units, nanos=nanos)
        return pricing_pb2.PriceQuote(list_price=listed, offer=offer, reason=reason)

    aged, listed = pricing_pb2.PRICE_REASON_AGED, pricing_pb2.PRICE_REASON_LIST_PRICE
    count_offers(metrics, [quote(9, 999_999_999, aged), quote(10, 0, listed), quote(10, 1, aged)])
    read = metrics.registry.get_sample_value
    for reason, change in (("aged", "lower"), ("list_price", "none"), ("aged", "higher")):
        assert read("kairos_gateway_offers_total", {"reason": reason, "change": change}) == 1
