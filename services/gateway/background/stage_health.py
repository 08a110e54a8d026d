"""Asks each stage every second whether it can be reached; the health service reports the answers."""

from __future__ import annotations

import asyncio

from grpc_health.v1 import health, health_pb2

from kairos.assistant.v1 import assistant_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from kairos.sponsored.v1 import sponsored_pb2
from services.common.context import DEFAULT_TENANT
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.ports import StageStubs
from services.gateway.stage_calls import StageAccess
from services.gateway.stage_stream import first_message

STAGE_SERVICES = {
    Stage.QUERY_ENCODER: encoder_pb2.DESCRIPTOR.services_by_name["QueryEncoderService"].full_name,
    Stage.RETRIEVAL: retrieval_pb2.DESCRIPTOR.services_by_name["RetrievalService"].full_name,
    Stage.RANKER: ranker_pb2.DESCRIPTOR.services_by_name["RankerService"].full_name,
    Stage.SPONSORED: sponsored_pb2.DESCRIPTOR.services_by_name["SponsoredService"].full_name,
    Stage.PRICING: pricing_pb2.DESCRIPTOR.services_by_name["PricingService"].full_name,
    Stage.ASSISTANT: assistant_pb2.DESCRIPTOR.services_by_name["AssistantService"].full_name,
}
_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
_PERIOD_S = 1.0
_TIMEOUT_S = 2.0


class StageHealthProbe:
    """Publishes each stage that the suite has under the name of its service: SERVING if it answers at all."""

    def __init__(
        self, stubs: StageStubs, access: StageAccess, healths: health.aio.HealthServicer, supervisor: Supervisor
    ) -> None:
        self._stubs, self._access, self._healths = stubs, access, healths
        optional = {Stage.SPONSORED: stubs.sponsored, Stage.ASSISTANT: stubs.assistant}
        self._stages = [stage for stage in Stage if optional.get(stage, stage) is not None]
        self._task = supervisor.keep("stage_health", self._probe_forever)

    def close(self) -> None:
        self._task.cancel()

    async def _probe_forever(self) -> None:
        while True:
            for stage in self._stages:
                status = _SERVING if await self._answers(stage) else _NOT_SERVING
                await self._healths.set(STAGE_SERVICES[stage], status)
            await asyncio.sleep(_PERIOD_S)

    async def _answers(self, stage: Stage) -> bool:
        calls = self._access.for_background("probe", DEFAULT_TENANT, _TIMEOUT_S)
        match stage:
            case Stage.QUERY_ENCODER:
                return await calls.probe(stage, self._stubs.encoder.EncodeQuery, encoder_pb2.EncodeQueryRequest())
            case Stage.RETRIEVAL:
                message = retrieval_pb2.LookupProductsRequest()
                return await calls.probe(stage, self._stubs.retrieval.LookupProducts, message)
            case Stage.RANKER:
                return await calls.probe(stage, self._stubs.ranker.RankItems, ranker_pb2.RankItemsRequest())
            case Stage.SPONSORED:
                asked = sponsored_pb2.SelectAdsRequest()
                return self._stubs.sponsored is not None and await calls.probe(
                    stage, self._stubs.sponsored.SelectAds, asked
                )
            case Stage.PRICING:
                return await calls.probe(stage, self._stubs.pricing.QuotePrices, pricing_pb2.QuotePricesRequest())
            case Stage.ASSISTANT:
                said = assistant_pb2.ConverseRequest()
                return self._stubs.assistant is not None and await calls.probe(
                    stage, first_message(self._stubs.assistant.Converse), said
                )
