"""Purchases with the query before them, in the file format of HEM's data sets (Ai et al., SIGIR 2017)."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

# Unique rows (user, query, item), shape [n, 3].
Purchases = npt.NDArray[np.int32]
# By (user, query): the bought items, which a ranking should find.
Targets = Mapping[tuple[int, int], frozenset[int]]


@dataclass(frozen=True)
class Shop:
    """Users, queries and items are identified by their index. `labels` are an item's categories, () if unknown."""

    users: Sequence[str]
    queries: Sequence[str]
    item_ids: Sequence[str]
    brands: Sequence[str]
    labels: Sequence[tuple[str, ...]]

    def text(self, item: int) -> str:
        return " ".join(part for part in (self.brands[item], *self.labels[item]) if part)


@dataclass(frozen=True)
class Split:
    """`past` is known to a method; `targets` measure it."""

    past: Purchases
    targets: Targets


def read_shop(folder: Path, without: Collection[str] = ()) -> tuple[Shop, Split]:
    """Reads query_text.txt.gz, {train,test}.qrels.gz and items.tsv.gz; brand and categories are optional columns.

    Columns in `without` are not read. Raises FileNotFoundError, and ValueError that names a wrong line.
    """
    with gzip.open(folder / "query_text.txt.gz", "rt", encoding="utf-8") as file:
        queries = [line.strip() for line in file]
    rows = _item_rows(folder / "items.tsv.gz")
    users: dict[str, int] = {}
    items = {row["asin"]: place for place, row in enumerate(rows)}
    past, test = (_read_qrels(folder / f"{name}.qrels.gz", users, items, len(queries)) for name in ("train", "test"))
    rows += [{"asin": item_id} for item_id in list(items)[len(rows) :]]
    brands, categories = (
        ["" if name in without else (row.get(name) or "").strip() for row in rows] for name in ("brand", "categories")
    )
    shop = Shop(
        list(users),
        queries,
        list(items),
        brands,
        [tuple(filter(None, map(str.strip, joined.split("|")))) for joined in categories],
    )
    return shop, Split(past, _targets(test))


def hold_out(past: Purchases, hidden_share: float, cold_share: float, seed: int) -> Split:
    """Splits `past` in the way of HEM's test: `hidden_share` of the purchases become targets.

    At most `cold_share` of the queries, drawn at random, are cold: all their purchases leave the past, and only they
    have targets. Every item keeps at least one query. Without cold queries, all hidden purchases are targets.
    """
    random = np.random.default_rng(seed)
    purchases, of_row = np.unique(past[:, [0, 2]], axis=0, return_inverse=True)
    hidden = random.random(len(purchases))[of_row.ravel()] < hidden_share
    queries = np.unique(past[:, 1])
    cold = _cold_queries(past, round(cold_share * len(queries)), random)
    is_cold = np.isin(past[:, 1], cold)
    if (hidden & is_cold).any():
        return Split(past[~hidden & ~is_cold], _targets(past[hidden & is_cold]))
    return Split(past[~hidden], _targets(past[hidden]))


def share_of_cold(split: Split) -> float:
    """Share of the target queries that have no purchase in the past."""
    known = set(split.past[:, 1].tolist())
    queries = {query for _, query in split.targets}
    return len(queries - known) / max(len(queries), 1)


def _cold_queries(past: Purchases, most: int, random: np.random.Generator) -> list[int]:
    pairs = np.unique(past[:, 1:], axis=0)
    left = np.bincount(pairs[:, 1])
    items_of: defaultdict[int, list[int]] = defaultdict(list)
    for query, item in pairs.tolist():
        items_of[query].append(item)
    cold: list[int] = []
    for query in random.permutation(sorted(items_of)).tolist():
        if len(cold) < most and (left[items_of[query]] > 1).all():
            cold.append(query)
            left[items_of[query]] -= 1
    return cold


def _targets(purchases: Purchases) -> Targets:
    found: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for user, query, item in purchases.tolist():
        found[user, query].add(item)
    return {pair: frozenset(items) for pair, items in found.items()}


def _item_rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        by_id = {row["asin"]: row for row in rows}
    return list(by_id.values())


def _read_qrels(path: Path, users: dict[str, int], items: dict[str, int], queries: int) -> Purchases:
    """Lines "user_query 0 item 1". Adds new users and items to `users` and `items`."""
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                pair, _, item_id, _ = line.split()
                user_id, query = pair.rsplit("_", 1)
                row = (users.setdefault(user_id, len(users)), int(query), items.setdefault(item_id, len(items)))
            except ValueError:
                raise ValueError(f'{path}, line {number}: {line.strip()!r} is not "user_query 0 item 1"') from None
            if not 0 <= row[1] < queries:
                raise ValueError(f"{path}, line {number}: query {row[1]} is none of {queries}")
            rows.append(row)
    return _once(rows)


def _once(rows: Iterable[tuple[int, int, int]]) -> Purchases:
    found: Purchases = np.array(sorted(set(rows)), np.int32).reshape(-1, 3)
    return found
