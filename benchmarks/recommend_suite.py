"""The suite of `recommend_quality` and `personal_search`: set up by the commands that a shop uses, and asked as a shop
asks.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from benchmarks.baselines.data import Histories, IntArray, ItemText, Split
from benchmarks.load_suite import running_suite
from benchmarks.recommend_report import CANDIDATES, MISS, packed
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.settings import SuiteSettings
from services.common.serving_configuration import DEFAULT_PLACEMENT
from services.gateway.adapters.serving_file import embedded_configuration

# The default placement in the order of its scores.
PLAIN = f"{DEFAULT_PLACEMENT}-plain"
_COUNTS = "counts"
# The first page is what is measured; the others show the candidates, 100 a page at most.
_PAGES = (10, 100, CANDIDATES - 110)
# The longest budget that the gateway gives a request. An answer is measured whole: one with a degradation is asked for
# again, and counted.
_DEADLINE_S, _ATTEMPTS = 2.0, 4
# Users that are asked one at a time: their latencies are reported. The others are asked two at a time.
_TIMED, _IN_FLIGHT = 500, 2
_SETTLE_S, _SETTLE_ITEMS, _SETTLE_PLACES, _SETTLE_PAUSE_S, _SETTLE_SWAPS = 1_800.0, 100, 30, 15.0, 2


# The header and the rows of a CSV file.
Table = tuple[Sequence[str], Iterable[Sequence[Any]]]


@dataclass(frozen=True)
class Shop:
    """The files of a shop in `folder`, also of its suite."""

    folder: Path

    @property
    def costs(self) -> dict[str, Any]:
        """Of each command that has been run: seconds, CPU seconds and MB of memory."""
        file = self.folder / "costs.json"
        return dict(json.loads(file.read_text())) if file.is_file() else {}

    @property
    def suite(self) -> Path:
        return self.folder / "suite"

    @property
    def products(self) -> Path:
        return self.folder / "products.csv"

    @property
    def events(self) -> Path:
        return self.folder / "events.csv"

    def is_set_up(self, is_trained: bool) -> bool:
        """Whether all commands have been run."""
        return {"catalog", "events", *(["train"] if is_trained else [])} <= self.costs.keys()

    @contextlib.contextmanager
    def copied(self) -> Iterator[Shop]:
        """A shop with a copy of this one's state, which is removed in the end. No suite may run in this one."""
        copy = Shop(self.folder.with_name(f"{self.folder.name}-copy"))
        shutil.rmtree(copy.folder, ignore_errors=True)
        shutil.copytree(self.suite, copy.suite, ignore=shutil.ignore_patterns("logs", "run", "train"))
        try:
            yield copy
        finally:
            shutil.rmtree(copy.folder, ignore_errors=True)

    def write(self, products: Table, events: Table) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_csv(self.products, *products)
        _write_csv(self.events, *events)

    def train(self, target: str, seed: int, minutes: float | None) -> None:
        """`kairos train` with the shopper model's registry of this suite."""
        limit = () if minutes is None else ("--minutes", str(minutes))
        self.kairos(target, "train", "--data-dir", str(self.suite), "--seed", str(seed), *limit)

    def kairos(self, target: str, *command: str) -> None:
        """Runs a command of the CLI unless it has been run before. Raises SystemExit if it fails."""
        name, costs = command[0], self.costs
        if name in costs:
            return
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", "from cli.main import app; app()", "--target", target, *command]
        )
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"`kairos {' '.join(command)}` ended with {process.returncode}")
        costs[name] = {
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "resident_mb": round(used.ru_maxrss / 1024),
        }
        (self.folder / "costs.json").write_text(json.dumps(costs, indent=1) + "\n")


def catalogue(histories: Histories, with_texts: bool) -> Table:
    """With titles, brands and category paths; without texts an id is the title, and there is nothing else."""
    names = titles(histories) if with_texts else histories.item_ids
    texts = [text if with_texts else ItemText() for text in histories.texts]
    paths = [" > ".join(map(str.strip, text.categories.split("|"))) for text in texts]
    brands = [text.brand for text in texts]
    return ("id", "title", "brand", "category"), zip(histories.item_ids, names, brands, paths, strict=True)


def purchases(histories: Histories, split: Split, spacing_days: float) -> Table:
    """In the order of time, `spacing_days` apart up to as long before now; without the test items."""
    held_out = dict.fromkeys(split.test_users.tolist(), 1)
    now, rows = datetime.now(UTC), []
    for user, sequence in enumerate(histories.sequences):
        known = sequence[: len(sequence) - held_out.get(user, 0)]
        for number, item in enumerate(known):
            when = now - timedelta(days=spacing_days * (len(known) - number))
            name = histories.user_ids[user]
            rows.append((when.isoformat(), f"{name}-{number}", name, histories.item_ids[item], "purchase"))
    return ("time", "event_id", "user_id", "item_id", "type"), sorted(rows)


def titles(histories: Histories) -> list[str]:
    """The keywords, or the id of an item without any."""
    return [text.keywords or item for text, item in zip(histories.texts, histories.item_ids, strict=True)]


@contextlib.contextmanager
def running(shop: Shop) -> Iterator[str]:
    """The gateway's address of the shop's suite, which has two additional placements."""
    shop.folder.mkdir(parents=True, exist_ok=True)
    configuration = shop.folder / "serving.yaml"
    configuration.write_text(yaml.safe_dump(placements(), sort_keys=False))
    os.environ["KAIROS_GATEWAY_SERVING_CONFIGURATION"] = str(configuration.resolve())
    with running_suite(SuiteSettings.on_free_ports(shop.suite)) as state:
        yield state.gateway


