"""Groups of variants: one row for each group, and the rows of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.common.filters import SortOrder
from services.retrieval.domain.catalogue.effective import EffectiveOffers
from services.retrieval.domain.catalogue.growing import BoolArray, IntArray, RowArray
from services.retrieval.domain.catalogue.number_map import NOWHERE
from services.retrieval.domain.catalogue.table import Table
from services.retrieval.domain.catalogue.walk import order_values


def representatives_of(table: Table, rows: RowArray, sort: SortOrder, offers: EffectiveOffers) -> RowArray:
    """Of each group that `rows` has variants of, one row: in stock if there is one, then the first in the order."""
    if table.group_count == table.alive_count:
        return rows
    groups = table.groups.view.take(rows)
    in_stock = offers.in_stock.take(rows)
    has_stock = np.zeros(len(table.group_hashes), np.bool_)
    has_stock[groups.take(np.flatnonzero(in_stock))] = True
    rows = rows.take(np.flatnonzero(in_stock | ~has_stock.take(groups)))
    if sort is not SortOrder.RELEVANCE:
        values, groups = order_values(table, rows, sort, offers), table.groups.view.take(rows)
        lowest = np.full(len(table.group_hashes), np.inf)
        np.minimum.at(lowest, groups, values)
        rows = rows.take(np.flatnonzero(values == lowest.take(groups)))
    keys, groups = table.keys.view.take(rows), table.groups.view.take(rows)
    first = np.full(len(table.group_hashes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, groups, keys)
    return rows.take(np.flatnonzero(keys == first.take(groups)))


def variants_of(table: Table, ids: Sequence[str], alive: BoolArray) -> list[RowArray]:
    """By id of a group its rows that are `alive` [rows], by key; none for an unknown group."""
    numbers = table.groups_of(ids)
    wanted = np.zeros(len(table.group_hashes), np.bool_)
    wanted[numbers[numbers != NOWHERE]] = True
    rows = np.flatnonzero(wanted.take(table.groups.view[: len(alive)]) & alive)
    rows = rows.take(np.argsort(table.keys.view.take(rows)))
    groups = table.groups.view.take(rows)
    return [rows.take(np.flatnonzero(groups == number)) for number in numbers.tolist()]


def place_in_group(groups: IntArray) -> RowArray:
    """[n]: how many of the entries before each one are of its group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(groups)]
    firsts = np.flatnonzero(is_first)
    places = np.empty(len(groups), np.intp)
    places[order] = np.arange(len(groups)) - np.repeat(firsts, np.diff(firsts, append=len(groups)))
    return places
