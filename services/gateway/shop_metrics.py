"""What the numbers of the shop are made of: clicks and where they were, offers, pages that were remembered."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kairos.common.v1 import common_pb2, event_pb2
from kairos.pricing.v1 import pricing_pb2
from services.gateway.domain.tokens import AttributionToken
from services.gateway.memory import Memory
from services.gateway.metrics import Metrics
from services.gateway.stages import Request


def count_events(request: Request, memory: Memory, token_key: str, events: Iterable[event_pb2.Event]) -> None:
    """Once they are recorded. What is sent twice counts twice."""
    for event in events:
        kind = event_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()
        request.metrics.events.labels(kind).inc()
        if event.type == event_pb2.EVENT_TYPE_CLICK:
            _count_click(request, memory, token_key, event)


def count_offers(metrics: Metrics, quotes: Iterable[pricing_pb2.PriceQuote]) -> None:
    """By their reason, and whether they differ from the list price."""
    for quote in quotes:
        reason = pricing_pb2.PriceReason.Name(quote.reason).removeprefix("PRICE_REASON_").lower()
        offer, listed = _amount(quote.offer), _amount(quote.list_price)
        change = "none" if offer == listed else "lower" if offer < listed else "higher"
        metrics.offers.labels(reason, change).inc()


def _count_click(request: Request, memory: Memory, token_key: str, event: event_pb2.Event) -> None:
    """`located`: this gateway still has the ranking, and so the place; `attributed`: a ranking of ours that is gone."""
    token = AttributionToken.decode(event.attribution_token, token_key) if event.attribution_token else None
    if token is None:
        request.metrics.clicks.labels("none").inc()
        return
    ranking = memory.ranking(request.call.tenant, token.ranking_id)
    if ranking is None or event.item_id not in ranking.ids:
        request.metrics.clicks.labels("attributed").inc()
        return
    request.metrics.clicks.labels("located").inc()
    # NDCG of the ranking, were the clicked product the only good one in it.
    request.metrics.click_gain.inc(1 / math.log2(2 + ranking.ids.index(event.item_id)))


def _amount(money: common_pb2.Money) -> tuple[int, int]:
    return money.units, money.nanos
