"""A client of the gateway that sends calls at given times (open loop), or a number of calls at a time (closed loop).

Open loop: a call is sent when it is due, whether or not earlier calls were answered, and its latency counts from that
time. So a suite that stalls cannot delay the calls that would show it (no coordinated omission). If the client itself
is late, `lag_s` says by how much. The client runs in a process of its own with a lower priority: it shares the cores
with the suite, and should take what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.load_traffic import Arrival, Kind
from kairos.common.v1 import common_pb2

# Several connections, so that several gateway processes on one port share the calls.
_CHANNELS = 4
# Until the first call is due: the client's process reads its schedule, and connects.
_LEAD_S = 1.0
# Degradations that a query or a catalogue causes, without load and without a fault.
_OF_CONTENT = frozenset(
    {
        common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE,
        common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH,
        common_pb2.DEGRADATION_REASON_NO_PICTURE,
        common_pb2.DEGRADATION_REASON_RANKING_EXPIRED,
    }
)
OK, REFUSED = "OK", grpc.StatusCode.RESOURCE_EXHAUSTED.name


@dataclass
class Calls:
    """What became of the calls of one phase; each list has one entry for each call, in the order of completion."""

    kinds: list[int] = field(default_factory=list)
    # Seconds from the begin of the phase.
    due_s: list[float] = field(default_factory=list)
    # Seconds by which the call was sent late.
    lag_s: list[float] = field(default_factory=list)
    # Seconds from the time when the call was due until it ended.
    latency_s: list[float] = field(default_factory=list)
    # Name of the gRPC code.
    codes: list[str] = field(default_factory=list)
    # "stage reason" of each degradation that load or a fault causes; empty: the answer is whole.
    degradations: list[tuple[str, ...]] = field(default_factory=list)
    # Whether an error said when to try again.
    retry_info: list[bool] = field(default_factory=list)
    # CPU of the client's process, and wall-clock time, until the last call ended.
    cpu_s: float = 0.0
    took_s: float = 0.0

    @property
    def whole(self) -> npt.NDArray[np.bool_]:
        """[calls]: answered, and nothing degraded."""
        found = [code == OK and not missing for code, missing in zip(self.codes, self.degradations, strict=True)]
        return np.array(found, bool)


@dataclass(frozen=True)
class Offer:
    """Calls to make. `in_flight`: so many at a time for `seconds` (closed loop); 0: each when it is due (open loop)."""

    target: str
    kinds: tuple[Kind, ...]
    arrivals: list[Arrival]
    # Deadline of each call.
    budget_s: float
    in_flight: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def client_process(niceness: int) -> Iterator[Callable[[Offer], Calls]]:
    """Makes offers in a process of its own, of the given niceness; the function waits until the last call has ended."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _lower_priority, (niceness,)) as pool:
        yield lambda offer: pool.submit(make_calls, offer).result()


def _lower_priority(niceness: int) -> None:
    os.nice(niceness)
    # Linux shares the CPU among sessions first (autogroup): between sessions only the niceness of a session counts.
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(niceness))
    # A full collection would take longer than a refusal.
    gc.disable()


def make_calls(offer: Offer, stop: threading.Event | None = None) -> Calls:
    """Makes the calls; no further one after `stop`."""
    return asyncio.run(_make_calls(offer, stop or threading.Event()))


async def _make_calls(offer: Offer, stop: threading.Event) -> Calls:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 << 20)]
    channels = [grpc.aio.insecure_channel(offer.target, options) for _ in range(_CHANNELS)]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        caller = _Caller(offer, channels)
        cpu_s = time.process_time()
        caller.began_s = time.monotonic() + (0 if offer.in_flight else _LEAD_S)
        await (caller.keep_in_flight(stop) if offer.in_flight else caller.send_when_due(stop))
        caller.calls.cpu_s = time.process_time() - cpu_s
        caller.calls.took_s = time.monotonic() - caller.began_s
        return caller.calls
    finally:
        for channel in channels:
            await channel.close()


class _Caller:
    def __init__(self, offer: Offer, channels: Sequence[grpc.aio.Channel]) -> None:
        self.calls, self.began_s = Calls(), 0.0
        self._offer = offer
        # Requests are serialised before; answers are parsed only to find their degradations.
        self._methods: list[list[Any]] = [
            [channel.unary_unary(kind.path, None, kind.response.FromString) for kind in offer.kinds]
            for channel in channels
        ]

    async def send_when_due(self, stop: threading.Event) -> None:
        running = set[asyncio.Task[None]]()
        for number, arrival in enumerate(self._offer.arrivals):
            if (wait_s := self.began_s + arrival.due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if stop.is_set():
                break
            task = asyncio.create_task(self._call(arrival, number, arrival.due_s))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def keep_in_flight(self, stop: threading.Event) -> None:
        numbered = enumerate(self._offer.arrivals)

        async def caller() -> None:
            for number, arrival in numbered:
                if (due_s := time.monotonic() - self.began_s) >= self._offer.seconds or stop.is_set():
                    return
                await self._call(arrival, number, due_s)

        await asyncio.gather(*(caller() for _ in range(self._offer.in_flight)))

    async def _call(self, arrival: Arrival, number: int, due_s: float) -> None:
        method = self._methods[number % len(self._methods)][arrival.kind]
        sent_s, code, retry_info = time.monotonic(), OK, False
        degradations: tuple[str, ...] = ()
        try:
            answer = await method(arrival.payload, timeout=self._offer.budget_s)
            degradations = degradations_of(answer)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            retry_info = any(b"google.rpc.RetryInfo" in value for _, value in error.trailing_metadata() or ()
                             if isinstance(value, bytes))  # fmt: skip
        ended_s, calls = time.monotonic() - self.began_s, self.calls
        calls.kinds.append(arrival.kind)
        calls.due_s.append(due_s)
        calls.lag_s.append(sent_s - self.began_s - due_s)
        calls.latency_s.append(ended_s - due_s)
        calls.codes.append(code)
        calls.degradations.append(degradations)
        calls.retry_info.append(retry_info)


def degradations_of(answer: Any) -> tuple[str, ...]:
    """ "stage reason" of each degradation that load or a fault causes."""
    return tuple(
        f"{common_pb2.Stage.Name(entry.stage).removeprefix('STAGE_').lower()} "
        f"{common_pb2.DegradationReason.Name(entry.reason).removeprefix('DEGRADATION_REASON_').lower()}"
        for entry in getattr(answer, "degradations", ())
        if entry.reason not in _OF_CONTENT
    )
