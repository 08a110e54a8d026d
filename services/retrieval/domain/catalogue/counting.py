"""Exact counts: how many matches, or groups of them, have each value of a field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.catalogue.field_columns import MISSING, FieldColumn, Matched
from services.retrieval.domain.catalogue.growing import IntArray, RowArray
from services.retrieval.domain.catalogue.spellings import Spellings
from services.retrieval.domain.catalogue.table import Table

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """What is counted: products, or groups of variants if `owners` [rows] gives the group of each row."""

    owners: IntArray | None = None

    @classmethod
    def of(cls, table: Table, *, collapse: bool) -> Units:
        """Groups are counted as products if no group has several of them."""
        return cls(table.groups.view if collapse and table.group_count < table.alive_count else None)

    def total(self, matched: Matched) -> int:
        """Units with at least one match."""
        if self.owners is None:
            return int(np.count_nonzero(matched.mask))
        owners = self.owners.take(matched.rows)
        seen = np.zeros(int(owners.max(initial=MISSING)) + 1, np.bool_)
        seen[owners] = True
        return int(np.count_nonzero(seen))

    def of_rows(self, rows: RowArray | IntArray) -> RowArray | IntArray:
        return rows if self.owners is None else self.owners.take(rows)


@dataclass(frozen=True)
class ValueCounts:
    """`counts` [values]; `with_value`: units that have any."""

    counts: Counts
    with_value: int


def count_values(column: FieldColumn, rows: RowArray | IntArray, codes: IntArray, units: Units) -> ValueCounts:
    """A unit counts once for each value that any of its matches has, and for each value above it.

    `rows` and `codes`: the column's pairs of the matches.
    """
    spellings, levels = column.spellings, column.levels()
    if units.owners is None:
        # A product has each value once, in one spelling.
        by_code = np.bincount(codes, minlength=len(spellings))
        if levels is None:
            return ValueCounts(_by_value(spellings, by_code), count_distinct(rows))
        above = np.zeros(len(spellings), np.int64)
        for level in levels:
            present = np.flatnonzero((level != MISSING) & (by_code > 0))
            above += _summed(level.take(present), by_code.take(present), len(spellings))
        return ValueCounts(_by_value(spellings, above), count_distinct(rows))
    owners, values = distinct_pairs(units.of_rows(rows), codes if levels else spellings.value_of.take(codes))
    with_value = count_distinct(owners)
    if levels is None:
        return ValueCounts(np.bincount(values, minlength=spellings.value_count), with_value)
    counts = np.zeros(spellings.value_count, np.int64)
    for level in levels:
        at = level.take(values)
        present = np.flatnonzero(at != MISSING)
        _, above = distinct_pairs(owners.take(present), spellings.value_of.take(at.take(present)))
        counts += np.bincount(above, minlength=spellings.value_count)
    return ValueCounts(counts, with_value)


def distinct_pairs(
    owners: RowArray | IntArray, values: RowArray | IntArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each pair (owner, value) once, by owner. `values` are not negative.

    Both in one number: numpy sorts a million of them in 10 ms, and rows of two columns in 100.
    """
    bits = int(values.max(initial=0)).bit_length()
    pairs = (owners.astype(np.int64) << bits) | values
    pairs.sort()
    is_first = np.ones(len(pairs), np.bool_)
    np.not_equal(pairs[1:], pairs[:-1], out=is_first[1:])
    pairs = pairs.take(np.flatnonzero(is_first))
    return pairs >> bits, pairs & ((1 << bits) - 1)


def count_distinct(ascending: npt.NDArray[np.signedinteger]) -> int:
    """Of an array in ascending order."""
    return int(np.count_nonzero(ascending[1:] != ascending[:-1])) + bool(len(ascending))


def _by_value(spellings: Spellings, by_code: Counts) -> Counts:
    """Without two spellings of a value, values have the numbers of their spellings."""
    if spellings.value_count == len(spellings):
        return by_code
    return _summed(spellings.value_of, by_code, spellings.value_count)


def _summed(places: RowArray | IntArray, amounts: Counts, size: int) -> Counts:
    """Exact as long as sums are below 2^53."""
    return np.bincount(places, weights=amounts, minlength=size).astype(np.int64)