def placements() -> dict[str, Any]:
    """A serving configuration with `PLAIN`, the default placement without diversity, brand cap and sharing, and with
    `_COUNTS`, which shows what the counts know of the products of a page.
    """
    built_in = embedded_configuration().placements[DEFAULT_PLACEMENT].model_dump(mode="json", exclude_defaults=True)
    off = {"diversity": 0.0, "share_interests": False, "brand_cap": 10}
    counts = {"sources": [{"source": "neighbours"}], "slate": {"order": "source"}, "minimum_results": 0}
    return {"version": "benchmark", "placements": {PLAIN: {**built_in, "slate": off}, _COUNTS: counts}}


def ranks_of(target: str, users: Sequence[str], items: Sequence[str], placement: str, name: str) -> dict[str, Any]:
    """The row of a placement: the rank of `items[i]` among up to 200 recommendations for `users[i]`."""
    connection = Connection(target, timeout_s=_DEADLINE_S)
    with connection.stub() as stub, tqdm(total=len(users), desc=name, unit=" users", mininterval=5) as bar:
        asked = _Asked(stub, placement)

        def rank(pair: tuple[str, str]) -> int:
            found = asked.rank(*pair)
            bar.update()
            return found

        pairs = list(zip(users, items, strict=True))
        asked.rank(*pairs[0])  # a connection is made, and first calls are slow
        asked.clear()
        found = [rank(pair) for pair in pairs[:_TIMED]]
        alone = np.array(asked.seconds)
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            found += pool.map(rank, pairs[_TIMED:])
    p50, p95 = np.percentile(alone, [50, 95]) * 1e3
    report = {
        "latency_ms": {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "users": len(alone)},
        "degraded_answers": dict(asked.degradations),
        "answers_that_stayed_degraded": asked.given_up,
        "candidates": round(float(np.mean(asked.lengths)), 1),
        "configuration": asked.configuration,
    }
    return {"ranks": packed(np.array(found)), "report": report}


def settle(target: str, items: Sequence[str]) -> float:
    """Waits until the neighbours of items no longer change: events are counted in the background after their import.

    Asked for nobody: what is shown changes nothing then. Returns the seconds. Raises SystemExit after half an hour.
    """
    started, before = time.monotonic(), list[list[str]]()
    with Connection(target, timeout_s=_DEADLINE_S).stub() as stub:
        while time.monotonic() - started < _SETTLE_S:
            found = [_neighbours(stub, item) for item in items[:_SETTLE_ITEMS]]
            # Decay over time may swap two results while this waits.
            if before and sum(map(list.__ne__, found, before)) <= _SETTLE_SWAPS:
                return round(time.monotonic() - started, 1)
            before = found
            # Requests slow the counting down.
            time.sleep(_SETTLE_PAUSE_S)
    raise SystemExit("the neighbours still change half an hour after the import of the events")


def _neighbours(stub: gateway_pb2_grpc.GatewayServiceStub, item: str) -> list[str]:
    request = gateway_pb2.RecommendRequest(placement=_COUNTS, item_ids=[item], page_size=_SETTLE_PLACES)
    return [result.product.id for result in stub.Recommend(request, timeout=_DEADLINE_S).results]


class _Asked:
    """Calls `Recommend`, and keeps what is reported of the answers."""

    def __init__(self, stub: gateway_pb2_grpc.GatewayServiceStub, placement: str) -> None:
        self._stub, self._placement = stub, placement
        self.clear()

    def clear(self) -> None:
        """`seconds`: of each first page; `lengths`: numbers of candidates; `degradations`: by stage and reason."""
        self.seconds: list[float] = []
        self.lengths: list[int] = []
        self.degradations = Counter[str]()
        self.given_up = 0
        self.configuration = ""

    def rank(self, user: str, item: str) -> int:
        """The rank of `item` from 0, or MISS. Later pages are not asked for where an earlier one has it."""
        token, seen = "", 0
        for size in _PAGES:
            request = gateway_pb2.RecommendRequest(
                user_id=user, placement=self._placement, page_size=size, page_token=token
            )
            answer = self._page(request)
            ids = [result.product.id for result in answer.results]
            if item in ids:
                return seen + ids.index(item)
            seen, token = seen + len(ids), answer.next_page_token
            if not token:
                break
        self.lengths.append(seen)
        return MISS

    def _page(self, request: gateway_pb2.RecommendRequest) -> gateway_pb2.RecommendResponse:
        for attempt in range(_ATTEMPTS):
            started = time.perf_counter()
            answer = self._stub.Recommend(request, timeout=_DEADLINE_S)
            if not request.page_token:
                self.seconds.append(time.perf_counter() - started)
            if not answer.degradations:
                break
            self.degradations.update(f"{one.stage}: {one.reason}" for one in answer.degradations)
            if attempt + 1 < _ATTEMPTS:
                time.sleep(0.1 * 2**attempt)
        else:
            self.given_up += 1
        self.configuration = answer.serving_configuration_version
        return answer


def users_and_items(histories: Histories, split: Split, chosen: IntArray) -> tuple[list[str], list[str]]:
    """(user ids, ids of their test items) of rows of the split's test."""
    users = [histories.user_ids[user] for user in split.test_users[chosen]]
    return users, [histories.item_ids[item] for item in split.test_targets[chosen]]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
