"""A channel whose connection does not grow old.

A Service of Kubernetes balances connections, not calls: a gateway would stay with one pod until that ends. New pods
would get nothing, and during an upgrade the old ones everything until they are deleted. gRPC has a maximum age of
connections for servers only, and the stages' ingress, HAProxy, has none for HTTP/2.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from services.gateway.adapters.stub_method import StubMethod, messages_of

# Without it two channels to one address share a connection.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


class RenewedChannel:
    """Stands in the place of a channel: the stubs use nothing of a channel but `unary_unary` and `unary_stream`.

    `make` makes a channel with OWN_CONNECTION. A connection older than about `max_age_s` seconds is replaced: calls go
    to the successor from the moment when it is connected, and those in progress end where they began. Needs a running
    event loop.
    """

    def __init__(
        self, make: Callable[[], grpc.aio.Channel], max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._max_age_s, self._clock = make, max_age_s, clock
        # A successor needs them.
        self._methods: list[StubMethod] = []
        self._current = self._connection()
        self._successor: _Connection | None = None
        # No longer called, with calls that have not ended.
        self._leaving: list[_Connection] = []

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Awaitable[Any]]:
        method = self._add(StubMethod("unary_unary", arguments, options))

        async def call(request: Any, **given: Any) -> Any:
            connection = self._current
            connection.outstanding += 1
            try:
                return await connection.methods[method](request, **given)
            finally:
                connection.outstanding -= 1

        return call

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., AsyncGenerator[Any]]:
        method = self._add(StubMethod("unary_stream", arguments, options))

        async def call(request: Any, **given: Any) -> AsyncGenerator[Any]:
            connection = self._current
            connection.outstanding += 1
            try:
                async with aclosing(messages_of(connection.methods[method](request, **given))) as messages:
                    async for message in messages:
                        yield message
            finally:
                connection.outstanding -= 1

        return call

    def _add(self, method: StubMethod) -> int:
        self._methods.append(method)
        self._current.add(method)
        return len(self._methods) - 1

    async def renew(self) -> None:
        """To be called about once a second. A stage that cannot be reached keeps its connection."""
        if self._clock() >= self._current.until_s:
            self._successor = self._successor or self._connection()
            if self._successor.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
                self._leaving.append(self._current)
                self._current, self._successor = self._successor, None
        ended = [connection for connection in self._leaving if not connection.outstanding]
        self._leaving = [connection for connection in self._leaving if connection.outstanding]
        for connection in ended:
            await connection.channel.close()

    async def close(self) -> None:
        """Cancels all calls."""
        for connection in (self._current, self._successor, *self._leaving):
            if connection is not None:
                await connection.channel.close()

    def _connection(self) -> _Connection:
        # Gateways that started together do not renew together.
        age_s = self._max_age_s * random.uniform(0.9, 1.1)
        connection = _Connection(self._make(), self._clock() + age_s)
        for method in self._methods:
            connection.add(method)
        return connection


class _Connection:
    """`until_s`: when it has its full age, by the clock of its owner."""

    def __init__(self, channel: grpc.aio.Channel, until_s: float) -> None:
        self.channel, self.until_s = channel, until_s
        self.methods: list[Callable[..., Any]] = []
        self.outstanding = 0

    def add(self, method: StubMethod) -> None:
        self.methods.append(method.of(self.channel))
