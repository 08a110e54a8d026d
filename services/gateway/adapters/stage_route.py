"""How the calls of one stage travel: to its replicas on loopback where they are known, else through Serve's ingress.

A replica is called at its own port, which saves the hop through the ingress. The one with the least outstanding calls
is chosen. The ingress takes the calls when no replica is connected, and once more each call that its replica did not
take: the replica has died, another process has its port, or that process belongs to another suite and refuses the
secret of stage calls. Such a replica gets no calls for a second.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
import structlog

from services.common.replica_file import LOOPBACK
from services.common.rpc import DETAILS_KEY
from services.gateway.adapters.stub_method import StubMethod, messages_of

_ASIDE_S = 1.0
_READY = grpc.ChannelConnectivity.READY

_log = structlog.get_logger("kairos.stage_route")
Options = Sequence[tuple[str, Any]]
Metadata = tuple[tuple[str, str], ...]
Clock = Callable[[], float]


class StageRoute:
    """Stands in the place of a channel: the stubs use nothing of a channel but `unary_unary` and `unary_stream`.

    Each call brings `metadata`; an interceptor would cost a task for each call. Needs a running event loop.
    """

    def __init__(
        self, stage: str, ingress: grpc.aio.Channel, options: Options = (), metadata: Metadata = (),
        clock: Clock = time.monotonic,
    ) -> None:  # fmt: skip
        self._stage, self._ingress, self._options, self._metadata = stage, ingress, options, metadata
        self._clock = clock
        # Replicas that are added later need them.
        self._methods: list[StubMethod] = []
        self._replicas: dict[tuple[str, int], _Replica] = {}
        # No longer chosen, with calls that have not ended.
        self._leaving: list[_Replica] = []

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Awaitable[Any]]:
        method, through_ingress = self._add(StubMethod("unary_unary", arguments, options))

        async def call(  # the parameters have gRPC's names
            request: Any,
            *,
            timeout: float | None = None,  # noqa: ASYNC109
            metadata: Metadata = (),
        ) -> Any:
            metadata = (*metadata, *self._metadata)
            began_s = self._clock()
            replica = self._chosen(began_s)
            if replica is not None:
                try:
                    return await replica.call(method, request, timeout, metadata)
                except grpc.aio.AioRpcError as error:
                    if not _was_not_taken(error):
                        raise
                    timeout = self._set_aside(replica, error, began_s, timeout)
            return await through_ingress(request, timeout=timeout, metadata=metadata)

        return call

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., AsyncGenerator[Any]]:
        """As `unary_unary`: until the first message the ingress may get the call."""
        method, through_ingress = self._add(StubMethod("unary_stream", arguments, options))

        async def call(  # the parameters have gRPC's names
            request: Any,
            *,
            timeout: float | None = None,  # noqa: ASYNC109
            metadata: Metadata = (),
        ) -> AsyncGenerator[Any]:
            metadata = (*metadata, *self._metadata)
            began_s, is_taken = self._clock(), False
            if (replica := self._chosen(began_s)) is not None:
                try:
                    async with aclosing(replica.stream(method, request, timeout, metadata)) as messages:
                        async for message in messages:
                            is_taken = True
                            yield message
                    return
                except grpc.aio.AioRpcError as error:
                    if is_taken or not _was_not_taken(error):
                        raise
                    timeout = self._set_aside(replica, error, began_s, timeout)
            stream = through_ingress(request, timeout=timeout, metadata=metadata)
            async with aclosing(messages_of(stream)) as messages:
                async for message in messages:
                    yield message

        return call

    def _add(self, method: StubMethod) -> tuple[int, Callable[..., Any]]:
        """Its place among the methods, and the method of the ingress."""
        self._methods.append(method)
        return len(self._methods) - 1, method.of(self._ingress)

    def _set_aside(
        self, replica: _Replica, error: grpc.aio.AioRpcError, began_s: float, timeout_s: float | None
    ) -> float | None:
        """For a replica that did not take a call. Returns the time that the call has left."""
        now_s = self._clock()
        replica.aside_until_s = now_s + _ASIDE_S
        _log.warning(
            "a replica did not take a call; the ingress gets it",
            stage=self._stage, port=replica.port, code=error.code().name, details=error.details(),
        )  # fmt: skip
        return None if timeout_s is None else max(0.0, timeout_s - (now_s - began_s))

    @property
    def connected(self) -> int:
        """The number of replicas with an open connection."""
        return sum(replica.channel.get_state() is _READY for replica in self._replicas.values())

    def use(self, ports: dict[str, int]) -> None:
        """From now on these replicas: their ports on loopback, by name. Call it after the stubs have been created."""
        wanted = set(ports.items())
        for key in self._replicas.keys() - wanted:
            self._leaving.append(self._replicas.pop(key))
        for key in sorted(wanted - self._replicas.keys()):
            self._replicas[key] = _Replica(key[1], self._options, self._methods)

    async def tidy(self) -> None:
        """To be called a few times a second: closes connections to removed replicas when their last call has ended."""
        ended = [replica for replica in self._leaving if not replica.outstanding]
        self._leaving = [replica for replica in self._leaving if replica.outstanding]
        for replica in ended:
            await replica.channel.close()
        for replica in self._replicas.values():
            replica.late //= 2

    async def close(self) -> None:
        """Cancels the calls to replicas. The channel to the ingress is left open."""
        for replica in (*self._replicas.values(), *self._leaving):
            await replica.channel.close()

    def _chosen(self, now_s: float) -> _Replica | None:
        """The connected replica with the least outstanding calls; of several, the one that was unused for longest."""
        chosen: _Replica | None = None
        for replica in self._replicas.values():
            is_ready = replica.channel.get_state(try_to_connect=True) is _READY
            if is_ready and now_s >= replica.aside_until_s and (chosen is None or replica.load < chosen.load):
                chosen = replica
        if chosen is not None:
            chosen.used_s = now_s
        return chosen


class _Replica:
    def __init__(self, port: int, options: Options, methods: list[StubMethod]) -> None:
        self.port = port
        self.channel = grpc.aio.insecure_channel(f"{LOOPBACK}:{port}", options)
        self._methods = [method.of(self.channel) for method in methods]
        self.outstanding = 0
        # Calls that ended at their deadline since the last answer; they fade. Without them a replica that hangs would
        # have the least outstanding calls.
        self.late = 0
        self.used_s = 0.0
        self.aside_until_s = 0.0
        self.channel.get_state(try_to_connect=True)

    @property
    def load(self) -> tuple[int, float]:
        return self.outstanding + self.late, self.used_s

    async def call(self, method: int, request: Any, timeout_s: float | None, metadata: Metadata) -> Any:
        self.outstanding += 1
        try:
            response = await self._methods[method](request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            self.late += error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        finally:
            self.outstanding -= 1
        self.late = 0
        return response

    async def stream(
        self, method: int, request: Any, timeout_s: float | None, metadata: Metadata
    ) -> AsyncGenerator[Any]:
        self.outstanding += 1
        try:
            stream = self._methods[method](request, timeout=timeout_s, metadata=metadata)
            async with aclosing(messages_of(stream)) as messages:
                async for message in messages:
                    yield message
        except grpc.aio.AioRpcError as error:
            self.late += error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        finally:
            self.outstanding -= 1
        self.late = 0


def _was_not_taken(error: grpc.aio.AioRpcError) -> bool:
    """Whether the connection failed, or a process answered that is no replica of the stage: one of another suite, which
    refuses the secret, or one that does not know the method. An error that the stage itself made has details.
    """
    code = error.code()
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return True
    is_of_grpc = all(key != DETAILS_KEY for key, _ in error.trailing_metadata() or ())
    return is_of_grpc and code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED)
