"""One suite for both profile stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Event, EventType, Impressions, ItemFeatures
from services.ranker.ports import ProfileStore

NOW_S = 1_800_000_000.0


class RedisServer:
    """A redis-server that writes every command to disk before it answers."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = self.client()
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # between two tries to connect

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing; .ci/run installs it")
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


Reopen = Callable[[], ProfileStore]


@pytest.fixture(params=["sqlite", "redis"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same store again, as a process would that was killed; the old one is never closed."""
    if request.param == "sqlite":
        return lambda: SqliteProfileStore(tmp_path)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()

    def restart() -> ProfileStore:
        server.kill()
        server.start()
        return RedisProfileStore(server.client())

    return restart


@pytest.fixture
def store(reopen: Reopen) -> ProfileStore:
    return reopen()


def click(number: int, item: str = "i1", user: str = "u", kind: EventType = EventType.CLICK) -> Event:
    return Event(f"e{number}", user, "s", item, kind, NOW_S + number)


def item(name: str, category: str = "Shoes > Boots") -> ItemFeatures:
    return ItemFeatures(name, np.array([1, 0], np.float32), "m@1", 9.5, category, "B")


def test_an_event_counts_once(store: ProfileStore) -> None:
    """The same event id sent again, in the same batch or later, changes nothing."""
    assert store.record("t", [click(1), click(1), click(2)], []) == 2
    assert store.record("t", [click(2), click(3)], []) == 1
    assert len(store.history("t", "u")) == 3
    assert store.popularity("t", ["i1"], NOW_S + 3) == pytest.approx([3.0], abs=0.01)


def test_history_is_newest_first(store: ProfileStore) -> None:
    """Whatever order events came in, the newest are first, and the limit keeps those."""
    store.record("t", [click(n, f"i{n}") for n in (2, 9, 4, 7)], [])
    assert [entry.item_id for entry in store.history("t", "u", limit=3)] == ["i9", "i7", "i4"]


def test_features_come_with_the_history(store: ProfileStore) -> None:
    """An item's vector, price, category and brand are joined; an unknown item has none."""
    store.record("t", [click(1, "known"), click(2, "unknown")], [item("known")])
    unknown, known = store.history("t", "u")
    assert unknown.features is None
    assert known.features is not None
    assert known.features.vector is not None
    np.testing.assert_allclose(known.features.vector, [1, 0])
    assert (known.features.price, known.features.category) == (9.5, "Shoes > Boots")


def test_a_missing_price_stays_missing(store: ProfileStore) -> None:
    """An item without price and vector comes back without them."""
    bare = ItemFeatures("bare", None, "", float("nan"), "", "")
    store.record("t", [click(1, "bare")], [bare])
    features = store.history("t", "u")[0].features
    assert features is not None
    assert features.vector is None
    assert np.isnan(features.price)


def test_popular_items(store: ProfileStore) -> None:
    """Most acted on first; a category holds what is below it, and not what only begins like it."""
    acts = [click(1, "a"), click(2, "b", kind=EventType.PURCHASE), click(3, "c"), click(4, "c")]
    store.record("t", acts, [item("a"), item("b", "Shoes"), item("c", "Shoes2")])
    assert [name for name, _ in store.popular("t", "", 10, NOW_S)] == ["b", "c", "a"]
    assert [name for name, _ in store.popular("t", "Shoes", 10, NOW_S)] == ["b", "a"]
    assert [name for name, _ in store.popular("t", "", 1, NOW_S)] == ["b"]


def test_tenants_do_not_mix(store: ProfileStore) -> None:
    """The same ids of two tenants are two things."""
    store.record("t", [click(1)], [])
    assert store.record("other", [click(1)], []) == 1
    assert store.history("third", "u") == []


def test_impressions_count_once(store: ProfileStore) -> None:
    """A page of a ranking is logged once, its next page again."""
    first = Impressions("r", "u", "s", "q", NOW_S, "m", ("a", "b"), (1, 2), (1.0, 1.0))
    second = Impressions("r", "u", "s", "q", NOW_S, "m", ("c",), (3,), (1.0,))
    assert store.record_impressions("t", [first]) == 1
    assert store.record_impressions("t", [first, second]) == 1


def test_what_was_acknowledged_survives(reopen: Reopen) -> None:
    """Recorded events are there after the store was opened anew, without a close (Redis: after kill -9)."""
    reopen().record("t", [click(1), click(2)], [item("i1")])
    again = reopen()
    assert len(again.history("t", "u")) == 2
    assert again.record("t", [click(1)], []) == 0
