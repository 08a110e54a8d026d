"""Kills the learner, the ranker and Redis in turn under load, and checks that no data was lost.

    python -m benchmarks.kill --out R.json

Shoppers are shown pages and click them, over gRPC; a call that fails is sent again until it is acknowledged.
Meanwhile the benchmark kills one process after the other with SIGKILL and starts it again: with SQLite the learner and
the ranker, with Redis (appendonly, appendfsync everysec) all three. At the end it checks that

- every acknowledged event and page is in the log exactly once;
- the learner has read every page of the log, from its committed position on: each page is in the replay buffer or in
  the holdout, and the ranges of its journal have no gap;
- every user's profile equals, bit by bit, the profile from the log replayed into a new store of the other kind.

If a check fails, the run ends with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from benchmarks.kill_load import Load
from benchmarks.profile_events import free_port, redis_server
from benchmarks.ranker_server import ranker_server
from benchmarks.replay import differing_profiles
from services.common.context import DEFAULT_TENANT
from services.learner.state import StateFolder
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.ports import ProfileStore

# Events count as a page's outcome for this long. A longer window would only make the run longer.
WINDOW_S = 1.0
_CATCH_UP_S = 600.0
_LEARNER = {
    "TRAINING__WINDOW_S": WINDOW_S, "TRAINING__PATIENCE_S": 1, "TRAINING__LEAST_PAGES": 16, "POLL_S": 0.1,
    "TRAINING__CHECKPOINT_S": 2, "TRAINING__RECENT": 10**6, "TRAINING__HELD_RECENT": 10**6,
    "GUARDRAIL__PAGES": 10**9, "DRIFT__DELTA": 0, "METRICS__PORT": 0, "TELEMETRY__LOG_LEVEL": "warning",
}  # fmt: skip


@contextmanager
def learner_process(folder: Path, url: str) -> Iterator[tuple[subprocess.Popen[bytes], None]]:
    environment = os.environ | {f"KAIROS_LEARNER_{name}": str(value) for name, value in _LEARNER.items()}
    environment |= {
        "KAIROS_LEARNER_DATA_DIR": str(folder / "learner"),
        "KAIROS_RANKER_DATA_DIR": str(folder / "ranker"),
    }
    if url:
        environment |= {"KAIROS_RANKER_STORE": "redis", "KAIROS_RANKER_REDIS_URL": url}
    with (
        # While Redis is down, the learner logs errors with tracebacks.
        (folder / "learner.log").open("a") as log,
        subprocess.Popen(
            [sys.executable, "-m", "services.learner"], env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield process, None
        finally:
            process.kill()


@contextmanager
def _redis(folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with redis_server(folder, port) as (url, process):
        yield process, url


class Part:
    """A process that can be killed and started again."""

    def __init__(self, start: Callable[[], AbstractContextManager[tuple[Any, Any]]], stack: ExitStack) -> None:
        self._start, self.kills = start, 0
        self._running = ExitStack()
        stack.callback(lambda: self._running.close())
        self.process, _ = self._running.enter_context(start())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._running.close()
        self.kills += 1

    def start(self) -> None:
        self.process, _ = self._running.enter_context(self._start())


def run(kind: str, folder: Path, rounds: int, pause_s: float, seed: int) -> dict[str, object]:
    """Raises RuntimeError that names the lost data."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in ("redis", "ranker")}
        url, parts = "", dict[str, Part]()
        if kind == "redis":
            url = f"redis://127.0.0.1:{ports['redis']}/0"
            (folder / "redis").mkdir()
            parts["redis"] = Part(lambda: _redis(folder / "redis", ports["redis"]), stack)
        core = max(os.sched_getaffinity(0))
        log = stack.enter_context((folder / "ranker.log").open("a"))
        parts["ranker"] = Part(lambda: ranker_server(folder / "ranker", url, core, ports["ranker"], log), stack)
        parts["learner"] = Part(lambda: learner_process(folder, url), stack)
        load = Load(f"127.0.0.1:{ports['ranker']}", seed)
        asyncio.run(_under_load(load, parts, rounds, pause_s, StateFolder(folder / "learner")))
        store = _store(folder, url)
        _wait_for_learner(store, parts["learner"], folder / "learner.log")
        report = _checked(store, load, folder, kind)
        store.close()
    return report | {"kills": {name: part.kills for name, part in parts.items()}, "tried_again": load.tried_again}


