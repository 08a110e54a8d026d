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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load_calls import GRACE_S, LATE, OK, Call, Calls, Offer, degradations_of
from benchmarks.load_http2 import Answer, Connection, header_block
from benchmarks.load_traffic import Arrival

# The suite goes first. At 10 and more, a client that needs a tenth of a core waits for up to a second on full cores.
NICENESS = 5
# Several connections, so that several gateway processes on one port share the calls.
_CONNECTIONS = 4
# After the last call was sent and its deadline is over.
_PATIENCE_S = 1.0
# Until the first call can be due: what is started together with it must not delay it.
_LEAD_S = 0.3


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
    connections = [await Connection.to(offer.target) for _ in range(_CONNECTIONS)]
    try:
        caller, cpu_s = _Caller(offer, connections), time.process_time()
        caller.began_s = time.monotonic() + (0 if offer.in_flight else _LEAD_S)
        await (caller.keep_in_flight(stop) if offer.in_flight else caller.send_when_due(stop))
        cpu_s, took_s = time.process_time() - cpu_s, time.monotonic() - caller.began_s
        return Calls([one.call(offer) for one in caller.sent], cpu_s, took_s, caller.began_s)
    finally:
        for connection in connections:
            connection.close()


@dataclass
class _Sent:
    """A call that was sent. Times are in seconds from the begin of the phase; `ended_s` is 0 until it has ended."""

    arrival: Arrival
    due_s: float
    sent_s: float
    ended_s: float = 0.0
    answer: Answer | None = None

    def call(self, offer: Offer) -> Call:
        """As a gRPC client would see it, which gives up at the deadline; here a few milliseconds later."""
        code, message, retry_info = self.answer.read() if self.answer and self.ended_s else (LATE, b"", False)
        latest_s = self.sent_s + offer.budget_s + GRACE_S
        if not self.ended_s or (code == OK and self.ended_s > latest_s):
            code = LATE
        response = offer.kinds[self.arrival.kind].response
        degradations = degradations_of(response.FromString(message)) if code == OK else ()
        latency_s = (self.ended_s or latest_s) - self.due_s
        return Call(self.arrival.kind, self.due_s, self.sent_s - self.due_s, latency_s, code, degradations, retry_info)


class _Caller:
    def __init__(self, offer: Offer, connections: Sequence[Connection]) -> None:
        self.sent, self.began_s = list[_Sent](), 0.0
        self._offer, self._connections = offer, connections
        self._headers = [header_block(offer.target, kind.path, offer.budget_s) for kind in offer.kinds]
        self._open, self._none_open = 0, asyncio.Event()

    async def send_when_due(self, stop: Any) -> None:
        for arrival in self._offer.arrivals:
            if (wait_s := self.began_s + arrival.due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            if stop.is_set():
                break
            self._send(arrival, arrival.due_s)
        if self._open:
            self._none_open.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_open.wait(), self._offer.budget_s + _PATIENCE_S)

    async def keep_in_flight(self, stop: Any) -> None:
        arrivals = iter(self._offer.arrivals)

        async def caller() -> None:
            for arrival in arrivals:
                if (due_s := time.monotonic() - self.began_s) >= self._offer.seconds or stop.is_set():
                    return
                ended = asyncio.Event()
                self._send(arrival, due_s, ended)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), self._offer.budget_s + GRACE_S)

        await asyncio.gather(*(caller() for _ in range(self._offer.in_flight)))

    def _send(self, arrival: Arrival, due_s: float, waiting: asyncio.Event | None = None) -> None:
        sent = _Sent(arrival, due_s, time.monotonic() - self.began_s)

        def ended() -> None:
            sent.ended_s = time.monotonic() - self.began_s
            self._open -= 1
            if waiting:
                waiting.set()
            if not self._open:
                self._none_open.set()

        self._open += 1
        connection = self._connections[len(self.sent) % len(self._connections)]
        self.sent.append(sent)
        sent.answer = connection.call(self._headers[arrival.kind], arrival.payload, ended)
