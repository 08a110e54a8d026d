"""Streams of lists in the order of time for `benchmarks.prequential`, from purchase sequences or a simulated shop.

A sequence file has the column `user`, a column of space-separated items, oldest first, and an optional column
`timestamps` in the same form, in seconds. Without timestamps this module generates times: it spreads each user's events
evenly over the whole stream, with a separate start for each user, so that all users are active from the first day to
the last. Such a stream has no calendar effects: over time a model can gain only from more data and from the users'
newer events.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm import tqdm

from benchmarks.ranker_data import lists_of
from benchmarks.simulated_log import SimulatedLog
from demo.catalogue import REFERENCE, build_catalogue
from demo.shoppers import build_shoppers, simulate_sessions
from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.event import Event, EventType, ItemFeatures
from training.ranking.examples import Examples, Page

DAY_S = 86_400.0
DIMENSIONS = 32
VERSION = "items"
# A purchase's list has the bought item and other items, drawn uniformly from the catalogue. A draw by popularity would
# reveal the answer: of items bought once, the bought one is always new, and half of the others are not.
CANDIDATES = 50
_LOOK_S = 60.0


@dataclass(frozen=True)
class Sequences:
    """`events` are in the order of time. `purchases` are the purchases with an earlier event of the same user."""

    items: Mapping[str, ItemFeatures]
    events: list[Event]
    purchases: list[Event]


def read_sequences(sequences: Path, items: Path, users: int, days: int, seed: int) -> Sequences:
    """`users` drawn at random (0: all), over `days` days."""
    known = _items(items)
    rows = [(row["user"], row) for row in _rows(sequences)]
    rows.sort(key=lambda row: zlib.crc32(f"{seed}/{row[0]}".encode()))
    events, purchases = list[Event](), list[Event]()
    for user, row in rows[:users] if users else rows:
        bought = row[next(name for name in row if "sequence" in name)].split()
        for place, (moment_s, item_id) in enumerate(zip(_moments(user, row, len(bought), days), bought, strict=True)):
            if item_id not in known:
                continue
            events.append(Event(f"{user}/{place}", user, "", item_id, EventType.PURCHASE, moment_s))
            if place:
                purchases.append(events[-1])

    def by_time(event: Event) -> tuple[float, str, str]:
        return event.occurred_s, event.user_id, event.item_id

    return Sequences(known, sorted(events, key=by_time), sorted(purchases, key=by_time))


def sequence_lists(of: Sequences, seed: int) -> Examples:
    """One list per purchase: the bought item and random items that the user never buys, in random order."""
    random, ids = np.random.default_rng(seed), np.array(sorted(of.items))
    bought: defaultdict[str, set[str]] = defaultdict(set)
    for event in of.events:
        bought[event.user_id].add(event.item_id)

    def candidates_of(purchase: Event, before: Set[str]) -> list[str]:
        drawn = ids[random.choice(len(ids), 2 * CANDIDATES, replace=False)]
        others = [item_id for item_id in drawn.tolist() if item_id not in bought[purchase.user_id]]
        candidates = [purchase.item_id, *others[: CANDIDATES - 1]]
        random.shuffle(candidates)
        return candidates

    pages = tqdm(lists_before(of, of.purchases, candidates_of), "lists", len(of.purchases), mininterval=5)
    return Examples.of(list(pages), DIMENSIONS)


def lists_before(
    of: Sequences, purchases: Sequence[Event], candidates_of: Callable[[Event, Set[str]], list[str]]
) -> Iterator[Page]:
    """The list for each purchase, with features computed for one minute before it.

    `purchases` are in the order of time. `candidates_of(purchase, items that the user bought before)` gives the list.
    """
    earlier = deque(of.events)
    before: defaultdict[str, set[str]] = defaultdict(set)
    with SimulatedLog(of.items, VERSION, DIMENSIONS) as log:
        for purchase in purchases:
            shown_s = purchase.occurred_s - _LOOK_S
            while earlier and earlier[0].occurred_s < shown_s:
                event = earlier.popleft()
                log.record(event)
                before[event.user_id].add(event.item_id)
            candidates = candidates_of(purchase, before[purchase.user_id])
            user, features = features_of(log.request(purchase.user_id, candidates, shown_s))
            n, reached = len(candidates), [3 * (item_id == purchase.item_id) for item_id in candidates]
            name = f"{purchase.user_id}/{purchase.item_id}"
            yield Page(user, features, range(1, n + 1), [1.0] * n, reached, shown_s, purchase.person, name)


def turning_shop(products: int, shoppers: int, days: int, seed: int) -> Examples:
    """Lists of the demo shop; half-way the taste of all shoppers changes overnight."""
    catalogue = build_catalogue(seed, products)
    half = days // 2
    before = simulate_sessions(build_shoppers(catalogue, shoppers, seed), catalogue, half, seed)
    after = simulate_sessions(build_shoppers(catalogue, shoppers, seed + 1), catalogue, days, seed)
    turned = [session for session in after if (session.shown_at - REFERENCE).days >= half]
    return lists_of([*before, *turned], catalogue, seed).examples


def _items(path: Path) -> dict[str, ItemFeatures]:
    """Item vectors from words, brand and categories: TF-IDF, projected onto the directions of largest variance."""
    rows = list(_rows(path))
    texts = [f"{row['keywords']} {row['brand']} {row['categories']}" for row in rows]
    # A fixed random state: the benchmark measures the training, not the projection.
    vectors: FloatArray = (
        TruncatedSVD(DIMENSIONS, random_state=0)
        .fit_transform(TfidfVectorizer(min_df=2, sublinear_tf=True).fit_transform(texts))
        .astype(np.float32)
    )
    vectors = unit_rows(vectors)
    return {
        row["asin"]: ItemFeatures(
            row["asin"], vector, VERSION, float("nan"), row["categories"].replace(" | ", " > "), row["brand"]
        )
        for row, vector in zip(rows, vectors, strict=True)
    }


def _moments(user: str, row: Mapping[str, str], count: int, days: int) -> list[float]:
    if times := row.get("timestamps"):
        return [float(moment) for moment in times.split()]
    start = zlib.crc32(user.encode()) / 2**32
    began_s = REFERENCE.timestamp()
    return [began_s + days * DAY_S * (place + start) / count for place in range(count)]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        opened: IO[str] = file
        yield from csv.DictReader(opened)
