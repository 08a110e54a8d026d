"""Histories of items, and their leave-one-out split."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
SEQUENCE, USER, ITEM = "asin_sequence_chronological", "user", "asin"
# A user with fewer items is in training only: without one item each for training, validation and test.
SHORTEST = 3


@dataclass(frozen=True)
class ItemText:
    """Text of an item; empty fields are unknown. `categories` are separated by "|"."""

    keywords: str = ""
    brand: str = ""
    categories: str = ""


@dataclass(frozen=True)
class Histories:
    """`sequences[u]`, of the user `user_ids[u]`: indices of `item_ids` in chronological order."""

    sequences: Sequence[IntArray]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    texts: Sequence[ItemText]

    @property
    def item_count(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True)
class Split:
    """`train` fits the parameters while settings are chosen: the method predicts `valid_targets[i]` from
    `valid_histories[i]`. With the chosen settings `known` fits them again, which is all that the test does not hide:
    `test_targets[i]`, of the user `test_users[i]`, is predicted from `test_histories[i]`.
    """

    train: Sequence[IntArray]
    valid_histories: Sequence[IntArray]
    valid_targets: IntArray
    known: Sequence[IntArray]
    test_users: IntArray
    test_histories: Sequence[IntArray]
    test_targets: IntArray


def read_histories(sequences: Path, items: Path) -> Histories:
    """`sequences`: a column of item ids separated by spaces, optionally one of user ids; `items`: asin, and any of
    keywords, brand, categories.

    An item without a row in `items` has no text; one that no sequence has is an item too. Raises ValueError that names
    a missing column or a user given twice.
    """
    rows = _rows(sequences, SEQUENCE)
    row_of: dict[str, int] = {}
    found = [np.array([row_of.setdefault(item, len(row_of)) for item in row[SEQUENCE].split()], int) for row in rows]
    users = [row.get(USER) or f"user-{number}" for number, row in enumerate(rows)]
    if len(set(users)) < len(users):
        raise ValueError(f"{sequences} has a {USER} in two rows; join the rows of each user")
    texts = {
        row[ITEM]: ItemText(*(row.get(name) or "" for name in ("keywords", "brand", "categories")))
        for row in _rows(items, ITEM)
    }
    for item in texts:
        row_of.setdefault(item, len(row_of))
    return Histories(found, users, list(row_of), [texts.get(item, ItemText()) for item in row_of])


def leave_one_out(histories: Histories) -> Split:
    """The last item of each user is the test, the one before it the validation, the others are for training.

    Users with fewer than `SHORTEST` items are for training only.
    """
    rows = [row for row, sequence in enumerate(histories.sequences) if len(sequence) >= SHORTEST]
    long = [histories.sequences[row] for row in rows]
    short = [sequence for sequence in histories.sequences if 0 < len(sequence) < SHORTEST]
    return Split(
        train=[*(sequence[:-2] for sequence in long), *short],
        valid_histories=[sequence[:-2] for sequence in long],
        valid_targets=np.array([sequence[-2] for sequence in long], np.int64),
        known=[*(sequence[:-1] for sequence in long), *short],
        test_users=np.array(rows, np.int64),
        test_histories=[sequence[:-1] for sequence in long],
        test_targets=np.array([sequence[-1] for sequence in long], np.int64),
    )


def _rows(path: Path, needed: str) -> list[Mapping[str, str]]:
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8", newline="") as file
    ):
        reader = csv.DictReader(file)
        if needed not in (reader.fieldnames or ()):
            raise ValueError(f"{path} has no column {needed!r}; it has {', '.join(reader.fieldnames or ())}")
        return list(reader)