async def _under_load(load: Load, parts: dict[str, Part], rounds: int, pause_s: float, learned: StateFolder) -> None:
    stop = asyncio.Event()
    shopping = asyncio.create_task(load.run(stop))
    try:
        for _, part in itertools.product(range(rounds), [parts[name] for name in sorted(parts)]):
            # A kill before the learner has begun would test nothing.
            await asyncio.to_thread(_wait_for_a_line, learned)
            await asyncio.sleep(pause_s)
            await asyncio.to_thread(part.kill)
            # Long enough for calls to fail.
            await asyncio.sleep(pause_s / 4)
            await asyncio.to_thread(part.start)
        await asyncio.sleep(pause_s)
    finally:
        stop.set()
        await shopping


def _wait_for_a_line(learned: StateFolder) -> None:
    noted, deadline = len(learned.journal()), time.monotonic() + _CATCH_UP_S
    while len(learned.journal()) == noted and time.monotonic() < deadline:
        time.sleep(0.1)


def _wait_for_learner(store: ProfileStore, learner: Part, log: Path) -> None:
    """Waits until the learner has committed the end of the log, then stops it as an operator would."""
    last = _log(store.impressions_after)[-1][0]
    deadline = time.monotonic() + _CATCH_UP_S
    while store.committed(DEFAULT_TENANT, "learner").get("impressions", 0) < last:
        if time.monotonic() > deadline or learner.process.poll() is not None:
            raise RuntimeError(f"the learner does not come to the end of the log: {log.read_text()[-2_000:]}")
        time.sleep(0.2)
    learner.process.terminate()
    if learner.process.wait(60) != 0:
        raise RuntimeError(f"the learner ended with {learner.process.returncode} after SIGTERM")


def _checked(store: ProfileStore, load: Load, folder: Path, kind: str) -> dict[str, object]:
    events, pages = _log(store.events_after), _log(store.impressions_after)
    for name, sent, found in (
        ("events", load.events, Counter(event.event_id for _, event in events)),
        ("pages", load.pages, Counter(page.ranking.ranking_id for _, page in pages)),
    ):
        lost, doubled = [id for id in sent if not found[id]], [id for id, count in found.items() if count > 1]
        if lost or doubled:
            raise RuntimeError(f"{kind}: {len(lost)} acknowledged {name} are lost, {len(doubled)} are there twice")
    again = _check_learner(StateFolder(folder / "learner"), {position for position, _ in pages}, kind)
    with contextlib.closing(SqliteProfileStore(folder / "replay")) as replay:
        persons = sorted({event.person for _, event in events})
        if differing := differing_profiles(store, replay, DEFAULT_TENANT, persons):
            raise RuntimeError(f"{kind}: profiles of {differing} are not those of a replay")
    return {
        "acknowledged_events": len(load.events), "acknowledged_pages": len(load.pages), "lost": 0,
        "pages_taken_again": again, "profiles_equal_to_a_replay": len(persons),
    }  # fmt: skip


def _check_learner(folder: StateFolder, positions: set[int], kind: str) -> int:
    """Returns how many pages the learner read more than once."""
    known = folder.load()
    stretches = [(line["from"], line["to"]) for line in folder.journal()]
    holes = [(a, b) for (_, a), (b, _) in itertools.pairwise([(0, 0), *stretches]) if b > a]
    if known is None or holes or {*known[0].replay, *known[0].held} != positions or not known[0].updates:
        raise RuntimeError(f"{kind}: the learner left something out; holes: {holes}")
    return sum(len([p for p in positions if a < p <= b]) for a, b in stretches) - len(positions)


def _log(read: Callable[[str, int, int], list[tuple[int, Any]]]) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    while page := read(DEFAULT_TENANT, found[-1][0] if found else 0, 5_000):
        found += page
    return found


def _store(folder: Path, url: str) -> ProfileStore:
    return RedisProfileStore(redis.Redis.from_url(url)) if url else SqliteProfileStore(folder / "ranker")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="path of the JSON report")
    parser.add_argument("--rounds", type=int, default=3, help="how often each process is killed")
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report: dict[str, object] = {"seed": arguments.seed}
    table = Table("store", "kills", "events", "pages", "lost", "taken again", "profiles equal", "calls tried again")
    for kind in ["sqlite", *(["redis"] if shutil.which("redis-server") else [])]:
        with tempfile.TemporaryDirectory(prefix="kairos-kill-") as folder:
            found: Any = run(kind, Path(folder), arguments.rounds, arguments.pause, arguments.seed)
        report[kind] = found
        table.add_row(
            kind, ", ".join(f"{name} {count}" for name, count in found["kills"].items()),
            f"{found['acknowledged_events']:,}", f"{found['acknowledged_pages']:,}", "0",
            str(found["pages_taken_again"]), str(found["profiles_equal_to_a_replay"]), str(found["tried_again"]),
        )  # fmt: skip
    Console().print(table)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
