"""The gateway's log and catalogue over gRPC, as facts."""

from __future__ import annotations

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.gateway_access import GatewayAccessSettings
from services.common.gateway_log import GatewayLog, readable
from services.pricing.learning.convert import (
    ACTS,
    Key,
    impression_of_event,
    impressions_from_proto,
    interaction_from_proto,
    is_observed,
    listed_from_proto,
    observed_from_proto,
    seconds,
)
from services.pricing.learning.ports import CataloguePage, Log, LogPage

_KINDS = {Log.EVENTS: ranker_pb2.LOG_KIND_EVENTS, Log.IMPRESSIONS: ranker_pb2.LOG_KIND_IMPRESSIONS}


class GrpcDemandLog:
    """See ports.DemandLog. `key` makes keys of ids: see SqliteDemandStore."""

    def __init__(self, settings: GatewayAccessSettings, key: Key) -> None:
        self._gateway, self._key = GatewayLog(settings), key

    def read(self, log: Log, page_token: str) -> LogPage:
        answer = self._gateway.read(_KINDS[log], page_token)
        elsewhere = [event for event in answer.events if event.type == event_pb2.EVENT_TYPE_IMPRESSION]
        done = [event for event in answer.events if event.type in ACTS]
        shown = readable(lambda page: list(impressions_from_proto(page, self._key)), answer.impressions)
        times = [page.shown_at for page in answer.impressions] or [event.occurred_at for event in answer.events]
        return LogPage(
            [
                *(one for page in shown for one in page),
                *readable(lambda event: impression_of_event(event, self._key), elsewhere),
            ],
            list(readable(lambda event: interaction_from_proto(event, self._key), done)),
            answer.next_page_token,
            answer.is_last_page,
            seconds(times[-1]) if times else None,
        )

    def catalogue(self, page_token: str) -> CataloguePage:
        answer = self._gateway.products(page_token)
        products = [listed_from_proto(entry.product) for entry in answer.products]
        offers = (made for entry in answer.products for made in entry.offers if is_observed(made))
        observed = list(readable(observed_from_proto, offers))
        return CataloguePage(products, answer.next_page_token, answer.is_last_page, answer.is_restarted, observed)

    def close(self) -> None:
        self._gateway.close()
