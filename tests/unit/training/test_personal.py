"""Personalised product search on a synthetic shop: half of the users buy red products, the others blue ones."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from training.personal.co_purchase import CoPurchaseTraining
from training.personal.data import Shop, Split, hold_out, read_shop
from training.personal.ranking import PersonalFeatures
from training.personal.signals import QUERY_FEATURES, FloatArray, Signals
from training.personal.train import (
    ALL_COLUMNS,
    QUERY_COLUMNS,
    PersonalTraining,
    compute_features,
    held_out_splits,
    mean_reciprocal_rank,
    ranks_of,
    train_ranker,
)

THINGS = ("case", "cable", "lamp", "chair", "mug", "tent")
COLOURS = ("red", "blue")
SHOPPERS = 60
# Two queries for each thing: every item is bought after both.
QUERIES = [*(f"home {thing}" for thing in THINGS), *(f"gift {thing}" for thing in THINGS)]
SETTINGS = PersonalTraining(
    splits=2, epochs=(8,), co_purchase=CoPurchaseTraining(dimensions=8, epochs=30, batch=64, negatives=8)
)


def encode(texts: Sequence[str]) -> FloatArray:
    """The same vector for every text."""
    return np.tile(np.eye(4, dtype=np.float32)[:1], (len(texts), 1))


def write(folder: Path, header: str, rows: Sequence[str]) -> None:
    """A shop with items such as "red-case"; each user buys four things of one colour, and a fifth in the test."""
    random = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for shopper in range(SHOPPERS):
        things = random.permutation(len(THINGS))[:5].tolist()
        for place, thing in enumerate(things):
            item = f"{COLOURS[shopper % 2]}-{THINGS[thing]}"
            for query in (thing, thing + len(THINGS)):
                lines["train" if place < 4 else "test"].append(f"u_{shopper}_{query} 0 {item} 1\n")
    for name, text in (
        ("query_text.txt.gz", "\n".join(QUERIES) + "\n"),
        ("items.tsv.gz", "\n".join([header, *rows]) + "\n"),
        *((f"{name}.qrels.gz", "".join(found)) for name, found in lines.items()),
    ):
        with gzip.open(folder / name, "wt", encoding="utf-8") as file:
            file.write(text)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Split]:
    folder = tmp_path_factory.mktemp("shop")
    rows = [f"{colour}-{thing}\t\tHome | {thing}s | Gift" for colour in COLOURS for thing in THINGS]
    write(folder, "asin\tbrand\tcategories", rows)
    return read_shop(folder)


@pytest.fixture(scope="module")
def features(synthetic: tuple[Shop, Split]) -> PersonalFeatures:
    shop, split = synthetic
    return compute_features(shop, split.past, encode, SETTINGS)


def test_items_without_a_row_are_read(tmp_path: Path) -> None:
    """Items that only purchases name are part of the shop; missing columns leave brands and labels empty."""
    write(tmp_path, "asin", ["red-case"])
    shop, split = read_shop(tmp_path)
    assert len(shop.item_ids) == len(COLOURS) * len(THINGS)
    assert set(shop.labels) == {()}
    assert set(shop.brands) == {""}
    assert len(split.targets) == 2 * SHOPPERS


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    """A line with an unknown query is refused by name."""
    write(tmp_path, "asin", [])
    with gzip.open(tmp_path / "test.qrels.gz", "at", encoding="utf-8") as file:
        file.write("u_1_99 0 red-case 1\n")
    with pytest.raises(ValueError, match="query 99"):
        read_shop(tmp_path)


def test_held_out_purchases_leave_the_past(synthetic: tuple[Shop, Split]) -> None:
    """The past contains neither the target queries nor the target purchases, but every item."""
    past = synthetic[1].past
    split = hold_out(past, 0.3, 0.3, seed=1)
    queries = {query for _, query in split.targets}
    bought = {(user, item) for user, _, item in split.past.tolist()}
    assert split.targets
    assert queries.isdisjoint(split.past[:, 1].tolist())
    assert not any((user, item) in bought for (user, _), items in split.targets.items() for item in items)
    assert set(split.past[:, 2].tolist()) == set(past[:, 2].tolist())


def test_an_item_without_labels_has_the_words_of_its_queries(synthetic: tuple[Shop, Split]) -> None:
    """An item without brand and labels matches the words of the queries after which it was bought."""
    shop, split = synthetic
    bare = Shop(shop.users, shop.queries, shop.item_ids, [""] * len(shop.item_ids), [()] * len(shop.item_ids))
    of_query = Signals(bare, split.past, encode).query_features(QUERIES.index("home mug"))
    coverage = of_query[:, QUERY_FEATURES.index("coverage")]
    assert {bare.item_ids[int(row)] for row in np.flatnonzero(coverage == coverage.max())} == {
        "red-mug",
        "blue-mug",
    }


def test_co_purchased_items_are_near(synthetic: tuple[Shop, Split], features: PersonalFeatures) -> None:
    """A user of red products has a higher affinity to every new red product than to the blue one of the same kind."""
    shop = synthetic[0]
    row_of = {item_id: row for row, item_id in enumerate(shop.item_ids)}
    history = features.signals.history(list(shop.users).index("u_0"))
    owned = {shop.item_ids[item].split("-")[1] for item in history.tolist()}
    for thing in set(THINGS) - owned:
        red, blue = features.co_purchase.affinity(history, np.array([row_of[f"{c}-{thing}"] for c in COLOURS]))
        assert red > blue


def test_the_ranking_is_personal(synthetic: tuple[Shop, Split], features: PersonalFeatures) -> None:
    """Of two items that match a query equally the ranker prefers the one that is similar to the history."""
    shop, split = synthetic
    held_out = held_out_splits(shop, split.past, encode, SETTINGS)
    personal, query_only = (train_ranker(held_out, columns, SETTINGS)[0] for columns in (ALL_COLUMNS, QUERY_COLUMNS))
    assert mean_reciprocal_rank(personal, features, split.targets) > 0.9
    assert mean_reciprocal_rank(query_only, features, split.targets) < 0.85


def test_ties_rank_last() -> None:
    """Items with equal scores rank before the target."""
    assert ranks_of(np.zeros(5, np.float32), frozenset({2})) == [5]
