"""The pool of a relevance judgement: the first results of several settings for the same queries, and their grades.

It is one CSV file. A row is a product that at least one setting found for a query. `position:NAME` is its place in the
results of the setting NAME; 0: the setting was asked and did not have it among the first ten; empty: it was not asked.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.json_format import ParseDict, ParseError

from catalog.rows import FileRefused, column_names, read_rows
from kairos.gateway.v1 import gateway_pb2
from training.bootstrap import mean_interval
from training.search.data import NDCG_DEPTH, ndcg

MAX_QUERIES, MAX_SETTINGS = 2_000, 8
# Results of each query that are pooled and judged.
DEPTH = NDCG_DEPTH
PRECISION_DEPTH, RELEVANT, MAX_GRADE = 5, 2, 3
# Queries with the largest differences that a report names.
_NAMED_QUERIES = 10
_SEED = 0

_COLUMNS = ("query", "product_id", "title", "grade")
_POSITION = "position:"
# A further column: the grades of a language model.
MODEL_COLUMN = "model_grade"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TARGET = re.compile(r"[^\s{}\"]+:\d{1,5}")
# Of a search: these the pool sets itself.
_OWN_FIELDS = ("query", "page_size", "page_token", "image", "similar_to_id", "sort")


@dataclass(frozen=True)
class Setting:
    """How a query is sent. `target`: host:port of the gateway; empty: that of the command."""

    name: str
    target: str = ""
    request: gateway_pb2.SearchRequest = field(default_factory=gateway_pb2.SearchRequest)

    def of_query(self, query: str) -> gateway_pb2.SearchRequest:
        message = gateway_pb2.SearchRequest(query=query, page_size=DEPTH)
        message.MergeFrom(self.request)
        return message


@dataclass
class Judged:
    """A product of a query. `positions`: by setting that was asked, the place from 1 on, or 0. `others`: further
    columns of the file, which stay.
    """

    title: str
    grade: int | None = None
    positions: dict[str, int] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)


# By query, then by product id.
Pool = dict[str, dict[str, Judged]]


@dataclass(frozen=True)
class Figures:
    """Of one setting. `ndcg` and `precision` [queries]: by query of `queries`; NaN in `ndcg` if no product of the query
    has a grade above 0. `unjudged`: results among the first ten without a grade; they count as 0.
    """

    setting: str
    queries: Sequence[str]
    ndcg: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    unjudged: int


def parse_setting(text: str) -> Setting:
    """NAME, NAME=HOST:PORT or NAME={fields of SearchRequest as JSON}. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name; send 1 to 32 lower-case letters, digits and hyphens")
    if not equals:
        return Setting(name)
    if _TARGET.fullmatch(value):
        return Setting(name, value)
    request = gateway_pb2.SearchRequest()
    try:
        fields = json.loads(value)
        if not isinstance(fields, dict):
            raise ValueError("it is no object")
        ParseDict(fields, request)
    except (ValueError, ParseError, RecursionError) as error:
        problem = f"{name}: {value[:80]!r} is neither host:port nor the JSON of a SearchRequest: {error}"
        raise ValueError(problem) from None
    if own := [each for each in _OWN_FIELDS if each in {known.name for known, _ in request.ListFields()}]:
        raise ValueError(f"{name}: leave out {own[0]}: the pool sets it, or it has no place in a judgement")
    return Setting(name, "", request)


def parse_settings(texts: Sequence[str]) -> list[Setting]:
    """Raises ValueError for a wrong setting, too many, and a name that comes twice."""
    settings = [parse_setting(text) for text in texts]
    names = [setting.name for setting in settings]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} comes twice; give each setting a name of its own")
    _check_count(names)
    return settings


