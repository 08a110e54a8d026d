"""Histories of items, and how they are split for a test."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.linalg import lsmr

IntArray = npt.NDArray[np.int64]
SEQUENCE, TIMES = "asin_sequence_chronological", "timestamps"


@dataclass(frozen=True)
class ItemText:
    """Words of an item; empty where unknown. `categories` are separated by "|"."""

    keywords: str = ""
    brand: str = ""
    categories: str = ""


@dataclass(frozen=True)
class Histories:
    """`sequences[u]` are rows of `item_ids` in the order of time; `times[u]` beside them where the file has any."""

    sequences: Sequence[IntArray]
    item_ids: Sequence[str]
    texts: Sequence[ItemText]
    times: Sequence[npt.NDArray[np.float64]] | None = None

    @property
    def item_count(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True)
class Split:
    """What may be learned from, and what is asked: after `histories[i]` of `learned` or of new users, `targets[i]`.

    `valid_*` choose settings and are asked after a user's part of `learned`; the test's histories hold them too.
    """

    learned: Sequence[IntArray]
    valid_histories: Sequence[IntArray]
    valid_targets: IntArray
    test_histories: Sequence[IntArray]
    test_targets: IntArray


def read_histories(sequences: Path, items: Path) -> Histories:
    """`sequences`: a column of item ids separated by spaces; `items`: asin, and any of keywords, brand, categories.

    An item without a row in `items` has no text. Raises ValueError that names a missing column.
    """
    rows = _rows(sequences, SEQUENCE)
    row_of: dict[str, int] = {}
    found = [np.array([row_of.setdefault(item, len(row_of)) for item in row[SEQUENCE].split()]) for row in rows]
    texts = {
        row["asin"]: ItemText(*(row.get(name) or "" for name in ("keywords", "brand", "categories")))
        for row in _rows(items, "asin")
    }
    times = None
    if rows and TIMES in rows[0]:
        times = [np.array(row[TIMES].split(), dtype=np.float64) for row in rows]
        wrong = next((i for i, (a, b) in enumerate(zip(found, times, strict=True)) if len(a) != len(b)), None)
        if wrong is not None:
            raise ValueError(f"{sequences}, row {wrong + 1}: {TIMES} and {SEQUENCE} differ in length")
    return Histories(found, list(row_of), [texts.get(item, ItemText()) for item in row_of], times)


def leave_one_out(histories: Histories) -> Split:
    """The last item of each user is the test, the one before it the validation, the rest is learned from.

    Users with fewer than three items are learned from only.
    """
    asked = [sequence for sequence in histories.sequences if len(sequence) >= 3]
    short = [sequence for sequence in histories.sequences if len(sequence) < 3]
    return Split(
        learned=[*(sequence[:-2] for sequence in asked), *short],
        valid_histories=[sequence[:-2] for sequence in asked],
        valid_targets=np.array([sequence[-2] for sequence in asked]),
        test_histories=[sequence[:-1] for sequence in asked],
        test_targets=np.array([sequence[-1] for sequence in asked]),
    )


def global_temporal(histories: Histories, share: float = 0.1) -> Split:
    """One moment for all: the latest `share` of acts are the future, and nothing of it is learned from.

    Asked is the first act of each user in the future, after what they did before it. Validation is a like split of the
    past. Where the file has no times they are estimated (`estimated_times`).
    """
    times = histories.times if histories.times is not None else estimated_times(histories)
    cuts = np.quantile(np.concatenate(times), [1 - 2 * share, 1 - share])
    past = [[sequence[when <= cut] for sequence, when in zip(histories.sequences, times, strict=True)] for cut in cuts]
    first = [
        {
            user: int(sequence[len(before[user])])
            for user, sequence in enumerate(ends)
            if 0 < len(before[user]) < len(sequence)
        }
        for before, ends in ((past[0], past[1]), (past[1], list(histories.sequences)))
    ]
    return Split(
        learned=[sequence for sequence in past[0] if len(sequence)],
        valid_histories=[past[0][user] for user in first[0]],
        valid_targets=np.array(list(first[0].values()), dtype=np.int64),
        test_histories=[past[1][user] for user in first[1]],
        test_targets=np.array(list(first[1].values()), dtype=np.int64),
    )


def estimated_times(histories: Histories) -> list[npt.NDArray[np.float64]]:
    """Times for sequences that have none but their order, up to scale; they never fall along a sequence.

    Each item gets the moment that agrees best with who came before whom: least squares over steps of one between
    neighbours (HodgeRank, Jiang et al., Mathematical Programming 2011). An act is at its item's moment, or at the
    latest one before it. A split by such times parts items, not days: what is asked after it is new.
    """
    pairs = np.concatenate(
        [np.stack([s[:-1], s[1:]], 1) for s in histories.sequences if len(s) > 1] or [np.zeros((0, 2), np.int64)]
    )
    rows = np.arange(len(pairs))
    steps = sp.csr_matrix(
        (np.repeat([-1.0, 1.0], len(pairs)), (np.tile(rows, 2), pairs.T.ravel())),
        shape=(len(pairs), histories.item_count),
    )
    moments = lsmr(steps, np.ones(len(pairs)), damp=1e-3, maxiter=500)[0]
    return [np.maximum.accumulate(moments[sequence]) for sequence in histories.sequences]


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
