"""SQLite: popularity that is held in memory is what the file holds, whichever process has written it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.ranker.adapters.sqlite_popularity import PopularityInMemory
from services.ranker.adapters.sqlite_schema import PROFILES_FILE
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType

NOW_S = 1e9


def click(store: SqliteProfileStore, tenant: str, *item_ids: str, user: str = "u") -> None:
    events = [Event(f"{user}-{id}", user, "s", id, EventType.CLICK, NOW_S) for id in item_ids]
    store.record([Batch(tenant, events, [])])


@pytest.fixture
def stores(tmp_path: Path) -> list[SqliteProfileStore]:
    return [SqliteProfileStore(tmp_path, lambda: NOW_S) for _ in range(2)]


def test_events_of_another_process_count_at_once(stores: list[SqliteProfileStore]) -> None:
    """What another store on the same file records is in the next answer: new items, and more of a known one."""
    one, other = stores
    assert one.popularity("t", ["a", "b"], NOW_S) == [0, 0]
    click(other, "t", "a")
    assert one.popularity("t", ["a", "b"], NOW_S) == pytest.approx([1, 0])
    click(other, "t", "a", "b", user="v")
    click(one, "elsewhere", "a")
    assert one.popularity("t", ["a", "b"], NOW_S) == pytest.approx([2, 1])
    assert one.popularity("elsewhere", ["a", "b"], NOW_S) == pytest.approx([1, 0])


def test_popularity_stays_when_its_events_are_deleted(stores: list[SqliteProfileStore]) -> None:
    """A deletion removes events, not counts over all persons; the next event is counted on top of them."""
    one, other = stores
    click(one, "t", "a")
    assert one.popularity("t", ["a"], NOW_S) == pytest.approx([1])
    other.delete_person("t", "user:u")
    assert one.popularity("t", ["a"], NOW_S) == pytest.approx([1])
    click(other, "t", "a", user="v")
    assert one.popularity("t", ["a"], NOW_S) == pytest.approx([2])


def test_new_events_are_found_by_an_index(stores: list[SqliteProfileStore], tmp_path: Path) -> None:
    """The work for what a tenant's log has behind a position does not grow with the log."""
    click(stores[0], "t", *(f"i{n}" for n in range(2_000)))
    with closing(sqlite3.connect(tmp_path / PROFILES_FILE)) as db:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        # Once for ten instructions of SQLite's machine: each row that is read takes several.
        db.set_progress_handler(step, 10)
        query = "SELECT position FROM event WHERE tenant = 't' AND position > 1990 ORDER BY position LIMIT 100"
        assert len(db.execute(query).fetchall()) == 10
        of_log, memory = steps, PopularityInMemory()
        memory.log_masses(db, "t", ["a"])
        click(stores[0], "t", "a")
        steps = 0
        assert memory.log_masses(db, "t", ["a"])["a"] is not None
    assert of_log < 100
    assert steps < 100


@pytest.mark.parametrize("most_items", [1, 2, 3, 100])
def test_the_bound_changes_no_answer(stores: list[SqliteProfileStore], tmp_path: Path, most_items: int) -> None:
    """Tenants of fewer and of more items than the bound have the same answers, at every call."""
    db, memory = sqlite3.connect(tmp_path / PROFILES_FILE), PopularityInMemory(most_items)
    for user in ("u", "v"):
        click(stores[0], "small", "a", user=user)
        click(stores[0], "large", "a", "b", "c", user=user)
        for tenant in ("small", "large", "small", "none"):
            found, direct = (held.log_masses(db, tenant, ["a", "c"]) for held in (memory, PopularityInMemory()))
            assert [found.get(id) for id in ("a", "c")] == [direct.get(id) for id in ("a", "c")]
