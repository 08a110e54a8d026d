"""Gateways over fake stages, and what tests ask of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import pytest

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.gateway.parts import Parts
from services.gateway.server import GatewayServer, start_gateway
from services.gateway.settings import (
    ApiKey,
    GatewaySettings,
    MetricsSettings,
    SecuritySettings,
    ServerSettings,
    StagesSettings,
)
from tests.contract.refusals import refusal
from tests.fakes.stages import FakeStages

BUDGET_S = 1.0
HOWS = ("slow", "down", "error", "gone")


def hashed_key(text: str, tenant: str, role: Literal["read", "write"], **quotas: object) -> ApiKey:
    return ApiKey(sha256=hashlib.sha256(text.encode()).hexdigest(), tenant=tenant, role=role, **quotas)  # type: ignore[arg-type]


@dataclass
class Running:
    gateway: GatewayServer
    stages: FakeStages
    stub: gateway_pb2_grpc.GatewayServiceAsyncStub
    channel: grpc.aio.Channel

    @property
    def parts(self) -> Parts:
        return self.gateway.gateway.parts

    def metric(self, name: str, **labels: str) -> float | None:
        return self.parts.metrics.registry.get_sample_value(f"kairos_gateway_{name}", labels)

    async def within_budget(self, request: gateway_pb2.SearchRequest) -> gateway_pb2.SearchResponse:
        """The answer to a search, which must come in time."""
        began = time.monotonic()
        answer = await self.stub.Search(request, timeout=BUDGET_S)
        assert time.monotonic() - began < BUDGET_S
        return answer


@asynccontextmanager
async def running_gateway(
    stages: FakeStages, security: SecuritySettings | None = None, **more: Any
) -> AsyncIterator[Running]:
    """One gateway over `stages`, which have been started; two of them share the stages' state. `more`: settings."""
    defaults = StagesSettings()
    settings = GatewaySettings(
        stages=StagesSettings(
            **{n: getattr(defaults, n).model_copy(update={"target": t}) for n, t in stages.targets.items()}
        ),
        security=security or SecuritySettings(),
        server=ServerSettings(port=0, drain_s=0.5),
        metrics=MetricsSettings(port=0),
        **more,
    )
    gateway = await start_gateway(settings)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
            yield Running(gateway, stages, stub, channel)
    finally:
        await gateway.stop()


@pytest.fixture
async def stages() -> AsyncIterator[FakeStages]:
    started = FakeStages()
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def running(stages: FakeStages) -> AsyncIterator[Running]:
    async with running_gateway(stages) as one:
        yield one


def search(query: str = "shoes", **fields: object) -> gateway_pb2.SearchRequest:
    return gateway_pb2.SearchRequest(query=query, page_size=5, **fields)  # type: ignore[arg-type]


def ids(answer: gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse) -> list[str]:
    return [result.product.id for result in answer.results]


def positions(answer: gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse) -> list[int]:
    return [result.position for result in answer.results]


def degradations(
    answer: gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse | gateway_pb2.SuggestResponse,
) -> list[tuple[int, str]]:
    return [(degradation.stage, degradation.fallback) for degradation in answer.degradations]


async def violated_fields(call: Awaitable[object]) -> list[str]:
    """The field paths of an INVALID_ARGUMENT answer."""
    code, fields = await refusal(call)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    return fields
