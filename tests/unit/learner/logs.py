"""Logs with a known truth for the tests of the learner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.ports import ProfileStore
from tests.unit.ranker.logging_ranker import ranked

ITEMS, DIMENSIONS, PAGE = 24, 4, 6
# A person counts once for an item and day: pages an hour apart rarely show one twice.
STEP_S = 3_600.0
VERSION = "m@1"
# Logits by which a perfect match is clicked rather than none.
SLOPE = 12.0


class Shop:
    """Shoppers who click what retrieval found to match.

    `sign` -1: they have changed, and click what does not; 0: they do not care.
    """

    def __init__(self, store: ProfileStore, tenant: str = "default", now_s: float = 1_800_000_000.0) -> None:
        self._store, self._tenant, self.now_s = store, tenant, now_s
        self._random, self.shown = np.random.default_rng(7), 0
        vectors = self._random.normal(size=(ITEMS, DIMENSIONS)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.items = [ItemFeatures(f"i{n}", vectors[n], VERSION, 10.0 + n, f"Shelf {n % 3}", "B") for n in range(ITEMS)]
        self._by_id = {item.item_id: item for item in self.items}

    def show(
        self, pages: int, sign: float = 1.0, users: int = 40, bias: Callable[[str], float] = lambda user: 0.0,
        query: str = "", vector_version: Callable[[str], str] = lambda user: "",
    ) -> None:  # fmt: skip
        """Each page an hour after the one before, in an order that says nothing. `bias` moves the logits of a user.

        With a `query` they are searches. `vector_version` of a user: as which the features' vectors are logged.
        """
        for _ in range(pages):
            self.shown += 1
            self.now_s += STEP_S
            user, ranking = f"u{self._random.integers(users)}", f"r{self.shown}"
            rows = self._random.choice(ITEMS, PAGE, replace=False)
            matches = self._random.random(PAGE)
            page = ranked(
                self._store, self._by_id, [f"i{row}" for row in rows], ranking, self.now_s, user,
                matches=matches.tolist(), model_version="weighted-sum@2", tenant=self._tenant, text=query,
                vector_version=vector_version(user),
            )  # fmt: skip
            self._store.record_impressions(self._tenant, [page], self.items)
            chances = 1 / (1 + np.exp(-(SLOPE * sign * (matches - 0.5) - 1.5 + bias(user))))
            clicked = rows[self._random.random(PAGE) < chances]
            events = [
                Event(f"{ranking}/{n}", user, "", f"i{row}", EventType.CLICK, self.now_s + 1 + n / 100)
                for n, row in enumerate(clicked)
            ]
            self._store.record([Batch(self._tenant, events, self.items)])
