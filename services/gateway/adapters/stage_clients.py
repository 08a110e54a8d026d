"""The stages over gRPC: one channel for each target, shared by the stages behind one ingress."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from kairos.encoder.v1 import encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2_grpc
from services.gateway.domain.budget import Stage
from services.gateway.message_limits import GRPC_MESSAGE_BYTES
from services.gateway.ports import StageStubs
from services.gateway.settings import GatewaySettings


@dataclass(frozen=True)
class StageClients:
    """gRPC connects at the first call, and reconnects within a second after a stage has returned."""

    stubs: StageStubs
    channels: dict[str, grpc.aio.Channel]

    async def close(self) -> None:
        for channel in self.channels.values():
            await channel.close()


def connect(settings: GatewaySettings) -> StageClients:
    """Needs a running event loop."""
    options = [
        ("grpc.max_receive_message_length", GRPC_MESSAGE_BYTES),
        ("grpc.max_send_message_length", GRPC_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    targets = {stage: settings.stages.of(stage).target for stage in Stage}
    channels = {target: grpc.aio.insecure_channel(target, options) for target in sorted(set(targets.values()))}
    stubs = StageStubs(
        encoder_pb2_grpc.QueryEncoderServiceStub(channels[targets[Stage.QUERY_ENCODER]]),
        retrieval_pb2_grpc.RetrievalServiceStub(channels[targets[Stage.RETRIEVAL]]),
        ranker_pb2_grpc.RankerServiceStub(channels[targets[Stage.RANKER]]),
        pricing_pb2_grpc.PricingServiceStub(channels[targets[Stage.PRICING]]),
    )
    return StageClients(stubs, channels)
