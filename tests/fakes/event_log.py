"""A gateway with an event log and brands in memory, over real gRPC: ReadLog and GetProduct by gateway.proto."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from services.common.attribution import SEAL_BYTES
from services.common.convert import minor_units_to_proto
from services.common.errors import InvalidArgument, NotFound
from services.common.rpc import set_status
from services.sponsored.domain.facts import Click, Fact, Impression, Purchase, Refund


@dataclass
class FakeEventLog(gateway_pb2_grpc.GatewayServiceServicer):
    """`epoch`: page tokens of another one are refused. `most`: records on a page."""

    impressions: list[event_pb2.Impressions] = field(default_factory=list)
    events: list[event_pb2.Event] = field(default_factory=list)
    brands: dict[str, str] = field(default_factory=dict)
    epoch: int = 0
    most: int = 100

    def add(self, *facts: Fact) -> None:
        """As the gateway logs them."""
        for fact in facts:
            if isinstance(fact, Impression):
                self.impressions.append(page_of(fact))
            else:
                self.events.append(event_of(fact))

    def ReadLog(
        self, request: gateway_pb2.ReadLogRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ReadLogResponse:
        epoch, _, first = (request.page_token or f"{self.epoch}-0").partition("-")
        if epoch != str(self.epoch):
            set_status(context, InvalidArgument.of("page_token", "is of no record; leave it out"))
            return gateway_pb2.ReadLogResponse()
        of_events = request.log == ranker_pb2.LOG_KIND_EVENTS
        count = len(self.events if of_events else self.impressions)
        last = min(count, int(first) + min(request.page_size, self.most))
        answer = gateway_pb2.ReadLogResponse(next_page_token=f"{self.epoch}-{last}", is_last_page=last == count)
        if of_events:
            answer.events.extend(self.events[int(first) : last])
        else:
            answer.impressions.extend(self.impressions[int(first) : last])
        return answer

    def GetProduct(
        self, request: gateway_pb2.GetProductRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.GetProductResponse:
        answer = gateway_pb2.GetProductResponse()
        if request.id in self.brands:
            answer.product.id, answer.product.brand = request.id, self.brands[request.id]
        else:
            set_status(context, NotFound("the catalogue has no such product"))
        return answer

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Gives the address."""
        server = grpc.server(ThreadPoolExecutor(2))
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def page_of(shown: Impression) -> event_pb2.Impressions:
    """A page with an organic result behind the ad."""
    page = event_pb2.Impressions(
        ranking_id=shown.ranking_id, visitor_id=shown.person_id, item_ids=[shown.item_id, "organic"], positions=[1, 2],
        sponsored=[
            event_pb2.SponsoredImpression(
                item_id=shown.item_id, campaign_id=shown.campaign_id, expected_clicks=shown.expected_clicks,
                click_price=minor_units_to_proto(shown.price, shown.currency),
            )
        ],
    )  # fmt: skip
    page.shown_at.FromNanoseconds(round(shown.shown_s * 1e9))
    return page


def event_of(fact: Click | Purchase | Refund) -> event_pb2.Event:
    event = event_pb2.Event(event_id=fact.event_id, visitor_id=fact.person_id, item_id=fact.item_id, quantity=1)
    event.occurred_at.FromNanoseconds(round(fact.occurred_s * 1e9))
    match fact:
        case Click():
            event.type = event_pb2.EVENT_TYPE_CLICK
            body = bytes(SEAL_BYTES) + json.dumps({"ranking_id": fact.ranking_id}).encode()
            event.attribution_token = base64.urlsafe_b64encode(body).decode().rstrip("=")
        case Purchase():
            event.type, event.quantity, event.order_id = event_pb2.EVENT_TYPE_PURCHASE, fact.quantity, fact.order_id
            event.price.CopyFrom(minor_units_to_proto(fact.price, fact.currency))
        case Refund():
            event.type, event.quantity, event.order_id = event_pb2.EVENT_TYPE_REFUND, fact.quantity, fact.order_id
    return event
