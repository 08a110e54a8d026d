"""The Ray Serve application `ranker`."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.util.metrics import Gauge

from kairos.ranker.v1 import conversation_pb2, ranker_pb2
from services.common.process import freeze_gc, keep_freed_memory
from services.common.rpc import CallContext
from services.common.settings import load_settings
from services.common.stage_access import guard_stage
from services.common.telemetry import configure_telemetry
from services.ranker.metrics import MEASURES, OF_SHOPPER_VERSIONS
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler

# The label of metrics of one version of a model.
_VERSION = "model_version"


class Ranker:
    """One replica. Serve calls the methods by the last segment of the RPC's path."""

    def __init__(self, settings: RankerSettings) -> None:
        configure_telemetry("ranker", settings.telemetry)
        guard_stage()
        self._handler = build_handler(settings)
        self._gauges = {name: Gauge(name, text) for name, text in MEASURES.items()}
        self._of_versions = {
            name: Gauge(name, text, tag_keys=(_VERSION,)) for name, text in OF_SHOPPER_VERSIONS.items()
        }
        keep_freed_memory()
        freeze_gc()

    def __del__(self) -> None:
        # Serve calls this when it stops a replica. A handler that could not be built is absent.
        if handler := self.__dict__.pop("_handler", None):
            handler.close()

    async def RankItems(
        self, request: ranker_pb2.RankItemsRequest, grpc_context: CallContext
    ) -> ranker_pb2.RankItemsResponse:
        return await self._handler.RankItems(request, grpc_context)

    async def RecordEvents(
        self, request: ranker_pb2.RecordEventsRequest, grpc_context: CallContext
    ) -> ranker_pb2.RecordEventsResponse:
        return await self._handler.RecordEvents(request, grpc_context)

    async def StoreRanking(
        self, request: ranker_pb2.StoreRankingRequest, grpc_context: CallContext
    ) -> ranker_pb2.StoreRankingResponse:
        return await self._handler.StoreRanking(request, grpc_context)

    async def GetRanking(
        self, request: ranker_pb2.GetRankingRequest, grpc_context: CallContext
    ) -> ranker_pb2.GetRankingResponse:
        return await self._handler.GetRanking(request, grpc_context)

    async def RecordImpressions(
        self, request: ranker_pb2.RecordImpressionsRequest, grpc_context: CallContext
    ) -> ranker_pb2.RecordImpressionsResponse:
        return await self._handler.RecordImpressions(request, grpc_context)

    async def GetInterests(
        self, request: ranker_pb2.GetInterestsRequest, grpc_context: CallContext
    ) -> ranker_pb2.GetInterestsResponse:
        return await self._handler.GetInterests(request, grpc_context)

    async def ListPopularItems(
        self, request: ranker_pb2.ListPopularItemsRequest, grpc_context: CallContext
    ) -> ranker_pb2.ListPopularItemsResponse:
        return await self._handler.ListPopularItems(request, grpc_context)

    async def ListRelatedItems(
        self, request: ranker_pb2.ListRelatedItemsRequest, grpc_context: CallContext
    ) -> ranker_pb2.ListRelatedItemsResponse:
        return await self._handler.ListRelatedItems(request, grpc_context)

    async def ListTrendingItems(
        self, request: ranker_pb2.ListTrendingItemsRequest, grpc_context: CallContext
    ) -> ranker_pb2.ListTrendingItemsResponse:
        return await self._handler.ListTrendingItems(request, grpc_context)

    async def ListPersonItems(
        self, request: ranker_pb2.ListPersonItemsRequest, grpc_context: CallContext
    ) -> ranker_pb2.ListPersonItemsResponse:
        return await self._handler.ListPersonItems(request, grpc_context)

    async def GetProfile(
        self, request: ranker_pb2.GetProfileRequest, grpc_context: CallContext
    ) -> ranker_pb2.GetProfileResponse:
        return await self._handler.GetProfile(request, grpc_context)

    async def SetUserAttributes(
        self, request: ranker_pb2.SetUserAttributesRequest, grpc_context: CallContext
    ) -> ranker_pb2.SetUserAttributesResponse:
        return await self._handler.SetUserAttributes(request, grpc_context)

    async def MergeUsers(
        self, request: ranker_pb2.MergeUsersRequest, grpc_context: CallContext
    ) -> ranker_pb2.MergeUsersResponse:
        return await self._handler.MergeUsers(request, grpc_context)

    async def DeleteUser(
        self, request: ranker_pb2.DeleteUserRequest, grpc_context: CallContext
    ) -> ranker_pb2.DeleteUserResponse:
        return await self._handler.DeleteUser(request, grpc_context)

    async def ExportUser(
        self, request: ranker_pb2.ExportUserRequest, grpc_context: CallContext
    ) -> ranker_pb2.ExportUserResponse:
        return await self._handler.ExportUser(request, grpc_context)

    async def ReadLog(
        self, request: ranker_pb2.ReadLogRequest, grpc_context: CallContext
    ) -> ranker_pb2.ReadLogResponse:
        return await self._handler.ReadLog(request, grpc_context)

    async def EnsureTokenKey(
        self, request: ranker_pb2.EnsureTokenKeyRequest, grpc_context: CallContext
    ) -> ranker_pb2.EnsureTokenKeyResponse:
        return await self._handler.EnsureTokenKey(request, grpc_context)

    async def AppendTurn(
        self, request: conversation_pb2.AppendTurnRequest, grpc_context: CallContext
    ) -> conversation_pb2.AppendTurnResponse:
        return await self._handler.AppendTurn(request, grpc_context)

    async def GetConversation(
        self, request: conversation_pb2.GetConversationRequest, grpc_context: CallContext
    ) -> conversation_pb2.GetConversationResponse:
        return await self._handler.GetConversation(request, grpc_context)

    def check_health(self) -> None:
        # Serve asks every ten seconds.
        for name, value in self._handler.measures().items():
            self._gauges[name].set(value)
        for version, measured in self._handler.shopper_measures().items():
            for name, value in measured.items():
                self._of_versions[name].set(value, {_VERSION: version})
        self._handler.check()


def build(args: dict[str, Any]) -> Any:
    """Import path of the application. `args` are settings; they win over the environment."""
    return serve.deployment(name="ranker")(Ranker).bind(load_settings(RankerSettings, args))
