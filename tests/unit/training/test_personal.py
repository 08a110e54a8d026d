"""Personalised product search, on a made shop in which half of the shoppers buy red things and half buy blue ones."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from training.personal.companions import CompanionTraining
from training.personal.data import Shop, Split, hold_out, read_shop
from training.personal.ranking import Knowledge
from training.personal.signals import QUERY_FEATURES, FloatArray, Signals
from training.personal.train import (
    ALL_FEATURES,
    OF_THE_QUERY,
    PersonalTraining,
    know,
    lessons,
    mean_reciprocal_rank,
    ranks_of,
    train_ranker,
)

THINGS = ("case", "cable", "lamp", "chair", "mug", "tent")
COLOURS = ("red", "blue")
SHOPPERS = 60
# Two queries for each thing: what is bought after the one is bought after the other too.
QUERIES = [*(f"home {thing}" for thing in THINGS), *(f"gift {thing}" for thing in THINGS)]
SETTINGS = PersonalTraining(
    splits=2, epochs=(8,), companions=CompanionTraining(dimensions=8, epochs=30, batch=64, negatives=8)
)


def encode(texts: Sequence[str]) -> FloatArray:
    """No meaning at all: every text alike."""
    return np.tile(np.eye(4, dtype=np.float32)[:1], (len(texts), 1))


def write(folder: Path, header: str, rows: Sequence[str]) -> None:
    """A shop with items "red-case" and so on; each shopper buys four things of one colour, and a fifth in the test."""
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
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Split]:
    folder = tmp_path_factory.mktemp("shop")
    rows = [f"{colour}-{thing}\t\tHome | {thing}s | Gift" for colour in COLOURS for thing in THINGS]
    write(folder, "asin\tbrand\tcategories", rows)
    return read_shop(folder)


@pytest.fixture(scope="module")
def known(made: tuple[Shop, Split]) -> Knowledge:
    shop, split = made
    return know(shop, split.past, encode, SETTINGS)


def test_an_item_without_a_row_is_there(tmp_path: Path) -> None:
    """Items that only purchases name, and columns that are missing, leave items without words, not out."""
    write(tmp_path, "asin", ["red-case"])
    shop, split = read_shop(tmp_path)
    assert len(shop.item_ids) == len(COLOURS) * len(THINGS)
    assert set(shop.labels) == {()}
    assert set(shop.brands) == {""}
    assert len(split.wanted) == 2 * SHOPPERS


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    """A line of another form is refused with its number."""
    write(tmp_path, "asin", [])
    with gzip.open(tmp_path / "test.qrels.gz", "at", encoding="utf-8") as file:
        file.write("u_1_99 0 red-case 1\n")
    with pytest.raises(ValueError, match="query 99"):
        read_shop(tmp_path)


def test_what_is_held_out_is_not_known(made: tuple[Shop, Split]) -> None:
    """What is asked was bought after queries that the past does not hold, and the past holds no such purchase."""
    past = made[1].past
    split = hold_out(past, 0.3, 0.3, seed=1)
    asked = {query for _, query in split.wanted}
    bought = {(user, item) for user, _, item in split.past.tolist()}
    assert split.wanted
    assert asked.isdisjoint(split.past[:, 1].tolist())
    assert not any((user, item) in bought for (user, _), items in split.wanted.items() for item in items)
    assert set(split.past[:, 2].tolist()) == set(past[:, 2].tolist())


def test_without_labels_an_item_is_found_by_what_it_was_bought_after(made: tuple[Shop, Split]) -> None:
    """An item of which nothing is written has the words of the queries after which it was bought."""
    shop, split = made
    bare = Shop(shop.users, shop.queries, shop.item_ids, [""] * len(shop.item_ids), [()] * len(shop.item_ids))
    of_query = Signals(bare, split.past, encode).query_features(QUERIES.index("home mug"))
    coverage = of_query[:, QUERY_FEATURES.index("coverage")]
    assert {bare.item_ids[int(place)] for place in np.flatnonzero(coverage == coverage.max())} == {
        "red-mug",
        "blue-mug",
    }


def test_what_is_bought_together_is_near(made: tuple[Shop, Split], known: Knowledge) -> None:
    """A shopper of red things is nearer to each red thing not yet bought than to the same in blue."""
    shop = made[0]
    place_of = {item_id: place for place, item_id in enumerate(shop.item_ids)}
    history = known.signals.history(list(shop.users).index("u_0"))
    owned = {shop.item_ids[item].split("-")[1] for item in history.tolist()}
    for thing in set(THINGS) - owned:
        red, blue = known.companions.affinity(history, np.array([place_of[f"{c}-{thing}"] for c in COLOURS]))
        assert red > blue


def test_a_shopper_is_recognised(made: tuple[Shop, Split], known: Knowledge) -> None:
    """Of two items that fit a query alike the ranker puts the one first that is like the history."""
    shop, split = made
    given = lessons(shop, split.past, encode, SETTINGS)
    personal, query_only = (train_ranker(given, columns, SETTINGS)[0] for columns in (ALL_FEATURES, OF_THE_QUERY))
    assert mean_reciprocal_rank(personal, known, split.wanted) > 0.9
    assert mean_reciprocal_rank(query_only, known, split.wanted) < 0.85


def test_equal_scores_count_against() -> None:
    """Where all scores are equal, what is sought stands last."""
    assert ranks_of(np.zeros(5, np.float32), frozenset({2})) == [5]
