"""Ranking requests of the demo shop without a running suite: vectors of hashed words, a month of simulated events."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from functools import cache

import numpy as np

from demo.catalogue import DemoProduct, build_catalogue
from demo.shoppers import build_shoppers, simulate_events
from services.common.arrays import FloatArray
from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.profile import build_profile
from services.ranker.domain.ranking_request import RankingRequest
from tests.unit.ranker.histories import user_history

MODEL, DIMENSIONS, CANDIDATES = "words@1", 64, 60


def words_vector(text: str) -> FloatArray:
    vector = np.zeros(DIMENSIONS, np.float32)
    for word in re.findall(r"[a-z]+", text.lower()):
        digest = zlib.crc32(word.encode())
        vector[digest % DIMENSIONS] += 1 if digest & 1 << 20 else -1
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


@cache
def shop_requests() -> tuple[RankingRequest, ...]:
    """For each shopper with events one search for the shopper's favourite category."""
    products = build_catalogue(7, 400)
    shoppers = build_shoppers(products, 24)
    events = [event for event in simulate_events(shoppers, products, 30) if event.item_id]
    counts = Counter(event.item_id for event in events)
    vectors = np.stack([words_vector(f"{p.title} {' '.join(p.category_path)} {p.brand}") for p in products])
    items = {p.id: _features(p, vectors[row]) for row, p in enumerate(products)}
    now_s = max(event.time for event in events).timestamp() + 3_600
    found = []
    for shopper in shoppers:
        history = user_history(
            *(
                HistoryEntry(
                    event.item_id, event.session_id, EventType(event.type), event.time.timestamp(), 0,
                    items[event.item_id], event.event_id, "", items[event.item_id].price,
                )
                for event in events
                if event.user_id == shopper.id
            )
        )  # fmt: skip
        if not history.recent:
            continue
        favourite, _ = max(shopper.shelves.items(), key=lambda shelf: shelf[1])
        query = words_vector(" ".join(favourite))
        scores = vectors @ query
        chosen = np.argsort(-scores, kind="stable")[:CANDIDATES]
        some = [products[row] for row in chosen]
        found.append(
            RankingRequest(
                item_ids=[p.id for p in some],
                retrieval_scores=scores[chosen].astype(np.float32),
                vectors=vectors[chosen],
                prices=np.array([float(p.price) for p in some], np.float32),
                stocks=np.array([p.stock for p in some], np.float32),
                popularity=np.array([counts[p.id] for p in some], np.float32),
                query=query,
                profile=build_profile(history, MODEL, DIMENSIONS, now_s),
                categories=[" > ".join(p.category_path) for p in some],
                brands=[p.brand for p in some],
                user_history=history,
                model_version=MODEL,
                now_s=now_s,
                created_s=np.array([p.created_at.timestamp() for p in some]),
            )
        )
    return tuple(found)


def _features(product: DemoProduct, vector: FloatArray) -> ItemFeatures:
    return ItemFeatures(
        product.id, vector, MODEL, float(product.price), " > ".join(product.category_path), product.brand
    )
