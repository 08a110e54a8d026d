"""The stages over gRPC: one channel for each target, shared by the stages behind one ingress.

With the settings of services/common/stage_access the channels use TLS, and each call brings the secret of stage calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc

from kairos.encoder.v1 import encoder_pb2_grpc
from kairos.pricing.v1 import pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2_grpc
from services.common.settings import load_settings
from services.common.stage_access import SECRET_KEY, StageAccessSettings
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


class _WithMetadata:
    """A channel whose calls all bring this metadata. An interceptor would cost a task for each call."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._channel, self._metadata = channel, metadata

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        method: Any = self._channel.unary_unary(*arguments, **options)

        def call(request: Any, *, metadata: tuple[tuple[str, str], ...] = (), **more: Any) -> Any:
            return method(request, metadata=(*metadata, *self._metadata), **more)

        return call


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
    access = load_settings(StageAccessSettings)
    credentials, secrets = access.credentials(), access.secrets()
    channels = {
        target: grpc.aio.insecure_channel(target, options)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options)
        for target in sorted(set(targets.values()))
    }
    metadata = tuple((SECRET_KEY, secret) for secret in secrets[:1])
    # The stubs use nothing of a channel but `unary_unary`.
    with_secret = {
        target: cast(grpc.aio.Channel, _WithMetadata(channel, metadata)) for target, channel in channels.items()
    }
    stubs = StageStubs(
        encoder_pb2_grpc.QueryEncoderServiceStub(with_secret[targets[Stage.QUERY_ENCODER]]),
        retrieval_pb2_grpc.RetrievalServiceStub(with_secret[targets[Stage.RETRIEVAL]]),
        ranker_pb2_grpc.RankerServiceStub(with_secret[targets[Stage.RANKER]]),
        pricing_pb2_grpc.PricingServiceStub(with_secret[targets[Stage.PRICING]]),
    )
    return StageClients(stubs, channels)
