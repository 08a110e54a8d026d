"""A gRPC proxy between the gateway and the ingress of the stages, which delays, fails or garbles the calls of a stage.

It forwards the bytes of every unary method, with metadata, deadline and error details; no product code knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc

# By the package of the stage's contract.
STAGES = {"encoder": "query_encoder", "retrieval": "retrieval", "ranker": "ranker", "pricing": "pricing"}
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
# gRPC itself writes these metadata.
_OWN = ("user-agent", "grpc-", "te", "content-type")


@dataclass(frozen=True)
class Disturbance:
    """What happens to each call of a stage.

    `delay_s` before it is forwarded, for the share `delayed` of the calls; the share `failing` is answered INTERNAL;
    with `garbage` the answer's bytes are replaced.
    """

    delay_s: float = 0.0
    delayed: float = 1.0
    failing: float = 0.0
    garbage: bool = False


@dataclass
class StageProxy:
    """`target` is the proxy's address. `disturb` may be called from any thread."""

    target: str
    _disturbances: dict[str, Disturbance]

    @contextlib.contextmanager
    def disturb(self, disturbance: Disturbance, *stages: str) -> Iterator[None]:
        """Disturbs these stages until the context ends."""
        self._disturbances.update(dict.fromkeys(stages, disturbance))
        try:
            yield
        finally:
            for stage in stages:
                self._disturbances.pop(stage, None)


@contextlib.contextmanager
def stage_proxy(ingress: str, seed: int = 0) -> Iterator[StageProxy]:
    """Forwards to `ingress` (host:port), in a thread of its own. The ingress may start later."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stage proxy", daemon=True)
    thread.start()
    disturbances = dict[str, Disturbance]()

    async def serve() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((_Forwarder(ingress, disturbances, Random(seed)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    try:
        server, port = asyncio.run_coroutine_threadsafe(serve(), loop).result()
        yield StageProxy(f"127.0.0.1:{port}", disturbances)
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class _Forwarder(grpc.GenericRpcHandler):
    def __init__(self, ingress: str, disturbances: dict[str, Disturbance], random: Random) -> None:
        options = [*_OPTIONS, ("grpc.max_reconnect_backoff_ms", 200)]
        self._channel = grpc.aio.insecure_channel(ingress, options)
        self._disturbances, self._random = disturbances, random

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._forwarding(handler_call_details.method))

    def _forwarding(self, path: str) -> Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[bytes]]:
        method: Any = self._channel.unary_unary(path)
        # "/kairos.encoder.v1.QueryEncoderService/EncodeQuery"
        stage = STAGES[path.split(".")[1]]

        async def forward(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            now = self._disturbances.get(stage, Disturbance(delayed=0.0))
            if self._random.random() < now.delayed:
                await asyncio.sleep(now.delay_s)
            if self._random.random() < now.failing:
                await context.abort(grpc.StatusCode.INTERNAL, "a fault of the benchmark")
            metadata = tuple((key, value) for key, value in context.invocation_metadata() or ()
                             if not key.startswith(_OWN))  # fmt: skip
            try:
                answer: bytes = await method(request, timeout=context.time_remaining(), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                context.set_code(error.code())
                context.set_details(error.details() or "")
                return b""
            return self._random.randbytes(max(8, len(answer))) if now.garbage else answer

        return forward
