"""The gateway's log, read into a table of experiments."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from experiments.table import CART, CLICK, FEEDBACK, PURCHASE, REFUND, Act, LogTable, Page
from kairos.common.v1 import common_pb2, event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from services.common.money import NANOS
from services.common.satisfaction import satisfaction_of

_ACTS = {
    event_pb2.EVENT_TYPE_CLICK: CLICK,
    event_pb2.EVENT_TYPE_CART: CART,
    event_pb2.EVENT_TYPE_PURCHASE: PURCHASE,
    event_pb2.EVENT_TYPE_REFUND: REFUND,
    event_pb2.EVENT_TYPE_CANCELLATION: REFUND,
    event_pb2.EVENT_TYPE_FEEDBACK: FEEDBACK,
}
# Records of one call. Pages come with their features, some 5 KB each: searches must not wait for a gateway that copies
# megabytes.
_RECORDS = {ranker_pb2.LOG_KIND_EVENTS: 500, ranker_pb2.LOG_KIND_IMPRESSIONS: 100}


class LogReader:
    """Reads from the place where it stopped last. Raises grpc.RpcError; what was read before stays read."""

    def __init__(
        self, stub: gateway_pb2_grpc.GatewayServiceStub, metadata: tuple[tuple[str, str], ...], timeout_s: float
    ) -> None:
        self._stub, self._metadata, self._timeout_s = stub, metadata, timeout_s
        self._places = dict.fromkeys(_RECORDS, "")
        self.table = LogTable()

    def read_on(self, stop: threading.Event | None = None) -> int:
        """Up to the end of both logs. Returns the number of records that were new."""
        count = 0
        for log, page_size in _RECORDS.items():
            is_last = False
            while not is_last and not (stop is not None and stop.is_set()):
                asked = gateway_pb2.ReadLogRequest(log=log, page_token=self._places[log], page_size=page_size)
                answer: Any = self._stub.ReadLog(asked, timeout=self._timeout_s, metadata=self._metadata)
                self.table.extend(pages_of(answer.impressions), acts_of(answer.events))
                self._places[log], is_last = answer.next_page_token, answer.is_last_page
                count += len(answer.impressions) + len(answer.events)
        return count


def pages_of(messages: Iterable[event_pb2.Impressions]) -> Iterator[Page]:
    """Pages of experiments."""
    for message in messages:
        if not message.experiment_arms:
            continue
        prices: list[float] = [math.nan] * len(message.item_ids)
        offers = message.prices.offers if message.HasField("prices") else ()
        currency = next((offer.currency_code for offer in offers if offer.currency_code), "")
        for row, offer in enumerate(offers):
            if offer.currency_code == currency:
                prices[row] = _amount(offer)
        yield Page(
            message.user_id, message.visitor_id, _seconds(message.shown_at),
            tuple((arm.experiment, arm.arm) for arm in message.experiment_arms),
            message.latency_ms if message.HasField("latency_ms") else math.nan, bool(message.degradations),
            message.model_version, tuple(zip(message.item_ids, message.positions, prices, strict=True)), currency,
            _teams(message),
        )  # fmt: skip


def _teams(message: event_pb2.Impressions) -> tuple[str, ...] | None:
    """None of a page that was not interleaved."""
    given = message.interleaving
    if not message.HasField("interleaving") or len(given.teams) != len(message.item_ids):
        return None
    arms = ("", *given.arms)
    return tuple(arms[team] if 0 <= team < len(arms) else "" for team in given.teams)


def acts_of(messages: Iterable[event_pb2.Event]) -> Iterator[Act]:
    for message in messages:
        if (kind := _ACTS.get(message.type)) is not None and not message.feedback.is_product_review:
            has_price = message.HasField("price")
            yield Act(
                message.user_id, message.visitor_id, message.item_id, kind, _seconds(message.occurred_at),
                _amount(message.price) if has_price else math.nan, message.price.currency_code if has_price else "",
                message.quantity if kind == REFUND else max(message.quantity, 1),
                satisfaction_of(message.feedback) if kind == FEEDBACK else 0.0,
            )  # fmt: skip


def _amount(money: common_pb2.Money) -> float:
    return money.units + money.nanos / NANOS


def _seconds(moment: Timestamp) -> float:
    return moment.ToNanoseconds() / 1e9
