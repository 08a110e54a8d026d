"""Bounds for the services that need no API key: health and reflection.

Each call reads its messages as bytes, at most `_MESSAGE_BYTES` each, and holds a place among all open calls and among
those of its address until it ends. Without a bound, strangers could hold any number of `Health.Watch` streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.common.errors import InvalidArgument, KairosError
from services.common.rpc import set_status
from services.gateway.domain.quotas import Pool
from services.gateway.message_limits import unreadable
from services.gateway.receiving import Context, receive
from services.gateway.settings import LimitSettings

_MESSAGE_BYTES = 4 << 10
Handler = Any


class OpenServices:
    """Stands for the server in `add_…Servicer_to_server`, and registers the methods in their bounded form."""

    def __init__(self, server: grpc.aio.Server, limits: LimitSettings) -> None:
        self._server, self._limits = server, limits

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers([_Bounded(handler, self._limits) for handler in handlers])

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Generated code calls it in addition; the generic handlers suffice."""


class _Bounded(grpc.GenericRpcHandler):
    def __init__(self, handler: grpc.GenericRpcHandler, limits: LimitSettings) -> None:
        self._handler, self._idle_s = handler, limits.idle_s
        total, share, retry_s = limits.open_calls, limits.open_calls_of_an_address, limits.retry_after_ms / 1e3
        # Two pools: however many streams are held, a load balancer can check the health.
        self._calls, self._streams = (Pool(name, total, share, retry_s) for name in ("open_calls", "open_streams"))

    def service(self, details: grpc.HandlerCallDetails) -> Handler:
        method: Handler = self._handler.service(details)
        if method is None:
            return None
        if method.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method), response_serializer=method.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(self._unary(method))

    def _unary(self, method: Handler) -> Callable[[Any, Context], Awaitable[bytes]]:
        async def call(_: Any, context: Context) -> bytes:
            try:
                with self._calls.place(address_of(context.peer())):
                    response = await method.unary_unary(await self._request(method, context), context)
                    return bytes(method.response_serializer(response))
            except KairosError as error:
                set_status(context, error)
                return b""

        return call

    def _streaming(self, method: Handler) -> Callable[[Any, Context], Awaitable[None]]:
        async def call(_: Any, context: Context) -> None:
            try:
                with self._streams.place(address_of(context.peer())):
                    if method.request_streaming:
                        async for response in method.stream_stream(self._requests(method, context), context):
                            await context.write(response)
                    else:
                        await method.unary_stream(await self._request(method, context), context)
            except KairosError as error:
                set_status(context, error)

        return call

    async def _request(self, method: Handler, context: Context) -> Any:
        async for request in self._requests(method, context):
            return request
        raise InvalidArgument.of("request", "is missing; send one message")

    async def _requests(self, method: Handler, context: Context) -> AsyncIterator[Any]:
        while (data := await receive(context, self._idle_s)) is not None:
            if len(data) > _MESSAGE_BYTES:
                raise InvalidArgument.of("request", f"has {len(data)} bytes; send at most {_MESSAGE_BYTES}")
            try:
                request = method.request_deserializer(data)
            except DecodeError:
                raise unreadable() from None
            yield request


def address_of(peer: str) -> str:
    """The address of a caller without its port: "ipv4:10.0.0.1:5000" -> "ipv4:10.0.0.1"."""
    return peer.rpartition(":")[0]
