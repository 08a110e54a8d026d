"""A shop of boots and lamps with a log that a ranker network learns in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from tests.unit.ranker.logging_ranker import ranked

VERSION, DIMENSIONS = "m@1", 4
NOW_S = 1_700_000_000.0
STEP_S = 600.0
WINDOW_S = 300.0
ITEMS = [
    ItemFeatures(
        f"{kind}{n}", np.array([kind == "boot", kind == "lamp", 0.1 * n, 0.05], np.float32), VERSION, 10.0 + n,
        f"{kind}s", "B",
    )
    for kind in ("boot", "lamp")
    for n in range(6)
]  # fmt: skip
BY_ID = {item.item_id: item for item in ITEMS}
STAGES = (EventType.CLICK, EventType.CART, EventType.PURCHASE)
QUERY = np.array([0.6, 0.8, 0, 0], np.float32)


def shop_log(folder: Path, lists: int = 120, seed: int = 0) -> SqliteProfileStore:
    """Even users love boots, odd ones lamps; high places are clicked more, and some of what is clicked is bought."""
    random, store = np.random.default_rng(seed), SqliteProfileStore(folder)
    for at in range(lists):
        user, shown_s = at % 8, NOW_S - (lists - at) * STEP_S
        chosen = [ITEMS[row].item_id for row in random.choice(len(ITEMS), 6, replace=False)]
        page = ranked(
            store, BY_ID, chosen, f"r{at}", shown_s, f"u{user}", matches=[1 - n / 9 for n in range(6)],
            query=QUERY if at % 3 == 0 else None,
        )  # fmt: skip
        store.record_impressions("default", [page], ITEMS)
        events: list[Event] = []
        for place, item_id in enumerate(chosen):
            is_loved = item_id.startswith(("boot", "lamp")[user % 2])
            if random.random() < (0.8 if is_loved else 0.1) / (1 + 0.5 * place):
                reached = int(random.choice((1, 2, 3), p=(0.5, 0.2, 0.3)))
                events += [
                    Event(f"e{at}-{place}-{n}", f"u{user}", f"s{at}", item_id, kind, shown_s + 10 + place * 5 + n)
                    for n, kind in enumerate(STAGES[:reached])
                ]
        store.record([Batch("default", events, ITEMS)])
    return store
