"""Events recorded per second on one core, the latency of a call, and the time until an event affects a ranking.

    python -m benchmarks.profile_events --out R.json

The ranker runs in its own process on one core and is called over gRPC. The client and Redis may use other cores. The
stores are configured as in production, so that acknowledged events survive the loss of power: SQLite in WAL mode with
synchronous=FULL, Redis with appendonly and appendfsync always; and Redis with everysec, for comparison. Each event is
sent with its item's vector, as by the gateway. At the end the benchmark kills the ranker and Redis with SIGKILL, opens
the store again, and checks that it holds every acknowledged event.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import redis
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.ranker_server import ranker_server
from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.context import DEFAULT_TENANT
from services.common.convert import vectors_to_proto
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.ports import ProfileStore

if TYPE_CHECKING:
    Stub = ranker_pb2_grpc.RankerServiceAsyncStub

GOAL_EVENTS_A_SECOND = 1_000
GOAL_EFFECT_P99_MS = 50.0
USERS, ITEMS, DIMENSIONS = 2_000, 5_000, 384
# (events in a call, calls in flight)
LOADS = ((1, 1), (1, 32), (10, 8), (100, 4))
KINDS = ("CLICK",) * 12 + ("DWELL",) * 3 + ("CART",) * 2 + ("PURCHASE", "REMOVE", "IMPRESSION")


@dataclass
class Shop:
    """Generates events and counts the acknowledged ones."""

    rng: random.Random
    vectors: np.ndarray
    sent: int = 0
    acknowledged: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def call(self, events: int) -> ranker_pb2.RecordEventsRequest:
        request = ranker_pb2.RecordEventsRequest()
        for _ in range(events):
            self.sent += 1
            kind = event_pb2.EventType.Value(f"EVENT_TYPE_{self.rng.choice(KINDS)}")
            entry = request.events.add(
                event_id=f"event-{self.sent:09}", user_id=f"user-{self.rng.randrange(USERS)}", session_id="s",
                item_id=f"item-{self.rng.randrange(ITEMS)}", type=kind, quantity=1, dwell_ms=20_000,
            )  # fmt: skip
            entry.occurred_at.GetCurrentTime()
        rows = sorted({int(entry.item_id.removeprefix("item-")) for entry in request.events})
        request.items.CopyFrom(self.items(rows))
        return request

    def items(self, rows: list[int]) -> retrieval_pb2.Candidates:
        return retrieval_pb2.Candidates(
            ids=[f"item-{row}" for row in rows], prices=[10.0 + row for row in rows],
            categories=[f"Shelf {row % 50}" for row in rows], brands=[f"Brand {row % 90}" for row in rows],
            stocks=[-1] * len(rows), scores=[0.0] * len(rows), vectors=vectors_to_proto(self.vectors[rows], "m@1"),
        )  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def redis_server(
    folder: Path, port: int = 0, appendfsync: str = "everysec"
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """(url, process) of a Redis that appends every write to its file before it answers. `appendfsync`: when the file
    is synchronised to the disk.
    """
    port = port or free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", appendfsync]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            client, deadline = redis.Redis(port=port), time.monotonic() + 30
            while True:
                try:
                    client.ping()
                    break
                except (redis.ConnectionError, redis.BusyLoadingError):
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0", process
        finally:
            process.kill()


async def record(stub: Stub, shop: Shop, request: ranker_pb2.RecordEventsRequest) -> None:
    began = time.perf_counter()
    answer = await stub.RecordEvents(request)
    shop.latencies_ms.append((time.perf_counter() - began) * 1e3)
    shop.acknowledged += answer.recorded_count


async def at_full_load(
    stub: Stub, shop: Shop, process: psutil.Process, size: int, in_flight: int, seconds: float
) -> dict[str, float]:
    """Keeps a fixed number of calls in flight: when a call ends, the next one starts."""
    requests = [shop.call(size) for _ in range(max(64, int(4_000 * seconds / size)))]
    shop.latencies_ms, at, began = [], iter(requests), time.perf_counter()
    before, cpu = shop.acknowledged, cpu_seconds(process)

    async def one_after_the_other() -> None:
        for request in at:
            await record(stub, shop, request)
            if time.perf_counter() - began > seconds:
                return

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    took, events = time.perf_counter() - began, shop.acknowledged - before
    return {
        "events_in_a_call": size, "calls_in_flight": in_flight, "events_per_second": round(events / took),
        "ranker_cpu_us_per_event": round((cpu_seconds(process) - cpu) / events * 1e6, 1),
    } | percentiles(shop.latencies_ms)  # fmt: skip


async def at_a_rate(stub: Stub, shop: Shop, rate: int, seconds: float) -> dict[str, float]:
    """Starts single-event calls at fixed times, whether or not earlier calls have ended."""
    requests = [shop.call(1) for _ in range(int(rate * seconds))]
    shop.latencies_ms, began, calls = [], time.perf_counter(), list[asyncio.Task[None]]()
    for number, request in enumerate(requests):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        calls.append(asyncio.create_task(record(stub, shop, request)))
    # A gRPC server refuses calls while a thousand are queued: an overloaded machine does not reach the rate.
    done = await asyncio.gather(*calls, return_exceptions=True)
    took, refused = time.perf_counter() - began, sum(isinstance(one, grpc.aio.AioRpcError) for one in done)
    rates = {"asked_per_second": rate, "events_per_second": round((len(done) - refused) / took), "refused": refused}
    return rates | percentiles(shop.latencies_ms)


async def until_felt(stub: Stub, shop: Shop, count: int) -> dict[str, float]:
    """Time from an event's acknowledgement to the answer of a ranking of 200 candidates that uses the event."""
    took_ms, candidates = list[float](), shop.items(list(range(200)))
    for number in range(count):
        request = shop.call(1)
        request.events[0].user_id, request.events[0].type = f"new-{number}", event_pb2.EVENT_TYPE_CLICK
        await record(stub, shop, request)
        began = time.perf_counter()
        answer = await stub.RankItems(
            ranker_pb2.RankItemsRequest(user_id=f"new-{number}", candidates=candidates, as_slate=True)
        )
        took_ms.append((time.perf_counter() - began) * 1e3)
        if answer.history_size != 1:
            raise RuntimeError(f"the ranking after event {number} does not know of it")
    return {"events": count} | percentiles(took_ms)


