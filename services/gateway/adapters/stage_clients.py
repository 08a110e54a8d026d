"""The stages over gRPC: a route for each stage, and a channel for each target, shared by the stages behind one ingress.

With the settings of services/common/stage_access the channels use TLS, and each call brings the secret of stage calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

import grpc

from kairos.assistant.v1 import assistant_pb2_grpc
from kairos.encoder.v1 import encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2_grpc
from kairos.sponsored.v1 import sponsored_pb2_grpc
from services.common.replica_file import Replicas
from services.common.settings import load_settings
from services.common.stage_access import SECRET_KEY, StageAccessSettings
from services.gateway.adapters.renewed_channel import OWN_CONNECTION, RenewedChannel
from services.gateway.adapters.stage_route import StageRoute
from services.gateway.domain.budget import Stage
from services.gateway.message_limits import GRPC_MESSAGE_BYTES
from services.gateway.ports import StageStubs
from services.gateway.settings import GatewaySettings


@dataclass(frozen=True)
class StageClients:
    """gRPC connects at the first call, and reconnects within a second after a stage has returned."""

    stubs: StageStubs
    channels: dict[str, RenewedChannel]
    routes: dict[Stage, StageRoute]
    # TLS ends at the ingress, so that no call may go past it.
    uses_tls: bool

    def use(self, replicas: Replicas) -> None:
        """Calls these replicas directly from now on. {}: none."""
        for stage, route in self.routes.items():
            route.use(replicas.get(stage.value, {}))

    async def close(self) -> None:
        for route in self.routes.values():
            await route.close()
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
    for optional in (Stage.SPONSORED, Stage.ASSISTANT):
        if not targets[optional]:
            del targets[optional]
    access = load_settings(StageAccessSettings)
    credentials, secrets = access.credentials(), access.secrets()

    def made(target: str) -> grpc.aio.Channel:
        own = [*options, OWN_CONNECTION]
        if credentials is None:
            return grpc.aio.insecure_channel(target, own)
        return grpc.aio.secure_channel(target, credentials, own)

    channels = {
        target: RenewedChannel(partial(made, target), settings.stages.connection_age_s)
        for target in sorted(set(targets.values()))
    }
    metadata = tuple((SECRET_KEY, secret) for secret in secrets[:1])
    routes = {
        stage: StageRoute(stage.value, cast(grpc.aio.Channel, channels[target]), options, metadata)
        for stage, target in targets.items()
    }
    used = {stage: cast(grpc.aio.Channel, route) for stage, route in routes.items()}
    stubs = StageStubs(
        encoder_pb2_grpc.QueryEncoderServiceStub(used[Stage.QUERY_ENCODER]),
        retrieval_pb2_grpc.RetrievalServiceStub(used[Stage.RETRIEVAL]),
        ranker_pb2_grpc.RankerServiceStub(used[Stage.RANKER]),
        pricing_pb2_grpc.PricingServiceStub(used[Stage.PRICING]),
        sponsored_pb2_grpc.SponsoredServiceStub(used[Stage.SPONSORED]) if Stage.SPONSORED in used else None,
        assistant_pb2_grpc.AssistantServiceStub(used[Stage.ASSISTANT]) if Stage.ASSISTANT in used else None,
    )
    return StageClients(stubs, channels, routes, credentials is not None)
