"""Exact facets and totals from the columns in memory: time of a search's counts, and memory.

    python -m benchmarks.facets --products 50000 1000000 --out facets.json

The products are generated: 12 to 40 words each (Zipf's law, 50,000 different ones), 500 brands, three levels of
categories, six attributes, a price, groups of 1 to 6 variants. A search has one to three words and counts its total and
four facets: category, brand, price and a colour; every second one has a filter. It is measured with and without
collapse, then with four facets chosen for the matches in place of the fixed ones. "browse" counts the whole catalogue;
"page" is one page of it by price. A finished size is written at once, and the same command continues from it.

To hold: p95 below 5 ms at 50,000 products without collapse.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from services.common.filters import PriceRange, ProductFilter, SortOrder
from services.common.money import Money
from services.common.product import Product
from services.retrieval.domain.catalogue.columns import CatalogueColumns
from services.retrieval.domain.catalogue.table import Entry
from services.retrieval.domain.catalogue.view import CatalogueView

# Words and filter.
Search = tuple[list[int], ProductFilter]

GOAL_P95_MS, GOAL_SIZE = 5.0, 50_000
FACETS = ("category", "brand", "price", "attributes.colour")
_WORDS, _BRANDS, _BATCH = 50_000, 500, 512
_ATTRIBUTES = {"colour": 24, "size": 30, "material": 12, "weight": 200, "waterproof": 2, "season": 4}
_VARYING = ("colour", "size")
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def generated(count: int, seed: int) -> Iterator[Entry]:
    """Variants of a group follow each other, and differ in colour, size, price and stock."""
    draw = random.Random(seed)
    key = 0
    while key < count:
        group, brand = f"group-{key}", f"Brand {_zipf(draw, _BRANDS)}"
        top, middle, leaf = draw.randrange(12), draw.randrange(8), draw.randrange(6)
        path = (f"Department {top}", f"Category {top}-{middle}", f"Type {top}-{middle}-{leaf}")
        words = {_zipf(draw, _WORDS) for _ in range(draw.randint(12, 40))}
        common = {name: _value(draw, name) for name in _ATTRIBUTES if name not in _VARYING}
        price = Decimal(round(math.exp(draw.gauss(3.5, 1.0)) * 100)) / 100
        for _ in range(min(draw.randint(1, 6), count - key)):
            yield Entry(
                key,
                Product(
                    id=f"{key:08}",
                    title="",
                    brand=brand,
                    category_path=path,
                    attributes=common | {name: _value(draw, name) for name in _VARYING},
                    price=Money("USD", price + draw.randrange(3)),
                    stock=draw.randrange(5),
                    created_at=_FIRST_DAY + timedelta(hours=draw.randrange(20_000)),
                    item_group_id=group,
                    sku=f"SKU-{key:07}",
                ),
                np.fromiter(words, np.uint32),
            )
            key += 1


def _zipf(draw: random.Random, size: int) -> int:
    """A rank from 0; the frequency of a rank falls as its inverse."""
    return int(size ** draw.random()) - 1


def _value(draw: random.Random, name: str) -> tuple[str, ...]:
    number = draw.randrange(_ATTRIBUTES[name])
    return (str(number) if name in ("size", "weight") else f"{name} {number}",)


def filled(count: int, seed: int) -> tuple[CatalogueColumns, dict[str, float]]:
    """The columns, and what they cost."""
    process, columns = psutil.Process(), CatalogueColumns()
    before, spent = process.memory_info().rss, 0.0
    batch: list[Entry] = []
    for entry in tqdm(generated(count, seed), total=count, desc=f"{count:,} products", unit=" products", mininterval=5):
        batch.append(entry)
        if len(batch) == _BATCH or entry.key == count - 1:
            started = time.perf_counter()
            columns.replace(batch)
            spent += time.perf_counter() - started
            batch.clear()
    with columns.reading() as view:
        arrays = view.nbytes()
    resident = process.memory_info().rss - before
    return columns, {
        "array_bytes_per_product": arrays / count,
        "resident_bytes_per_product": resident / count,
        "write_us_per_product": spent / count * 1e6,
    }


def counted(view: CatalogueView, search: Search, *, collapse: bool, best: bool) -> None:
    """The counts of one search."""
    words, narrowing = search
    conditions = view.conditions([narrowing], view.base_offers())
    matches = view.matches([[(word,)] for word in words], conditions)
    view.total(matches, collapse=collapse)
    view.facets(matches, () if best else FACETS, best_count=len(FACETS) if best else 0, collapse=collapse)


def browsed(view: CatalogueView, _: Search, *, collapse: bool) -> None:
    everything = view.everything(view.conditions([], view.base_offers()))
    view.total(everything, collapse=collapse)
    view.facets(everything, FACETS, collapse=collapse)


def paged(view: CatalogueView, _: Search, *, collapse: bool) -> None:
    everything = view.everything(view.conditions([], view.base_offers()))
    view.page(everything, SortOrder.PRICE_ASCENDING, None, 24, collapse=collapse)


def measured(columns: CatalogueColumns, searches: int, seed: int) -> dict[str, dict[str, float]]:
    """Milliseconds by what was computed, with taking the lock; of the clock, and of the processor."""
    draw = random.Random(seed + 1)
    price = PriceRange(Money("USD", Decimal(20)), Money("USD", Decimal(100)))
    filters = (
        ProductFilter(),
        ProductFilter(brands=("brand 3", "brand 7")),
        ProductFilter(),
        ProductFilter(price=price),
    )
    asked = [
        ([_zipf(draw, _WORDS) for _ in range(draw.randint(1, 3))], filters[number % len(filters)])
        for number in range(searches)
    ]
    few = asked[: max(searches // 10, 5)]
    found: dict[str, dict[str, float]] = {}
    for name, collapse in (("products", False), ("groups", True)):
        found[f"search, {name}"] = _timed(columns, asked, partial(counted, collapse=collapse, best=False))
        found[f"search, best facets, {name}"] = _timed(columns, asked, partial(counted, collapse=collapse, best=True))
        found[f"browse, {name}"] = _timed(columns, few, partial(browsed, collapse=collapse))
        found[f"page, {name}"] = _timed(columns, few, partial(paged, collapse=collapse))
    return found


def _timed(columns: CatalogueColumns, searches: Sequence[Search], work: Callable[..., None]) -> dict[str, float]:
    wall, cpu = [], []
    for search in searches:
        started, cpu_started = time.perf_counter(), time.thread_time()
        with columns.reading() as view:
            work(view, search)
        cpu.append((time.thread_time() - cpu_started) * 1e3)
        wall.append((time.perf_counter() - started) * 1e3)
    return {
        f"{name}p{share}_ms": float(np.percentile(times, share))
        for name, times in (("", wall), ("cpu_", cpu))
        for share in (50, 95)
    }


def one_size(count: int, searches: int, seed: int) -> dict[str, Any]:
    columns, costs = filled(count, seed)
    return {"costs": costs, "latencies": measured(columns, searches, seed)}


def shown(parts: dict[str, dict[str, Any]]) -> Table:
    table = Table("products", "what", "p50 ms", "p95 ms", "CPU p50", "CPU p95")
    for size, part in parts.items():
        for what, latency in part["latencies"].items():
            table.add_row(f"{int(size):,}", what, *(f"{value:.2f}" for value in latency.values()))
        table.add_row("", ", ".join(f"{name}: {value:.0f}" for name, value in part["costs"].items()), end_section=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = Results(options.out, {"searches": options.searches, "seed": options.seed})
    for count in options.products:
        results.part(str(count), lambda count=count: one_size(count, options.searches, options.seed))  # type: ignore[misc]
    Console().print(shown(results.parts))
    if (goal := results.parts.get(str(GOAL_SIZE))) is not None:
        p95 = goal["latencies"]["search, products"]["p95_ms"]
        print(f"p95 at {GOAL_SIZE:,} products without collapse: {p95:.2f} ms; goal: below {GOAL_P95_MS} ms")


if __name__ == "__main__":
    main()
