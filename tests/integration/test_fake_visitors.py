"""One visitor in a hundred is fake: hundreds of clicks on obscure items change neither what is popular nor a model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from tests.unit.ranker.logging_ranker import ranked
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings
from training.ranking.reading import ExampleReader

NOW_S, WINDOW_S, PAGE = 1_700_000_000.0, 300.0, 6
VISITORS, FAKE, ITEMS = 300, 3, 30
# The honest visitors love the first third of the items and hardly look at the last ten.
LOVED, OBSCURE = ITEMS // 3, ITEMS - 10
CLICKS = 300
# Views that are recorded together.
AT_ONCE = 50
VECTORS = np.random.default_rng(3).normal(size=(ITEMS, 4)).astype(np.float32)
FEATURES = [ItemFeatures(f"i{n:02}", VECTORS[n], "m@1", 10.0, "Shelf", "B") for n in range(ITEMS)]
BY_ID = {item.item_id: item for item in FEATURES}


class View(NamedTuple):
    """A page that a visitor saw. `rows` are items."""

    shown_s: float
    visitor: str
    rows: list[int]
    clicked: list[int]


def shop(folder: Path, has_fakes: bool) -> SqliteProfileStore:
    """A day of a shop: each visitor sees two pages. Each fake one clicks obscure items, three hundred times."""
    random, store = np.random.default_rng(5), SqliteProfileStore(folder)
    chances = np.where(np.arange(ITEMS) < LOVED, 0.6, np.where(np.arange(ITEMS) < OBSCURE, 0.2, 0.03))
    views = list[View]()
    for at in range(2 * VISITORS):
        rows = random.choice(ITEMS, PAGE, replace=False)
        clicked = [row for row in rows if random.random() < chances[row]]
        views.append(View(NOW_S - 60.0 * (2 * VISITORS - at), f"v{at % VISITORS}", rows.tolist(), clicked))
    if has_fakes:
        for fake in range(FAKE):
            for n in range(CLICKS // PAGE):
                obscure = [OBSCURE + (n + place) % (ITEMS - OBSCURE) for place in range(PAGE)]
                views.append(View(NOW_S - 40_000 + 60.0 * n + fake, f"fake{fake}", obscure, obscure))
    views.sort()
    for first in range(0, len(views), AT_ONCE):
        record(store, views[first : first + AT_ONCE])
    return store


def record(store: SqliteProfileStore, views: list[View]) -> None:
    pages = [
        ranked(
            store, BY_ID, [f"i{row:02}" for row in view.rows], f"r{view.shown_s}", view.shown_s, visitor=view.visitor,
            matches=[0.5] * PAGE,
        )
        for view in views
    ]  # fmt: skip
    events = [
        Event(
            f"{view.shown_s}/{row}", "", "", f"i{row:02}", EventType.CLICK, view.shown_s + 1 + row,
            visitor_id=view.visitor,
        )
        for view in views
        for row in view.clicked
    ]  # fmt: skip
    store.record_impressions("default", pages, FEATURES)
    store.record([Batch("default", events, FEATURES)])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[SqliteProfileStore]:
    """Without and with fake visitors."""
    return [shop(tmp_path_factory.mktemp("shop"), has_fakes) for has_fakes in (False, True)]


def test_popular_items_stay(stores: list[SqliteProfileStore]) -> None:
    """The first ten popular items are the same ones, in the same order but for ties."""
    honest, attacked = ([item for item, _ in store.popular("default", "", 10, NOW_S)] for store in stores)
    assert attacked == honest
    obscure = [f"i{n:02}" for n in range(OBSCURE, ITEMS)]
    before, after = (np.array(store.popularity("default", obscure, NOW_S)) for store in stores)
    assert (after - before).max() <= FAKE


def test_a_model_orders_as_before(stores: list[SqliteProfileStore]) -> None:
    """A model that is trained on the log with fake visitors still has no obscure item among its first ten."""
    orders = []
    for store in stores:
        examples = ExampleReader(store, window_s=WINDOW_S).read(NOW_S + WINDOW_S)
        model = LearnableRanker(NetworkSettings(4), vector_version="m@1", seed=1)
        model.update(examples, epochs=4)
        clicks = model.predict(examples)["click"]
        # The mean prediction for each item.
        items = examples.item_ids[examples.item]
        known = sorted(set(items.tolist()))
        means = {item: float(clicks[items == item].mean()) for item in known}
        orders.append(sorted(known, key=lambda item: -means[item]))
    honest, attacked = (order[:LOVED] for order in orders)
    assert len(set(honest) & set(attacked)) >= 0.8 * LOVED
    assert not any(int(item[1:]) >= OBSCURE for item in attacked)
