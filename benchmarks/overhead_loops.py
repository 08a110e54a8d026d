"""The two sides of `benchmarks.overhead`, each in a process of its own, and the messages that both work on."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.process import freeze_gc
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.gateway.server import start_gateway
from services.gateway.settings import BudgetSettings, GatewaySettings, MetricsSettings, ServerSettings, StagesSettings
from services.pricing.settings import PricingSettings
from services.pricing.wiring import build_handler as build_pricing_handler
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler as build_encoder_handler
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler as build_ranker_handler
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_handler as build_retrieval_handler

_DEADLINE_S = 2.0
_LARGE_MS = 30_000.0
# The id of the recorded requests.
_RECORDED = "recorded"
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
# The stage methods of a search, in the order in which the gateway calls them.
_METHODS: dict[str, type[Any]] = {
    "EncodeQuery": encoder_pb2.EncodeQueryRequest,
    "RetrieveCandidates": retrieval_pb2.RetrieveCandidatesRequest,
    "RankItems": ranker_pb2.RankItemsRequest,
    "QuotePrices": pricing_pb2.QuotePricesRequest,
}


@dataclass(frozen=True)
class Recording:
    """By query: the search, and (method, message) of each stage call that the gateway makes for it. All serialised."""

    searches: list[bytes]
    stage_calls: list[list[tuple[str, bytes]]]


@dataclass(frozen=True)
class LoopResult:
    latencies_s: list[float]
    took_s: float
    degraded: int


class Handlers:
    """The handlers of all stages over the state in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.encoder = build_encoder_handler(QueryEncoderSettings(data_dir=folder / "query_encoder"))
        self.retrieval = build_retrieval_handler(RetrievalSettings(data_dir=folder / "retrieval"))
        self.ranker = build_ranker_handler(RankerSettings(data_dir=folder / "ranker"))
        self.pricing = build_pricing_handler(PricingSettings(data_dir=folder / "pricing"))
        self.encoder.warm("default")
        self._all = (self.encoder, self.retrieval, self.ranker, self.pricing)

    def method(self, name: str) -> Callable[[Any, Any], Awaitable[Any]]:
        """The method of this name, of whichever stage has it."""
        return next(getattr(handler, name) for handler in self._all if name in vars(type(handler)))  # type: ignore[no-any-return]

    def close(self) -> None:
        for handler in self._all:
            handler.close()


async def record(folder: Path, queries: Sequence[str]) -> Recording:
    """Searches each query through a gateway with enough time, and keeps what it sends to the stages."""
    handlers, seen = Handlers(folder), list[tuple[str, bytes]]()
    for name in _METHODS:
        _keep_messages(handlers, name, seen)
    stages = grpc.aio.server(options=_OPTIONS)
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handlers.encoder, stages)
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(handlers.retrieval, stages)
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handlers.ranker, stages)
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(handlers.pricing, stages)
    target = f"127.0.0.1:{stages.add_insecure_port('127.0.0.1:0')}"
    await stages.start()
    defaults = StagesSettings()
    settings = {
        name: getattr(defaults, name).model_copy(update={"target": target}) for name in StagesSettings.model_fields
    }
    gateway = await start_gateway(
        GatewaySettings(
            server=ServerSettings(port=0),
            metrics=MetricsSettings(port=0),
            stages=StagesSettings(**settings),
            budget=BudgetSettings(default_ms=_LARGE_MS, maximum_ms=_LARGE_MS),
        )
    )
    searches, calls = list[bytes](), list[list[tuple[str, bytes]]]()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}", _OPTIONS) as channel:
            stub: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
            for number, query in enumerate(queries):
                search = gateway_pb2.SearchRequest(query=query, visitor_id=f"visitor-{number % 100}")
                seen.clear()
                await stub.Search(search, metadata=(("x-request-id", _RECORDED),))
                searches.append(search.SerializeToString())
                calls.append([(name, message) for name, message in seen if name in _METHODS])
    finally:
        await gateway.stop()
        await stages.stop(None)
        handlers.close()
    return Recording(searches, calls)


def _keep_messages(handlers: Handlers, name: str, seen: list[tuple[str, bytes]]) -> None:
    method = handlers.method(name)

    async def kept(request: Any, context: Any) -> Any:
        # Not the calls of the gateway's background work.
        if request.context.request_id == _RECORDED:
            seen.append((name, request.SerializeToString()))
        return await method(request, context)

    setattr(method.__self__, name, kept)  # type: ignore[attr-defined]