async def load(target: str, shop: Shop, process: psutil.Process, seconds: float) -> dict[str, object]:
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Stub = ranker_pb2_grpc.RankerServiceStub(channel)
        await at_full_load(stub, shop, process, 10, 4, min(1.0, seconds))
        return {
            "loads": [await at_full_load(stub, shop, process, size, calls, seconds) for size, calls in LOADS],
            "at_the_goal": await at_a_rate(stub, shop, GOAL_EVENTS_A_SECOND, seconds),
            "until_felt": await until_felt(stub, shop, 500),
        }


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def stored(store: ProfileStore) -> int:
    """Number of events in the log, counted from its beginning."""
    count = position = 0
    while page := store.events_after(DEFAULT_TENANT, position, 10_000):
        count, position = count + len(page), page[-1][0]
    store.close()
    return count


def measure(kind: str, folder: Path, shop: Shop, seconds: float, core: int) -> dict[str, object]:
    if kind == "sqlite":
        with ranker_server(folder, "", core) as (process, target):
            report = uvloop.run(load(target, shop, psutil.Process(process.pid), seconds))
            process.send_signal(signal.SIGKILL)
        report["stored_after_kill_9"] = stored(SqliteProfileStore(folder))
    else:
        with redis_server(folder, appendfsync=kind.split()[1]) as (url, server):
            with ranker_server(folder, url, core) as (process, target):
                report = uvloop.run(load(target, shop, psutil.Process(process.pid), seconds))
                process.send_signal(signal.SIGKILL)
            server.send_signal(signal.SIGKILL)
        with redis_server(folder) as (url, _):
            report["stored_after_kill_9"] = stored(RedisProfileStore(redis.Redis.from_url(url)))
    return report | {"acknowledged": shop.acknowledged}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="path of the JSON report")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--core", type=int, default=0, help="the ranker's")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = np.random.default_rng(arguments.seed).normal(size=(ITEMS, DIMENSIONS)).astype(np.float32)
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    table = Table(title=f"ranker on one core, {USERS:,} users, {ITEMS:,} items, {DIMENSIONS} dimensions")
    for heading in ("store", "load", "events/s", "p50 ms", "p99 ms", "CPU µs/event"):
        table.add_column(heading, justify="left" if heading in ("store", "load") else "right")
    report: dict[str, object] = {"seed": arguments.seed, "goal_events_per_second": GOAL_EVENTS_A_SECOND}
    for kind in ["sqlite", *(["redis always", "redis everysec"] if shutil.which("redis-server") else [])]:
        shop = Shop(random.Random(arguments.seed), vectors)
        with tempfile.TemporaryDirectory(prefix="kairos-events-") as folder:
            measured = measure(kind, Path(folder), shop, arguments.seconds, arguments.core)
        report[kind] = measured
        for one in measured["loads"]:  # type: ignore[attr-defined]
            name = f"{one['events_in_a_call']} a call, {one['calls_in_flight']} in flight"
            cpu = f"{one['ranker_cpu_us_per_event']:.0f}"
            table.add_row(kind, name, f"{one['events_per_second']:,}", f"{one['p50_ms']}", f"{one['p99_ms']}", cpu)
        for name, key in (("1,000 single events/s", "at_the_goal"), ("acknowledged → felt", "until_felt")):
            one = measured[key]
            rate = f"{one['events_per_second']:,}" if key == "at_the_goal" else ""  # type: ignore[index]
            table.add_row(kind, name, rate, f"{one['p50_ms']}", f"{one['p99_ms']}", "")  # type: ignore[index]
        kept = f"{measured['stored_after_kill_9']:,} of {measured['acknowledged']:,}"
        table.add_row(kind, f"after kill -9: {kept} acknowledged events", "", "", "", "")
        if measured["stored_after_kill_9"] != measured["acknowledged"]:
            raise RuntimeError(f"{kind}: {kept} acknowledged events are there after kill -9")
    Console().print(table)
    print(f"Goals: {GOAL_EVENTS_A_SECOND:,} events/s; felt within {GOAL_EFFECT_P99_MS:.0f} ms, p99.")
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