def read_pool(path: Path) -> Pool:
    """Raises FileRefused that names the column, or the line and the remedy."""
    pool: Pool = {}
    header = column_names(path) or []
    if missing := [name for name in _COLUMNS if name not in header]:
        raise FileRefused(f"{path} has no column {missing[0]!r}; it has {', '.join(header)}")
    settings = [name.removeprefix(_POSITION) for name in header if name.startswith(_POSITION)]
    others = [name for name in header if name not in _COLUMNS and not name.startswith(_POSITION)]
    for row in read_rows(path):
        if row.problem:
            raise FileRefused(f"{path}, line {row.line}: {row.problem}")
        values = {name: str(row.values.get(name) or "").strip() for name in header}
        query, id, title, grade = (values[name] for name in _COLUMNS)
        if not query or not id:
            raise FileRefused(f"{path}, line {row.line}: query or product_id is empty; remove the row")
        products = pool.setdefault(query, {})
        if id in products:
            raise FileRefused(f"{path}, line {row.line}: {id!r} comes twice for {query!r}; remove one of the rows")
        if len(pool) > MAX_QUERIES:
            raise FileRefused(f"{path} has more than {MAX_QUERIES:,} queries; split it")
        products[id] = Judged(
            title,
            _whole(grade, MAX_GRADE, f"{path}, line {row.line}: grade") if grade else None,
            {
                name: _whole(place, DEPTH, f"{path}, line {row.line}: {_POSITION}{name}")
                for name in settings
                if (place := values[_POSITION + name])
            },
            {name: values[name] for name in others},
        )
    return pool


def write_pool(path: Path, pool: Pool) -> None:
    """Whole or not at all. The order of a query's products says nothing about their positions: a person who grades
    should not see which setting preferred what.
    """
    settings = settings_of(pool)
    _check_count(settings)
    others = list(dict.fromkeys(name for entry in _entries(pool) for name in entry.others))
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*_COLUMNS, *others, *(_POSITION + name for name in settings)])
        for query, products in pool.items():
            for id in sorted(products, key=lambda id: hashlib.blake2b(f"{query}\n{id}".encode()).digest()):
                entry = products[id]
                grade = "" if entry.grade is None else entry.grade
                kept = [entry.others.get(name, "") for name in others]
                places = [entry.positions.get(name, "") for name in settings]
                writer.writerow([query, id, entry.title, grade, *kept, *places])
    draft.replace(path)


def add_results(pool: Pool, query: str, setting: str, results: Iterable[tuple[str, str]]) -> int:
    """`results`: (product id, title), best first; they replace those that `setting` had. Grades stay.

    Returns the number of new rows.
    """
    products = pool.setdefault(query, {})
    before = len(products)
    asked = {name for entry in products.values() for name in entry.positions}
    for entry in products.values():
        entry.positions[setting] = 0
    for position, (id, title) in enumerate(results, start=1):
        entry = products.setdefault(id, Judged(title, positions=dict.fromkeys(asked, 0)))
        entry.positions[setting] = position
    if not products:
        del pool[query]
    return len(products) - before


def with_model_grades(pool: Pool) -> Pool:
    """The grades of `kairos judge grade` where no person has graded."""
    return {
        query: {
            id: replace(
                entry, grade=model_grade(entry.others.get(MODEL_COLUMN)) if entry.grade is None else entry.grade
            )
            for id, entry in products.items()
        }
        for query, products in pool.items()
    }


def model_grade(value: Any) -> int | None:
    """What a model wrote as a grade; None if it is none."""
    text = str(value).strip()
    return int(text) if text.isdigit() and int(text) <= MAX_GRADE else None


def settings_of(pool: Pool) -> list[str]:
    """Names of the settings, in the order in which they were pooled."""
    return list(dict.fromkeys(name for entry in _entries(pool) for name in entry.positions))


