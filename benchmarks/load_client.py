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
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

from benchmarks.load_traffic import Arrival, Kind
from kairos.common.v1 import common_pb2

# The client must leave the suite what it needs.
NICENESS = 10
# Several connections, so that several gateway processes on one port share the calls.
_CHANNELS = 4
# Until the first call can be due: what is started together with it must not delay it.
_LEAD_S = 0.3
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


@dataclass(frozen=True)
class Call:
    """What became of one call. Times are in seconds."""

    kind: int
    # From the begin of the phase.
    due_s: float
    # By which the call was sent late.
    lag_s: float
    # From the time when the call was due until it ended.
    latency_s: float
    # Name of the gRPC code.
    code: str = OK
    # "stage reason" of each degradation that load or a fault causes.
    degradations: tuple[str, ...] = ()
    # Whether an error said when to try again.
    retry_info: bool = False

    @property
    def whole(self) -> bool:
        """Answered, and nothing degraded."""
        return self.code == OK and not self.degradations


@dataclass
class Calls:
    """The calls of a phase, in the order in which they ended."""

    ended: list[Call] = field(default_factory=list)
    # CPU of the client's process, and wall-clock time, until the last call ended.
    cpu_s: float = 0.0
    took_s: float = 0.0
    # Begin of the phase, by the monotonic clock of the machine.
    began_s: float = 0.0

    def between(self, from_s: float, to_s: float) -> Calls:
        """The calls that were due in [from_s, to_s)."""
        return replace(self, ended=[call for call in self.ended if from_s <= call.due_s < to_s])


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


@dataclass(frozen=True)
class Client:
    """A process that makes offers, one at a time."""

    _pool: ProcessPoolExecutor
    _stop: Any

    def make(self, offer: Offer) -> Calls:
        """Waits until the last call has ended."""
        return self.submit(offer).result()

    def submit(self, offer: Offer) -> Future[Calls]:
        self._stop.clear()
        return self._pool.submit(_make_here, offer)

    def stop(self) -> None:
        """The offer that runs makes no further call."""
        self._stop.set()


@contextlib.contextmanager
def client_process() -> Iterator[Client]:
    """A client of low priority."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(1, context, _begin, (stop,)) as pool:
        yield Client(pool, stop)


# In the client's process: set when the running offer is to stop.
_stop_here: Any = threading.Event()


def _begin(stop: Any) -> None:
    global _stop_here
    _stop_here = stop
    os.nice(NICENESS)
    # Linux shares the CPU among sessions first (autogroup): between sessions only the niceness of a session counts.
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(NICENESS))
    # A full collection would take longer than a refusal.
    gc.disable()


def _make_here(offer: Offer) -> Calls:
    return make_calls(offer, _stop_here)


def make_calls(offer: Offer, stop: Any) -> Calls:
    """Makes the calls; no further one after `stop`, an event of threads or processes, is set."""
    return asyncio.run(_make_calls(offer, stop))


async def _make_calls(offer: Offer, stop: Any) -> Calls:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 << 20)]
    channels = [grpc.aio.insecure_channel(offer.target, options) for _ in range(_CHANNELS)]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        caller, cpu_s = _Caller(offer, channels), time.process_time()
        calls = caller.calls
        calls.began_s = time.monotonic() + (0 if offer.in_flight else _LEAD_S)
        await (caller.keep_in_flight(stop) if offer.in_flight else caller.send_when_due(stop))
        calls.cpu_s = time.process_time() - cpu_s
        calls.took_s = time.monotonic() - calls.began_s
        return calls
    finally:
        for channel in channels:
            await channel.close()


class _Caller:
    def __init__(self, offer: Offer, channels: Sequence[grpc.aio.Channel]) -> None:
        self.calls, self._offer = Calls(), offer
        # Requests are serialised before; answers are parsed only to find their degradations.
        self._methods: list[list[Any]] = [
            [channel.unary_unary(kind.path, None, kind.response.FromString) for kind in offer.kinds]
            for channel in channels
        ]

    async def send_when_due(self, stop: Any) -> None:
        running = set[asyncio.Task[None]]()
        for number, arrival in enumerate(self._offer.arrivals):
            if (wait_s := self.calls.began_s + arrival.due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if stop.is_set():
                break
            task = asyncio.create_task(self._call(arrival, number, arrival.due_s))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def keep_in_flight(self, stop: Any) -> None:
        numbered = enumerate(self._offer.arrivals)

        async def caller() -> None:
            for number, arrival in numbered:
                if (due_s := time.monotonic() - self.calls.began_s) >= self._offer.seconds or stop.is_set():
                    return
                await self._call(arrival, number, due_s)

        await asyncio.gather(*(caller() for _ in range(self._offer.in_flight)))

    async def _call(self, arrival: Arrival, number: int, due_s: float) -> None:
        method = self._methods[number % len(self._methods)][arrival.kind]
        sent_s, code, retry_info = time.monotonic(), OK, False
        degradations: tuple[str, ...] = ()
        try:
            degradations = degradations_of(await method(arrival.payload, timeout=self._offer.budget_s))
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            retry_info = any(
                isinstance(value, bytes) and b"google.rpc.RetryInfo" in value
                for _, value in error.trailing_metadata() or ()
            )
        began_s = self.calls.began_s
        lag_s, latency_s = sent_s - began_s - due_s, time.monotonic() - began_s - due_s
        self.calls.ended.append(Call(arrival.kind, due_s, lag_s, latency_s, code, degradations, retry_info))


def degradations_of(answer: Any) -> tuple[str, ...]:
    """ "stage reason" of each degradation that load or a fault causes."""
    return tuple(
        f"{common_pb2.Stage.Name(entry.stage).removeprefix('STAGE_').lower()} "
        f"{common_pb2.DegradationReason.Name(entry.reason).removeprefix('DEGRADATION_REASON_').lower()}"
        for entry in getattr(answer, "degradations", ())
        if entry.reason not in _OF_CONTENT
    )
