"""The counts that training makes of a log are those of the running ranker."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from services.ranker.adapters.sqlite_counts import SqliteCountStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.history_neighbours import HistoryNeighbours
from services.ranker.item_counter import ItemCounter
from tests.unit.training.shopper.shop import catalogue
from training.shopper.data import ShopperLog
from training.shopper.histories import Histories
from training.shopper.neighbours import Neighbours

NOW_S, DAY_S, PERSONS, ITEMS = 1_700_000_000.0, 86_400.0, 60, 25


def shopped(seed: int) -> list[Event]:
    """Purchases of some persons, who mostly buy the next product: what follows differs from what precedes."""
    random, events = np.random.default_rng(seed), list[Event]()
    for person in range(PERSONS):
        item = int(random.integers(ITEMS))
        for number in range(int(random.integers(3, 9))):
            item = (item + 1 + int(random.geometric(0.7)) - 1) % ITEMS
            when_s = NOW_S - DAY_S * (10 - number)
            events.append(Event(f"{person}-{number}", f"u{person}", "", f"p{item}", EventType.PURCHASE, when_s))
    return events


def test_scores_of_a_history(tmp_path: Path) -> None:
    """For each person, the neighbours' scores by training's counts are those by the ranker's stored documents."""
    events, of = shopped(3), catalogue()
    items = [ItemFeatures(id, None, "", 1.0, "", "") for id in of.ids]
    log = ShopperLog.of(events, of.ids)
    trained = Neighbours(log, of.ids)
    counts = SqliteCountStore(tmp_path / "counts")
    with closing(SqliteProfileStore(tmp_path / "log", lambda: NOW_S)) as store:
        store.record([Batch("t", events, items)])
        counter = ItemCounter(store, counts, 1_000, 1_000, 3_600.0, lambda: NOW_S)
        with closing(counter):
            while counter.count_some("t"):
                pass
        served, differing = HistoryNeighbours(counts, lambda: NOW_S), 0
        for person in range(PERSONS):
            history = Histories(log, of).before(int(log.starts[person + 1]) - 1)
            own = trained.scores(history, NOW_S)
            found = served.scores_of("t", history, of.ids)
            assert found is not None
            assert found == pytest.approx([own.get(id, 0.0) for id in of.ids], rel=0.01)
            differing += len(set(np.round(found, 4).tolist())) > 2
    assert differing > PERSONS / 2