def figures_of(pool: Pool, setting: str) -> Figures:
    """Over the queries that were asked with this setting and have a grade."""
    queries, gains, precisions, unjudged = [], list[float](), list[float](), 0
    for query, products in pool.items():
        grades = {id: entry.grade for id, entry in products.items() if entry.grade is not None}
        found = {id: entry.positions[setting] for id, entry in products.items() if setting in entry.positions}
        if not grades or not found:
            continue
        first = sorted((id for id, position in found.items() if position), key=found.__getitem__)[:DEPTH]
        queries.append(query)
        # Its gains are 2^(relevance - 1) - 1.
        gains.append(ndcg(first, {id: grade + 1.0 for id, grade in grades.items()}, DEPTH))
        relevant = sum(grades.get(id, 0) >= RELEVANT for id in first[:PRECISION_DEPTH])
        precisions.append(relevant / PRECISION_DEPTH)
        unjudged += sum(id not in grades for id in first)
    return Figures(setting, queries, np.array(gains), np.array(precisions), unjudged)


def report_of(pool: Pool, chosen: Sequence[str]) -> dict[str, Any]:
    """Figures of each setting of `chosen`; of exactly two also the difference, second less first, over the queries that
    both have. Raises ValueError for an unknown setting, and if no query has a grade.
    """
    known = settings_of(pool)
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(f"{unknown[0]!r} is not in the file; it has {', '.join(known)}")
    figures = [figures_of(pool, name) for name in chosen or known]
    if not any(each.queries for each in figures):
        raise ValueError(f"no query has a grade; fill in the column `grade` with 0 to {MAX_GRADE}")
    report: dict[str, Any] = {
        "queries": len(pool),
        "settings": [
            {
                "name": each.setting, "judged_queries": len(each.queries), "ndcg@10": _mean(each.ndcg),
                "p@5": _mean(each.precision), "unjudged": each.unjudged,
            }
            for each in figures
        ],
    }  # fmt: skip
    if len(figures) == 2:
        report["difference"] = _difference(*figures)
    return report


def _difference(first: Figures, second: Figures) -> dict[str, Any]:
    rows = {query: row for row, query in enumerate(second.queries)}
    both = [(query, row, rows[query]) for row, query in enumerate(first.queries) if query in rows]
    left, right = [row for _, row, _ in both], [row for _, _, row in both]
    ndcgs = second.ndcg[right] - first.ndcg[left]
    by_query: list[dict[str, Any]] = [
        {
            "query": query,
            "ndcg@10": [round(float(first.ndcg[row]), 4), round(float(second.ndcg[other]), 4)],
            "difference": round(float(change), 4),
        }
        for (query, row, other), change in zip(both, ndcgs, strict=True)
        if math.isfinite(change) and change
    ]
    by_query.sort(key=lambda each: (-abs(each["difference"]), each["query"]))
    return {
        "settings": [first.setting, second.setting], "queries": len(both), "ndcg@10": _mean(ndcgs),
        "p@5": _mean(second.precision[right] - first.precision[left]),
        "better": sum(each["difference"] > 0 for each in by_query),
        "worse": sum(each["difference"] < 0 for each in by_query),
        "largest": by_query[:_NAMED_QUERIES],
    }  # fmt: skip


def _mean(values: npt.NDArray[np.float64]) -> dict[str, Any] | None:
    """The mean with its 95 % interval over queries; None without a value."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    return {"mean": round(float(finite.mean()), 4), "interval": list(mean_interval(finite, _SEED))}


def _entries(pool: Mapping[str, Mapping[str, Judged]]) -> Iterator[Judged]:
    return (entry for products in pool.values() for entry in products.values())


def _whole(text: str, most: int, where: str) -> int:
    """A spreadsheet may write 2.0 for 2."""
    digits = text.removesuffix(".0")
    if not (digits.isascii() and digits.isdigit() and int(digits) <= most):
        raise FileRefused(f"{where} is {text[:40]!r}; write a whole number from 0 to {most}, or leave it empty")
    return int(digits)


def _check_count(names: Sequence[str]) -> None:
    if len(names) > MAX_SETTINGS:
        raise ValueError(f"{len(names)} settings; at most {MAX_SETTINGS} in one file")
