"""Streams of lists in the order of time, for `benchmarks.prequential`: bought sequences, a shop whose taste turns.

A sequence file has `user` and one column of space-separated items, oldest first, and perhaps `timestamps`, likewise, in
seconds. Without them time is made: each user's events lie evenly over the whole stream, from a start of their own, so
that all users are there from the first day to the last. Nothing of the calendar is in such a stream; what a model can
gain over time is more data, and what a user did since.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm import tqdm

from benchmarks.ranker_data import lists_of
from demo.catalogue import REFERENCE, build_catalogue
from demo.shoppers import build_shoppers, simulate_sessions
from services.common.arrays import FloatArray
from services.ranker.domain.event import Event, EventType, Impressions, ItemFeatures
from training.ranking.examples import Examples, Page
from training.ranking.histories import Histories

DAY_S = 86_400.0
DIMENSIONS = 32
VERSION = "items"
# The list of a purchase: the bought item among others of the catalogue, all alike likely. Drawn by popularity they
# would give the answer away: of items bought once, the right one is always new, and half the others are not.
CANDIDATES = 50
_LOOK_S = 60.0


@dataclass(frozen=True)
class Sequences:
    """`log` knows all events; `purchases` are (moment, user, item) in order, each with something before it."""

    items: Mapping[str, ItemFeatures]
    log: Histories
    purchases: list[tuple[float, str, str]]

    def list_of(self, purchase: tuple[float, str, str], candidates: list[str]) -> Page:
        """As the shopper would have met them a minute before."""
        moment_s, user, item_id = purchase
        n = len(candidates)
        page = Impressions(
            f"{user}/{item_id}", user, "", "", moment_s - _LOOK_S, "", candidates, range(1, n + 1), (1.0,) * n
        )
        made = page(page, self.log, self.items, VERSION, DIMENSIONS, 2 * _LOOK_S)
        if made is None:
            raise ValueError(f"none of the candidates of {user} has a vector")
        return made


def read_sequences(sequences: Path, items: Path, users: int, days: int, seed: int) -> Sequences:
    """`users` drawn by lot (0: all), over `days` days."""
    known = _items(items)
    rows = [(row["user"], row) for row in _rows(sequences)]
    rows.sort(key=lambda row: zlib.crc32(f"{seed}/{row[0]}".encode()))
    log, purchases = Histories(), list[tuple[float, str, str]]()
    for user, row in rows[:users] if users else rows:
        bought = row[next(name for name in row if "sequence" in name)].split()
        for place, (moment_s, item_id) in enumerate(zip(_moments(user, row, len(bought), days), bought, strict=True)):
            if item_id not in known:
                continue
            log.add_event(Event(f"{user}/{place}", user, "", item_id, EventType.PURCHASE, moment_s))
            if place:
                purchases.append((moment_s, user, item_id))
    return Sequences(known, log, sorted(purchases))


def sequence_lists(of: Sequences, seed: int) -> Examples:
    """Each purchase among items drawn by lot that the user never buys; in an order that says nothing."""
    random, ids = np.random.default_rng(seed), np.array(sorted(of.items))
    bought = {user: set(of.log.item_ids(user)) for _, user, _ in of.purchases}
    lists: list[Page] = []
    for purchase in tqdm(of.purchases, desc="lists", mininterval=5):
        drawn = ids[random.choice(len(ids), 2 * CANDIDATES, replace=False)]
        others = [item_id for item_id in drawn.tolist() if item_id not in bought[purchase[1]]]
        candidates = [purchase[2], *others[: CANDIDATES - 1]]
        random.shuffle(candidates)
        lists.append(of.list_of(purchase, candidates))
    return Examples.of(lists, DIMENSIONS)


def turning_shop(products: int, shoppers: int, days: int, seed: int) -> Examples:
    """Lists of the demo shop; half-way everybody's taste is another one, over night."""
    catalogue = build_catalogue(seed, products)
    half = days // 2
    before = simulate_sessions(build_shoppers(catalogue, shoppers, seed), catalogue, half, seed)
    after = simulate_sessions(build_shoppers(catalogue, shoppers, seed + 1), catalogue, days, seed)
    turned = [session for session in after if (session.shown_at - REFERENCE).days >= half]
    return lists_of([*before, *turned], catalogue, seed).examples


def _items(path: Path) -> dict[str, ItemFeatures]:
    """Vectors from words, brand and categories: TF-IDF, the directions of largest variance."""
    rows = list(_rows(path))
    texts = [f"{row['keywords']} {row['brand']} {row['categories']}" for row in rows]
    # A fixed state: what is measured is the learning.
    vectors: FloatArray = (
        TruncatedSVD(DIMENSIONS, random_state=0)
        .fit_transform(TfidfVectorizer(min_df=2, sublinear_tf=True).fit_transform(texts))
        .astype(np.float32)
    )
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
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
