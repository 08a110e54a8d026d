"""Time of the learned rankers for one request on one core: the network in ONNX and in torch, boosted trees, LightGBM.

    python -m benchmarks.ranker_latency --out R.json

A request has 200 candidates, a history of 50 events and vectors of 384 dimensions. The values are random, since the
time depends only on the shapes. Each round runs every variant once, in random order, so that other load on the machine
affects all variants alike. The report also gives the CPU time of the calling thread, which depends less on other load.

    ours                 OnnxRanker: features of profile and history, a user's side once, 200 candidates, the objective
    ours, graphs         its two ONNX graphs without the features
    ours, user's side    the first of them
    torch eager          the same two parts in torch
    trees                TreesRanker, with as many trees and leaves as `kairos train` makes at most: features of profile
                         and history, the order of as many candidates as it reranks, probabilities
    trees, order         its trees without the features, all candidates
    LightGBM             the same trees by LightGBM's own prediction
    RankItems, trees     the work of the whole call: the message and its checks, history, counts of neighbours, the
                         person's vector by a shopper model, features, order, answer. The history is as it was at the
                         call before, some seconds ago
    … in a Recommend     the same, within a second of the call before, as RankItems follows GetInterests
    … after an event     the same for a person who has just clicked on a product

For RankItems the person of 50 events is one of 300 in a SQLite store, whose counts of neighbours are of these events.
The shopper model has 3,000 products and random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import lightgbm
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.interests import publish_random_version
from benchmarks.ranker_state import candidates
from kairos.ranker.v1 import ranker_pb2
from services.common.arrays import FloatArray
from services.common.convert import vectors_to_proto
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.common.process import freeze_gc, keep_freed_memory
from services.ranker.adapters.boosted_trees import BoostedTrees
from services.ranker.adapters.onnx_ranker import OnnxRanker
from services.ranker.adapters.trees_ranker import KIND, ORDER, TreesRanker
from services.ranker.adapters.version_manifest import MANIFEST
from services.ranker.background_writer import BackgroundWriter
from services.ranker.convert import check_candidates, check_texts
from services.ranker.convert_events import items_from_proto
from services.ranker.domain.baselines import by_shuffle
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.candidate_source import ListKind
from services.ranker.domain.event import Batch, Event, EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.exploration import ExplorationShares
from services.ranker.domain.features import CANDIDATE_NUMBERS, FEATURES_VERSION
from services.ranker.domain.objective import Objective
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.user_features import SEQUENCE
from services.ranker.domain.user_history import LASTING, UserHistory
from services.ranker.item_counter import ItemCounter
from services.ranker.item_lists import ItemLists
from services.ranker.rank_items import ItemRanker
from services.ranker.settings import RankerSettings
from services.ranker.shopper_reader import ShopperReader
from services.ranker.wiring import (
    build_count_store,
    build_models,
    build_ranking_store,
    build_shopper_models,
    build_store,
)
from training.ranking.examples import Examples, Page
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings
from training.ranking.trees import TreeSettings

GOAL_P50_MS, GOAL_P99_MS = 4.0, 6.0
CANDIDATES, DIMENSIONS, ITEMS, TREES = 200, 384, 3_000, TreeSettings()
NOW_S = 1_800_000_000.0
VERSION = "m@1"
_WARMING = 20
_PERSONS = 300
RANK_ITEMS, IN_RECOMMEND = "RankItems, trees", "RankItems, trees, in a Recommend"
AFTER_AN_EVENT = "RankItems, trees, after an event"


def unit(random: np.random.Generator, rows: int) -> FloatArray:
    made = random.normal(size=(rows, DIMENSIONS)).astype(np.float32)
    vectors: FloatArray = made / np.linalg.norm(made, axis=1, keepdims=True)
    return vectors


def request(random: np.random.Generator) -> RankingRequest:
    vectors, prices = unit(random, ITEMS), random.lognormal(3, 1, ITEMS)
    items = [
        ItemFeatures(f"i{n}", vectors[n], VERSION, float(prices[n]), f"C{n % 20}", f"B{n % 50}") for n in range(ITEMS)
    ]
    acted = [items[n] for n in random.integers(0, ITEMS, SEQUENCE + LASTING)]
    events = [
        HistoryEntry(item.item_id, "s", EventType.CLICK, NOW_S - 600.0 * n, 0, item, f"e{n}", "", item.price)
        for n, item in enumerate(acted)
    ]
    user_history = UserHistory(events[:SEQUENCE], events[-LASTING:])
    shown = items[:CANDIDATES]
    return RankingRequest(
        item_ids=[item.item_id for item in shown],
        retrieval_scores=np.sort(random.random(CANDIDATES).astype(np.float32))[::-1],
        vectors=vectors[:CANDIDATES],
        prices=prices[:CANDIDATES].astype(np.float32),
        stocks=np.full(CANDIDATES, 5, np.float32),
        popularity=random.random(CANDIDATES).astype(np.float32),
        query=unit(random, 1)[0],
        profile=build_profile(user_history, VERSION, DIMENSIONS, NOW_S),
        categories=[item.category for item in shown],
        brands=[item.brand for item in shown],
        user_history=user_history,
        model_version=VERSION,
        now_s=NOW_S,
    )


def network(asked: RankingRequest) -> LearnableRanker:
    """An untrained network that knows every item id. Training does not change its latency."""
    user, candidates = features_of(asked)
    n = len(asked.item_ids)
    positions, reached = range(1, n + 1), [n % 4 for n in range(n)]
    shown = [Page(user, candidates, positions, [1.0] * n, reached, NOW_S + at, "u", f"r{at}") for at in range(4)]
    ranker = LearnableRanker(NetworkSettings(DIMENSIONS), vector_version=VERSION)
    ranker.update(Examples.of(shown, DIMENSIONS))
    return ranker


def write_trees(random: np.random.Generator, folder: Path) -> None:
    """A version that serves every kind of list. The labels are random: latency depends on the number of nodes."""
    features = random.uniform(-1, 3, (20_000, len(CANDIDATE_NUMBERS)))
    labels = features @ random.normal(size=len(CANDIDATE_NUMBERS))
    settings = {"objective": "regression", "num_leaves": TREES.leaves, "num_threads": 1, "verbose": -1}
    curves = {kind.value: dict.fromkeys(("click", "cart", "purchase"), (-3.0, 0.5)) for kind in ListKind}
    about = {
        "kind": KIND, "features_version": FEATURES_VERSION, "features": CANDIDATE_NUMBERS, "serves": list(curves),
        "spread": 1.0, "curves": curves, "reranked": TREES.reranked,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps(about))
    lightgbm.train(settings, lightgbm.Dataset(features, labels), TREES.trees).save_model(folder / ORDER)


class Clock:
    """The time in seconds since the epoch, which can be moved on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def rank_items(
    random: np.random.Generator, folder: Path, clock: Clock, closing: ExitStack
) -> tuple[Callable[[], object], Callable[[], object]]:
    """(one call with promoted models, from the bytes of the request to those of the answer; one event before it)."""
    settings = RankerSettings(data_dir=folder)
    registry = ModelRegistry(settings.models_dir / "default")
    version = registry.publish(partial(write_trees, random), {})
    registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version))
    store, counts = build_store(settings), build_count_store(settings)
    writer = BackgroundWriter(build_ranking_store(settings), 1)
    publish_random_version(folder, ITEMS, 64)
    models, shoppers = build_models(settings, store), build_shopper_models(settings, store)
    counter = ItemCounter(store, counts, 100_000, 100_000, 1, time.time)
    for part in (store, counts, writer, models, shoppers, counter):
        closing.callback(part.close)
    found = candidates(random)
    found.ids[:] = [f"item-{n}" for n in range(CANDIDATES)]
    kinds, now_s = (EventType.CLICK, EventType.CLICK, EventType.CART, EventType.DWELL), time.time()
    of_persons = [
        Event(f"{person}-{n}", str(person), "s", found.ids[item], kinds[n % 4], now_s - 60 - 600 * n, dwell_ms=20_000)
        for person in range(_PERSONS)
        for n, item in enumerate(random.permutation(CANDIDATES)[: 12 if person else SEQUENCE])
    ]
    store.record([Batch("default", of_persons, items_from_proto(found))])
    counter.follow("default")
    counter.wake()
    while counts.progress("default").position < store.last_position("default"):
        time.sleep(0.1)
    while not shoppers.version("default", "0"):
        time.sleep(0.1)
    ranker = ItemRanker(
        store, writer, models, ShopperReader(shoppers, store, writer), ItemLists(store, counts, time.time),
        lambda tenant, person: (), ExplorationShares(), clock, Random(0),
    )  # fmt: skip
    query = vectors_to_proto(unit(random, 1), "m@1")
    message = ranker_pb2.RankItemsRequest(user_id="0", query_vector=query, candidates=found, query="a query")
    data = message.SerializeToString()
    numbers = count()

    def record() -> None:
        # On an item of the history: the number of its items stays the same.
        number = next(numbers)
        item_id = of_persons[number % SEQUENCE].item_id
        store.record([Batch("default", [Event(f"new-{number}", "0", "s", item_id, EventType.CLICK, clock())], [])])

    def call() -> bytes:
        asked = ranker_pb2.RankItemsRequest.FromString(data)
        check_candidates(asked.candidates)
        check_texts(asked)
        return ranker.rank("default", asked).SerializeToString()

    return call, record


