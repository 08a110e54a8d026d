"""Receives and parses the messages of a call, within bounds of time and memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

import grpc

from services.common.errors import BudgetExpired, InvalidArgument
from services.gateway.domain.quotas import ByteBudget
from services.gateway.message_limits import RequestParser
from services.gateway.security import Caller

Context = grpc.aio.ServicerContext[Any, Any]
# Above so many bytes a message is checked, parsed and worked on in steps of their own.
_LARGE = 64 << 10
# Large messages of one caller that are received at the same time over one connection. A usual message comes with its
# call, so nobody waits; of many large ones only so many are in memory before their size is known.
_AT_ONCE = 4
_WAIT_S = 0.02


class Receiver:
    """One in a gateway. `memory` counts the bytes of messages that are being worked on."""

    def __init__(self, memory: ByteBudget, idle_s: float) -> None:
        self._memory, self._idle_s = memory, idle_s
        # By caller and connection; an entry exists while a call uses it.
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def one(self, context: Context, parser: RequestParser, caller: Caller) -> AsyncIterator[Any]:
        """The message of a call that has one. Its bytes count until the block ends.

        Raises InvalidArgument, Overloaded, and BudgetExpired if the caller sends nothing for `idle_s` seconds.
        """
        if parser.limit.size > _LARGE:
            turn = self._turns.setdefault((caller.key, context.peer()), asyncio.Semaphore(_AT_ONCE))
            data = await receive(context, self._idle_s, turn)
        else:
            data = await receive(context, self._idle_s)
        if data is None:
            raise InvalidArgument.of("request", "is missing; send one message")
        with self._memory.hold(len(data)):
            message = await _parsed(data, parser)
            del data
            yield message

    async def each(
        self, context: Context, parser: RequestParser, check: Callable[[], None]
    ) -> AsyncGenerator[Any, None]:
        """The messages of a stream. If others use all the memory, the stream waits for as long as it may be idle.

        `check` is called for each message, and raises if the caller may not send it any more. Raises as `one` does.
        """
        while (data := await receive(context, self._idle_s)) is not None:
            check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._idle_s):
                    while not self._memory.has_room(len(data)):  # noqa: ASYNC110 - calls of all kinds make room
                        await asyncio.sleep(_WAIT_S)
            with self._memory.hold(len(data)):
                message = await _parsed(data, parser)
                del data
                yield message
                del message


async def receive(context: Context, idle_s: float, turn: asyncio.Semaphore | None = None) -> bytes | None:
    """The bytes of the next message of a call, within `turn`; None after the last one.

    Raises BudgetExpired if the caller sends nothing for `idle_s` seconds.
    """
    try:
        async with asyncio.timeout(idle_s), turn or contextlib.nullcontext():
            data = await of_open_call(context.read())
    except TimeoutError:
        raise BudgetExpired(f"no message came for {idle_s:g} s; call again, and send without a pause") from None
    return None if data is grpc.aio.EOF else data


async def of_open_call(transfer: Awaitable[Any]) -> Any:
    """What `transfer` returns. gRPC raises an error of its own if the caller's deadline ends the call just now."""
    try:
        return await transfer
    except Exception as error:
        raise BudgetExpired("the call has ended before its message was received") from error


async def _parsed(data: bytes, parser: RequestParser) -> Any:
    parser.check(data)
    if len(data) <= _LARGE:
        return parser.parse(data)
    await asyncio.sleep(0)
    message = parser.parse(data)
    await asyncio.sleep(0)
    return message
