"""Events and offers are counted by what they are."""

from __future__ import annotations

from kairos.common.v1 import common_pb2, event_pb2
from kairos.pricing.v1 import pricing_pb2
from services.gateway.metrics import Metrics


def test_events_are_counted_by_type() -> None:
    """Each event counts under the name of its type."""
    metrics = Metrics()
    for kind in (event_pb2.EVENT_TYPE_CLICK, event_pb2.EVENT_TYPE_CLICK, event_pb2.EVENT_TYPE_CART):
        metrics.count_event(event_pb2.Event(type=kind))
    read = metrics.registry.get_sample_value
    assert [read("kairos_gateway_events_total", {"type": kind}) for kind in ("click", "cart")] == [2, 1]


def test_offers_are_counted_by_reason_and_change() -> None:
    """Lower, higher and unchanged prices are distinguished, to the nano."""
    metrics = Metrics()

    def quote(units: int, nanos: int, reason: pricing_pb2.PriceReason.ValueType) -> pricing_pb2.PriceQuote:
        listed = common_pb2.Money(currency_code="USD", units=10)
        offer = common_pb2.Money(currency_code="USD", units=units, nanos=nanos)
        return pricing_pb2.PriceQuote(list_price=listed, offer=offer, reason=reason)

    aged, listed = pricing_pb2.PRICE_REASON_AGED, pricing_pb2.PRICE_REASON_LIST_PRICE
    metrics.count_offers([quote(9, 999_999_999, aged), quote(10, 0, listed), quote(10, 1, aged)])
    read = metrics.registry.get_sample_value
    for reason, change in (("aged", "lower"), ("list_price", "none"), ("aged", "higher")):
        assert read("kairos_gateway_offers_total", {"reason": reason, "change": change}) == 1
