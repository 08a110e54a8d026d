"""What the ranker's state takes, in bytes, and what storing a ranking costs a request.

    python -m benchmarks.ranker_state --out R.json

Sizes: of one stored ranking (200 candidates with vectors of 384 dimensions, a history of 50 events) as bytes, in the
SQLite file and in Redis; of one page of ten items in the log; of one user with a history of 100 events on as many
items, without the items, which all users share. The sizes in files are means over many, with all indexes.

Cost: RankItems over gRPC, one call at a time, against a ranker in a process and on a core of its own. A call with a
ranking id, which is stored, and one without take turns, so that whatever else the machine does meets both. CPU time is
that of the whole process, with the background writer, over blocks of calls of one kind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import redis
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.profile_events import redis_server
from benchmarks.ranker_server import ranker_server
from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import compact_rows
from services.common.convert import vectors_to_proto
from services.ranker.adapters.ranking_bytes import to_bytes
from services.ranker.adapters.redis_ranking_store import RedisRankingStore
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_ranking_store import SqliteRankingStore
from services.ranker.adapters.sqlite_schema import PROFILES_FILE, RANKINGS_FILE
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.ports import ProfileStore, RankingLimits, RankingStore
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler, build_ranking_store

CANDIDATES, DIMENSIONS, EVENTS, PAGE = 200, 384, 100, 10
_RANKINGS, _PAGES, _USERS = 400, 400, 200
_LIMITS = RankingLimits(600, 10_000, 1_800, 10_000)
_NOW_S = 1_800_000_000.0
_KINDS = (EventType.CLICK, EventType.CLICK, EventType.CART, EventType.PURCHASE, EventType.DWELL)
_TENANT = "default"


def candidates(random: np.random.Generator) -> retrieval_pb2.Candidates:
    vectors = random.normal(size=(CANDIDATES, DIMENSIONS)).astype(np.float32)
    return retrieval_pb2.Candidates(
        ids=[f"item-{n:06}" for n in range(CANDIDATES)], scores=np.sort(random.random(CANDIDATES))[::-1].tolist(),
        dense_scores=random.random(CANDIDATES).tolist(), lexical_scores=random.random(CANDIDATES).tolist(),
        prices=random.lognormal(3, 1, CANDIDATES).tolist(), stocks=[5] * CANDIDATES,
        categories=[f"Home > Shelf {n % 20}" for n in range(CANDIDATES)],
        brands=[f"Brand {n % 50}" for n in range(CANDIDATES)], created_at_seconds=[int(_NOW_S) - 86_400] * CANDIDATES,
        vectors=vectors_to_proto(compact_rows(vectors), "m@1"),
    )  # fmt: skip


def events(found: retrieval_pb2.Candidates, user_id: str) -> ranker_pb2.RecordEventsRequest:
    request = ranker_pb2.RecordEventsRequest(items=found)
    for n in range(EVENTS):
        event = request.events.add(
            event_id=f"{user_id}-{n:08}", user_id=user_id, session_id="session-1", item_id=found.ids[n],
            type=event_pb2.EventType.Value(f"EVENT_TYPE_{_KINDS[n % len(_KINDS)].name}"), dwell_ms=20_000,
        )  # fmt: skip
        event.occurred_at.FromNanoseconds(int((time.time() - 600 * n) * 1e9))
    return request


def asked(found: retrieval_pb2.Candidates, ranking_id: str) -> ranker_pb2.RankItemsRequest:
    query = vectors_to_proto(np.full((1, DIMENSIONS), DIMENSIONS**-0.5, np.float32), "m@1")
    return ranker_pb2.RankItemsRequest(
        user_id="user-1", session_id="session-1", query_vector=query, candidates=found, ranking_id=ranking_id,
        query="a query of five words", total_size=643,
    )  # fmt: skip


async def one_ranking(found: retrieval_pb2.Candidates, folder: Path) -> StoredRanking:
    """As the handler stores it."""
    settings = RankerSettings(data_dir=folder)
    handler, server = build_handler(settings), grpc.aio.server()
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = ranker_pb2_grpc.RankerServiceStub(channel)
        await stub.RecordEvents(events(found, "user-1"))
        await stub.RankItems(asked(found, "ranking-0"))
    await server.stop(None)
    handler.close()
    with closing(build_ranking_store(settings)) as store:
        stored = store.ranking(_TENANT, "ranking-0")
    if stored is None:
        raise RuntimeError("the ranking was not stored")
    return stored


def fill_rankings(store: RankingStore, ranking: StoredRanking) -> None:
    for n in range(_RANKINGS):
        store.store([(_TENANT, renamed(ranking, f"ranking-{n:08}", "user-1"))])


def fill_pages(store: ProfileStore, ranking: StoredRanking) -> None:
    for n in range(_PAGES):
        shown = renamed(ranking, f"ranking-{n:08}", f"user-{n % 50:08}").take(range(PAGE))
        store.record_impressions(_TENANT, [Impressions(shown, range(1, PAGE + 1), _NOW_S + n)])


def fill_users(store: ProfileStore) -> None:
    """Without the items: those are the shop's, not the user's."""
    for n in range(_USERS):
        user = f"user-{n:08}"
        own = [
            Event(f"{user}-{k:08}", user, "session-1", f"item-{k:06}", _KINDS[k % 5], _NOW_S + k, dwell_ms=20_000)
            for k in range(EVENTS)
        ]
        store.record([Batch(_TENANT, own, list[ItemFeatures]())])


def renamed(ranking: StoredRanking, ranking_id: str, user_id: str) -> StoredRanking:
    return StoredRanking(**(vars(ranking) | {"ranking_id": ranking_id, "user_id": user_id}))


def sizes_in_sqlite(ranking: StoredRanking, folder: Path) -> dict[str, float]:
    def size(name: str, file: str, fill: Any, empty: Any) -> float:
        with closing(empty(folder / name)):
            before = (folder / name / file).stat().st_size
        with closing(empty(folder / name)) as store:
            fill(store)
        return (folder / name / file).stat().st_size - before

    rankings = size(
        "rankings", RANKINGS_FILE, lambda s: fill_rankings(s, ranking), lambda f: SqliteRankingStore(f, _LIMITS, 0.4)
    )
    pages = size("pages", PROFILES_FILE, lambda s: fill_pages(s, ranking), SqliteProfileStore)
    users = size("users", PROFILES_FILE, fill_users, SqliteProfileStore)
    return {"ranking": rankings / _RANKINGS, "page": pages / _PAGES, "user": users / _USERS}


def sizes_in_redis(ranking: StoredRanking, folder: Path) -> dict[str, float]:
    with redis_server(folder) as (url, _):
        client: Any = redis.Redis.from_url(url)

        def size(fill: Any) -> float:
            client.flushall()
            before = client.info("memory")["used_memory"]
            fill()
            return float(client.info("memory")["used_memory"] - before)

        rankings = size(lambda: fill_rankings(RedisRankingStore(client, _LIMITS, 0.4), ranking))
        pages = size(lambda: fill_pages(RedisProfileStore(client), ranking))
        users = size(lambda: fill_users(RedisProfileStore(client)))
    return {"ranking": rankings / _RANKINGS, "page": pages / _PAGES, "user": users / _USERS}


def cost(found: retrieval_pb2.Candidates, folder: Path, calls: int) -> dict[str, dict[str, float]]:
    taken: dict[str, list[float]] = {"stored": [], "not stored": []}
    cpu_ms: dict[str, list[float]] = {"stored": [], "not stored": []}
    with (
        ranker_server(folder, "", max(os.sched_getaffinity(0))) as (started, target),
        grpc.insecure_channel(target) as channel,
    ):
        stub, process = ranker_pb2_grpc.RankerServiceStub(channel), psutil.Process(started.pid)
        stub.RecordEvents(events(found, "user-1"))

        def call(name: str, number: int) -> float:
            request = asked(found, f"ranking-{number}" if name == "stored" else "")
            began = time.perf_counter()
            stub.RankItems(request)
            return (time.perf_counter() - began) * 1e3

        for number in tqdm(range(calls), desc="in turn"):
            for name in taken:
                took = call(name, number)
                if number >= calls // 10:
                    taken[name].append(took)
        for block in tqdm(range(10), desc="blocks"):
            for name in taken:
                before = process.cpu_times()
                for number in range(calls // 10):
                    call(name, block * calls + number)
                time.sleep(0.2)  # the writer ends
                after = process.cpu_times()
                spent = after.user + after.system - before.user - before.system
                cpu_ms[name].append(spent * 1e3 / (calls // 10))
    return {
        name: {f"p{p}_ms": float(np.percentile(taken[name], p)) for p in (50, 95, 99)}
        | {"cpu_ms_a_call": float(np.median(cpu_ms[name]))}
        for name in taken
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--calls", type=int, default=600, help="of each kind; 0: sizes only")
    arguments = parser.parse_args()
    found = candidates(np.random.default_rng(0))
    with tempfile.TemporaryDirectory(prefix="kairos-state-") as name:
        folder = Path(name)
        ranking = asyncio.run(one_ranking(found, folder / "one"))
        report: dict[str, Any] = {"ranking_as_bytes": len(to_bytes(ranking))}
        report["sqlite"] = sizes_in_sqlite(ranking, folder)
        (folder / "redis").mkdir()
        report["redis"] = sizes_in_redis(ranking, folder / "redis")
        if arguments.calls:
            report["rank_items"] = cost(found, folder / "cost", arguments.calls)
    table = Table("", "SQLite, bytes", "Redis, bytes", title=f"a ranking as bytes: {report['ranking_as_bytes']:,}")
    for kind in ("ranking", "page", "user"):
        table.add_row(kind, f"{report['sqlite'][kind]:,.0f}", f"{report['redis'][kind]:,.0f}")
    Console().print(table)
    if arguments.calls:
        columns = list(report["rank_items"]["stored"])
        table = Table("RankItems", *columns, title=f"{CANDIDATES} candidates, history of {EVENTS} events")
        for kind, figures in report["rank_items"].items():
            table.add_row(kind, *(f"{figures[column]:.2f}" for column in columns))
        Console().print(table)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