def ways(
    asked: RankingRequest, folder: Path, random: np.random.Generator, closing: ExitStack
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """(what is measured, what happens before some of it)."""
    learned = network(asked)
    learned.save(folder / "network")
    served = OnnxRanker(folder / "network", lambda: Objective(1, 3, 6, 0.5), by_shuffle, by_shuffle)
    user, candidates = features_of(asked)
    write_trees(random, folder / "trees")
    booster = lightgbm.Booster(model_file=folder / "trees" / ORDER)
    trees = TreesRanker(folder / "trees", by_shuffle, by_shuffle, "trees")
    order = BoostedTrees(folder / "trees" / ORDER)
    arrays = (
        user.vectors,
        np.ones(SEQUENCE, np.int64),
        user.types,
        user.numbers,
        user.long_term,
        user.query,
        user.context,
    )
    of_user = [torch.from_numpy(array[np.newaxis]) for array in arrays]
    of_items = [
        torch.from_numpy(array[np.newaxis])
        for array in (candidates.vectors, np.ones(CANDIDATES, np.int64), candidates.numbers)
    ]

    def eager() -> None:
        with torch.inference_mode():
            learned.network.candidates(*learned.network.user(*of_user), *of_items)

    clock = Clock()
    called, record = rank_items(random, folder / "ranker", clock, closing)

    def wait() -> None:
        clock.ahead_s += 2

    measured = {
        "ours": lambda: served(asked),
        "ours, graphs": lambda: served.probabilities(served.user_side(user), candidates),
        "ours, user's side": lambda: served.user_side(user),
        "torch eager": eager,
        # A request keeps what it has computed: each call has one of its own.
        "trees": lambda: trees(replace(asked)),
        "trees, order": lambda: order(candidates.numbers),
        "LightGBM": lambda: booster.predict(candidates.numbers, raw_score=True, num_threads=1),
        RANK_ITEMS: called,
        IN_RECOMMEND: called,
        AFTER_AN_EVENT: called,
    }
    return measured, {RANK_ITEMS: wait, IN_RECOMMEND: called, AFTER_AN_EVENT: record}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    random, order = np.random.default_rng(0), Random(0)
    with tempfile.TemporaryDirectory(prefix="kairos-ranker-") as folder, ExitStack() as closing:
        found, before = ways(request(random), Path(folder), random, closing)
        # As a replica does when it has started.
        keep_freed_memory()
        freeze_gc()
        taken, used = ({name: list[float]() for name in found} for _ in range(2))
        for at in tqdm(range(_WARMING + arguments.rounds), desc="rounds"):
            for name in order.sample(sorted(found), len(found)):
                if name in before:
                    before[name]()
                began, cpu = time.perf_counter(), time.thread_time()
                found[name]()
                if at >= _WARMING:
                    used[name].append((time.thread_time() - cpu) * 1e3)
                    taken[name].append((time.perf_counter() - began) * 1e3)
    report = {
        name: {f"p{p}_ms": float(np.percentile(times, p)) for p in (50, 95, 99)}
        | {f"cpu_p{p}_ms": float(np.percentile(used[name], p)) for p in (50, 99)}
        for name, times in taken.items()
    }
    graphs = report["ours, graphs"]["cpu_p50_ms"]
    columns = ("p50 ms", "p95 ms", "p99 ms", "CPU ms, p50", "p99", "of our graphs")
    table = Table("", *columns, title=f"{CANDIDATES} candidates, {SEQUENCE} events")
    for name, figures in report.items():
        table.add_row(name, *(f"{value:.2f}" for value in figures.values()), f"{figures['cpu_p50_ms'] / graphs:.2f}")
    Console().print(table)
    print(f"Goal: RankItems, trees, at most {GOAL_P50_MS:.0f} ms, p50, and {GOAL_P99_MS:.0f} ms, p99.")
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
