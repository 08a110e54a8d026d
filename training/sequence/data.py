"""Histories of items, and their splits into training, validation and test."""

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
    """Text of an item; empty fields are unknown. `categories` are separated by "|"."""

    keywords: str = ""
    brand: str = ""
    categories: str = ""


@dataclass(frozen=True)
class Histories:
    """`sequences[u]`: indices of `item_ids` in chronological order; `times[u]`: their times, if the file has times."""

    sequences: Sequence[IntArray]
    item_ids: Sequence[str]
    texts: Sequence[ItemText]
    times: Sequence[npt.NDArray[np.float64]] | None = None

    @property
    def item_count(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True)
class Split:
    """`train` sequences fit parameters. A method predicts `targets[i]` from `histories[i]`.

    `valid_*` select settings and fit the re-ranking; the test histories contain the validation targets.
    """

    train: Sequence[IntArray]
    valid_histories: Sequence[IntArray]
    valid_targets: IntArray
    test_histories: Sequence[IntArray]
    test_targets: IntArray


def read_histories(sequences: Path, items: Path) -> Histories:
    """`sequences`: a column of item ids separated by spaces; `items`: asin, and any of keywords, brand, categories.

    An item without a row in `items` has no text. Raises ValueError that names a missing column or a wrong row.
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
    """The last item of each user is the test, the one before it the validation, the others are for training.

    Users with fewer than three items are for training only.
    """
    long = [sequence for sequence in histories.sequences if len(sequence) >= 3]
    short = [sequence for sequence in histories.sequences if len(sequence) < 3]
    return Split(
        train=[*(sequence[:-2] for sequence in long), *short],
        valid_histories=[sequence[:-2] for sequence in long],
        valid_targets=np.array([sequence[-2] for sequence in long]),
        test_histories=[sequence[:-1] for sequence in long],
        test_targets=np.array([sequence[-1] for sequence in long]),
    )


def global_temporal(histories: Histories, share: float = 0.1) -> Split:
    """One cut in time for all users: the latest `share` of interactions is the test period.

    The target is each user's first interaction in the test period, the history all interactions before it. Validation
    is the period before, of the same size. Missing times are estimated (`estimated_times`).
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
        train=[sequence for sequence in past[0] if len(sequence)],
        valid_histories=[past[0][user] for user in first[0]],
        valid_targets=np.array(list(first[0].values()), dtype=np.int64),
        test_histories=[past[1][user] for user in first[1]],
        test_targets=np.array(list(first[1].values()), dtype=np.int64),
    )


def estimated_times(histories: Histories) -> list[npt.NDArray[np.float64]]:
    """Estimated times from the order of the sequences alone, up to scale; they never decrease within a sequence.

    Each item gets the time that fits the order of all sequences best: least squares over differences of 1 between
    neighbours (HodgeRank, Jiang et al., Mathematical Programming 2011). The time of an interaction is that of its item,
    or the latest time before it in the sequence. A split by such times separates items rather than days: its targets
    are items that do not occur in training.
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
