"""What stands in the place of a channel keeps of a stub's methods, and how it passes on a stream of messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True)
class StubMethod:
    """A method as a stub asks a channel for it. `kind` is "unary_unary" or "unary_stream"."""

    kind: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def of(self, channel: grpc.aio.Channel) -> Callable[..., Any]:
        made: Callable[..., Any] = getattr(channel, self.kind)(*self.arguments, **self.options)
        return made


async def messages_of(stream: Any) -> AsyncGenerator[Any]:
    """The messages of a call that streams: one of gRPC, or a generator like this one.

    To be closed: a call whose messages are no longer read is cancelled.
    """
    try:
        async for message in stream:
            yield message
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
        else:
            stream.cancel()
