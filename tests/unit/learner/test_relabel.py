"""A refund corrects the labels of pages that the learner keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.learner.memory import Memory
from services.learner.settings import TrainingSettings
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType
from services.ranker.domain.user_features import IntArray
from tests.unit.ranker.logging_ranker import ranked
from tests.unit.training.ranking_shop import BY_ID, ITEMS, NOW_S, WINDOW_S
from training.ranking.examples import Examples
from training.ranking.reading import ExampleReader


def test_a_purchase_that_was_learned_is_relabelled(tmp_path: Path) -> None:
    """After the refund the kept page has a cart and no purchase; another shopper's purchase stays one."""
    store = SqliteProfileStore(tmp_path)
    for user in ("u", "w"):
        page = ranked(store, BY_ID, ["boot1", "lamp2"], f"list-{user}", NOW_S, user)
        store.record_impressions("default", [page], ITEMS)
        for kind in (EventType.CART, EventType.PURCHASE):
            event = Event(f"{user}-{kind.value}", user, "", "lamp2", kind, NOW_S + 5)
            store.record([Batch("default", [event], ITEMS)])
    reader = ExampleReader(store, window_s=WINDOW_S)
    examples, pages = reader.read_pages(NOW_S + WINDOW_S, 9)
    memory = Memory(TrainingSettings(), lambda persons: dict.fromkeys(persons, 1))
    memory.add(examples, np.array([position for position, _ in pages]))
    assert memory.fresh.examples.purchase.tolist() == [0, 1, 0, 1]
    assert reader.refunded() == set()

    store.record([Batch("default", [Event("r", "u", "", "lamp2", EventType.REFUND, NOW_S + 10**6)], [])])
    assert not len(reader.read(NOW_S + WINDOW_S))
    persons = reader.refunded()
    assert persons == {"user:u"}

    def again(positions: list[int]) -> tuple[Examples, IntArray]:
        found, entries = reader.again(positions)
        return found, np.array([position for position, _ in entries])

    memory.relabel(persons, again)
    kept = memory.fresh.examples
    assert dict(zip(kept.persons.tolist(), kept.purchase.reshape(2, 2).tolist(), strict=True)) == {
        "user:u": [0, 0],
        "user:w": [0, 1],
    }
    assert kept.cart.tolist() == [0, 1, 0, 1]
    store.close()
