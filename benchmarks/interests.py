"""GetInterests over gRPC: its p50 with a shopper model, on one core, one call after the other.

    python -m benchmarks.interests --out R.json [--items 45000] [--width 64]

The ranker's real handler serves alone on one core. It has --users users with 50 events each (clicks, carts, purchases;
every tenth a search), in SQLite, and a version of the shopper model with --items products and vectors of --width. Its
weights are random: the time depends only on the shapes. The rows: a user's interests without a model, with it, and
with it while the same user has just done something, so that nothing is remembered from the call before. The CPU time
of the ranker does not depend on other load on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil
import torch
import uvloop
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.profile_events import DIMENSIONS, Shop, cpu_seconds, percentiles
from benchmarks.ranker_server import ranker_server
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from services.common.context import DEFAULT_TENANT
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.ranker.settings import RankerSettings
from training.shopper.data import Catalogue
from training.shopper.export import export
from training.shopper.model import ShopperModel
from training.shopper.network import ShopperNetwork
from training.shopper.settings import NetworkSettings

if TYPE_CHECKING:
    Stub = ranker_pb2_grpc.RankerServiceAsyncStub

GOAL_P50_MS = 2.0
EVENTS = 50
WITHOUT, WITH, AFTER_AN_EVENT = "without a model", "with a model", "with a model, after a new event"


def publish_random_version(data_dir: Path, items: int, width: int) -> str:
    """A version in the registry of a ranker with `data_dir`, promoted; its weights are random."""
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).normal(size=(items, DIMENSIONS)).astype(np.float32)
    catalogue = Catalogue([f"item-{item}" for item in range(items)], text=vectors, vector_version="m@1")
    model = ShopperModel(ShopperNetwork(catalogue.inputs(), torch.ones(items), NetworkSettings(width=width)))
    registry = ModelRegistry(RankerSettings(data_dir=data_dir).models_dir / DEFAULT_TENANT / "shopper")
    version = registry.publish(lambda folder: void(export(model, catalogue, folder)), {"benchmark": "random weights"})
    registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version))
    return version


def void(_result: object) -> None:
    """For a callback that returns nothing."""


async def fill(stub: Stub, shop: Shop, users: int) -> None:
    """Each user does `EVENTS` things."""
    for user in tqdm(range(users), desc="recording", unit=" users"):
        request = shop.call(EVENTS)
        for number, event in enumerate(request.events):
            event.user_id = f"user-{user}"
            event.occurred_at.FromMilliseconds(int(time.time() * 1e3) - (EVENTS - number) * 3_600_000)
            if number % 10 == 9:
                event.query = f"red lamp {number}"
        await stub.RecordEvents(request)


async def calls(
    stub: Stub,
    process: psutil.Process,
    users: int,
    count: int,
    prepare: Callable[[int], ranker_pb2.RecordEventsRequest | None],
    name: str,
) -> dict[str, float]:
    """Latencies and CPU time of `count` calls; `prepare` gives what to send before each, which is not counted."""
    took_ms, cpu, had = [], 0.0, 0
    for number in tqdm(range(count), desc=name, unit=" calls"):
        if (event := prepare(number % users)) is not None:
            await stub.RecordEvents(event)
        before, began = cpu_seconds(process), time.perf_counter()
        answer = await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id=f"user-{number % users}"))
        took_ms.append((time.perf_counter() - began) * 1e3)
        cpu += cpu_seconds(process) - before
        had += answer.HasField("shopper")
    return percentiles(took_ms) | {"cpu_ms": round(cpu / count * 1e3, 2), "with_a_vector": had}


async def measure(target: str, process: psutil.Process, options: argparse.Namespace, data_dir: Path) -> dict[str, Any]:
    rows = np.random.default_rng(0).normal(size=(options.items, DIMENSIONS)).astype(np.float32)
    shop = Shop(random.Random(0), (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))

    def one_more(user: int) -> ranker_pb2.RecordEventsRequest:
        request = shop.call(1)
        request.events[0].user_id = f"user-{user}"
        return request

    async with grpc.aio.insecure_channel(target) as channel:
        stub: Stub = ranker_pb2_grpc.RankerServiceStub(channel)
        await fill(stub, shop, options.users)
        run = (stub, process, options.users, options.calls)
        await calls(*run, lambda user: None, "warming up")
        found = {WITHOUT: await calls(*run, lambda user: None, WITHOUT)}
        began = time.monotonic()
        publish_random_version(data_dir, options.items, options.width)
        while not (await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="user-0"))).HasField("shopper"):
            if time.monotonic() - began > 60:
                raise RuntimeError("the ranker does not serve the new version; its log says why")
            await asyncio.sleep(0.2)
        found[WITH] = await calls(*run, lambda user: None, WITH)
        found[AFTER_AN_EVENT] = await calls(*run, one_more, AFTER_AN_EVENT)
    return {"rows": found, "resident_mb": round(process.memory_info().rss / 1e6)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="path of the JSON report")
    parser.add_argument("--items", type=int, default=45_000)
    parser.add_argument("--width", type=int, default=64, help="length of the item vectors")
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--calls", type=int, default=2_000, help="of each row")
    parser.add_argument("--core", type=int, default=0, help="the ranker's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kairos-interests-") as name:
        folder = Path(name)
        with ranker_server(folder, "", arguments.core) as (process, target):
            found = uvloop.run(measure(target, psutil.Process(process.pid), arguments, folder))
    table = Table(title=f"GetInterests, {arguments.items:,} products, {EVENTS} events, one core")
    for heading in ("", "p50 ms", "p99 ms", "CPU ms"):
        table.add_column(heading, justify="right" if heading else "left")
    for row, one in found["rows"].items():
        table.add_row(row, *(f"{one[key]:.2f}" for key in ("p50_ms", "p99_ms", "cpu_ms")))
    Console().print(table)
    print(f"Goal: {GOAL_P50_MS:.0f} ms, p50. The ranker has {found['resident_mb']} MB.")
    report = {"items": arguments.items, "width": arguments.width, "events": EVENTS, "goal_p50_ms": GOAL_P50_MS, **found}
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
