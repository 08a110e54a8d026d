"""Shoppers who search continuously during an operation."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import grpc

from tests.e2e.shop import Shop, new_user

QUERIES = ("running shoes", "coffee maker", "女士跑步鞋", "wireless headphones", "garden chair")


@dataclass
class Load:
    """`threads` search until the context ends. `answered` counts the answers; `errors` are the failures' codes."""

    shop: Shop
    threads: int = 3
    answered: int = 0
    errors: list[grpc.StatusCode] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._running = [threading.Thread(target=self._search) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._running:
            thread.join()

    def _search(self) -> None:
        user, turn = new_user(), 0
        while not self._stop.is_set():
            turn += 1
            try:
                self.shop.search(QUERIES[turn % len(QUERIES)], user)
            except grpc.RpcError as error:
                with self._lock:
                    self.errors.append(error.code())
            else:
                with self._lock:
                    self.answered += 1


def first_pages(shop: Shop) -> list[list[str]]:
    """Product ids of each query's first page, for an unknown shopper."""
    return [[result.product.id for result in shop.search(query).results] for query in QUERIES]