class Loop:
    """A process that runs one side on request."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    @classmethod
    def of_gateway(cls, target: str, recording: Recording) -> contextlib.AbstractContextManager[Loop]:
        return _started(_serve_gateway, target, recording)

    @classmethod
    def of_handlers(cls, folder: Path, recording: Recording) -> contextlib.AbstractContextManager[Loop]:
        return _started(_serve_handlers, folder, recording)

    def run(self, in_flight: int, seconds: float) -> LoopResult:
        """Closed loop."""
        return self._ask(("closed", in_flight, seconds))

    def run_at(self, per_second: float, seconds: float) -> LoopResult:
        """Open loop: a latency counts from the intended time of its request."""
        return self._ask(("open", per_second, seconds))

    def _ask(self, wanted: tuple[str, float, float]) -> LoopResult:
        self._pipe.send(wanted)
        result: LoopResult = self._pipe.recv()
        return result


@contextlib.contextmanager
def _started(target: Callable[..., None], *arguments: Any) -> Iterator[Loop]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        # It is ready.
        ours.recv()
        yield Loop(ours)
    finally:
        ours.close()
        process.join(30)
        process.kill()


# Answers request number n; returns whether the answer is degraded.
Answer = Callable[[int], Awaitable[bool]]


def _serve_gateway(pipe: Connection, target: str, recording: Recording) -> None:
    async def serve() -> None:
        async with grpc.aio.insecure_channel(target, _OPTIONS) as channel:
            search: Any = channel.unary_unary("/kairos.gateway.v1.GatewayService/Search")

            async def answer(number: int) -> bool:
                data = await search(recording.searches[number % len(recording.searches)], timeout=_DEADLINE_S)
                return bool(gateway_pb2.SearchResponse.FromString(data).degradations)

            await _obey(pipe, answer)

    asyncio.run(serve())


def _serve_handlers(pipe: Connection, folder: Path, recording: Recording) -> None:
    configure_telemetry("kairos", TelemetrySettings(log_level="warning"))

    async def serve() -> None:
        handlers = Handlers(folder)
        calls = [
            [(handlers.method(name), _METHODS[name].FromString(data)) for name, data in of_query]
            for of_query in recording.stage_calls
        ]
        freeze_gc()
        context = _NoContext()

        async def answer(number: int) -> bool:
            for method, request in calls[number % len(calls)]:
                if isinstance(request, ranker_pb2.RankItemsRequest):
                    request.ranking_id = uuid.uuid4().hex
                await method(request, context)
            if context.failed:
                raise RuntimeError(f"a stage refused a recorded message: {context.failed}")
            return False

        await _obey(pipe, answer)
        handlers.close()

    asyncio.run(serve())


class _NoContext:
    """Of a call without RPC. `failed` is the first status that a handler has set."""

    failed = ""

    def set_code(self, code: Any) -> None:
        self.failed = self.failed or str(code)

    def set_details(self, details: str) -> None:
        self.failed += f" {details}"

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Nobody reads it."""

    def invocation_metadata(self) -> Any:
        return ()


async def _obey(pipe: Connection, answer: Answer) -> None:
    """Runs what the pipe asks for until it is closed."""
    loop, turn = asyncio.get_running_loop(), 0
    pipe.send("ready")
    while True:
        try:
            kind, value, seconds = await loop.run_in_executor(None, pipe.recv)
        except EOFError:
            return
        result = await (
            _closed(answer, int(value), seconds, turn) if kind == "closed" else _open(answer, value, seconds, turn)
        )
        turn += len(result.latencies_s)
        pipe.send(result)


async def _closed(answer: Answer, in_flight: int, seconds: float, turn: int) -> LoopResult:
    latencies, degraded, began = list[float](), 0, time.monotonic()

    async def work() -> None:
        nonlocal turn, degraded
        while time.monotonic() - began < seconds:
            turn += 1
            sent = time.monotonic()
            degraded += await answer(turn)
            latencies.append(time.monotonic() - sent)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return LoopResult(latencies, time.monotonic() - began, degraded)


async def _open(answer: Answer, per_second: float, seconds: float, turn: int) -> LoopResult:
    latencies, degraded, began = list[float](), 0, time.monotonic()

    async def once(number: int, intended: float) -> None:
        nonlocal degraded
        degraded += await answer(turn + number)
        latencies.append(time.monotonic() - intended)

    running = []
    for number in range(int(per_second * seconds)):
        intended = began + number / per_second
        await asyncio.sleep(max(0.0, intended - time.monotonic()))
        running.append(asyncio.ensure_future(once(number, intended)))
    await asyncio.gather(*running)
    return LoopResult(latencies, time.monotonic() - began, degraded)
