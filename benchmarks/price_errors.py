"""How many errors of prices an import finds: errors are planted in a catalogue, and what is listed as unusual counts.

    python -m benchmarks.price_errors --products P.csv --out R.json

In each run 2 % of the products get a price that is wrong by a factor: ten or a hundred times too much or too little, or
the amount of another currency (yen as dollars: 150, yuan as dollars: 7.2). "import" is the list of `kairos catalog
import`. The baseline compares each price with the median price of its category, with the better of two scales: the
spread of all products, or of the category's. Its bound is set so that it lists as many correct prices as the import.

P: a file for `kairos catalog import`, with prices; `--map` names the columns. Without it: the demo shop, whose prices
are made up, and easier than real ones.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from catalog.mapping import mapping_for, parse_mapping
from catalog.price_check import PriceCheck
from catalog.price_model import Floats, deviations
from catalog.rows import column_names, read_rows
from demo.catalogue import write_catalogue
from kairos.common.v1 import product_pb2
from services.common.convert import money_from_proto, money_to_proto
from services.common.money import Money, in_minor_units

FACTORS = (Decimal(10), Decimal(100), Decimal("0.1"), Decimal("0.01"), Decimal(150), Decimal("7.2"))
_SHARE = 0.02
_NONE = Decimal(1)


def products_of(file: Path, spec: str) -> list[product_pb2.Product]:
    """Those with a price above 0."""
    mapping, _ = mapping_for(file, parse_mapping(spec, column_names(file), "USD"))
    made = (mapping.product(row.values, lambda name, reason: None) for row in read_rows(file))
    return [each for each in made if each.HasField("price") and money_from_proto(each.price, "price").amount > 0]


def planted(
    products: Sequence[product_pb2.Product], seed: int
) -> tuple[list[product_pb2.Product], list[Decimal]]:  # fmt: skip
    """(the products, some with a wrong price; the factor of each, 1 for a correct one)."""
    wrong = np.random.default_rng(seed).permutation(len(products))[: int(_SHARE * len(products))].tolist()
    factors = [_NONE] * len(products)
    for place, row in enumerate(wrong):
        factors[row] = FACTORS[place % len(FACTORS)]
    made = []
    for product, factor in zip(products, factors, strict=True):
        copy = product_pb2.Product()
        copy.CopyFrom(product)
        money = money_from_proto(product.price, "price")
        # A price of a few cents cannot be a hundred times less.
        amount = in_minor_units(money.amount * factor, money.currency) or money.amount
        copy.price.CopyFrom(money_to_proto(Money(money.currency, amount)))
        made.append(copy)
    return made, factors


def listed(products: Sequence[product_pb2.Product]) -> set[int]:
    """The rows that the import lists."""
    check = PriceCheck()
    for line, product in enumerate(products, 1):
        check.add(line, product)
    return {each.line - 1 for each in check.found[0]}


def far_from_category(products: Sequence[product_pb2.Product], by_category: bool) -> Floats:
    """How many standard deviations each price is from the median of its category [n]."""
    categories = ["".join(product.category_path[-1:]) for product in products]
    logs = np.array([math.log(money_from_proto(product.price, "price").amount) for product in products])
    rows = defaultdict[str, list[int]](list)
    for row, category in enumerate(categories):
        rows[category].append(row)
    errors = np.zeros(len(logs))
    for own in rows.values():
        errors[own] = logs[own] - np.median(logs[own])
    return np.abs(errors) / deviations(errors, categories if by_category else [""] * len(logs))


def shares(found: set[int], factors: Sequence[Decimal]) -> dict[str, float]:
    """Of the products with each factor: how many were found. "1": correct prices."""
    rows = defaultdict[Decimal, list[int]](list)
    for row, factor in enumerate(factors):
        rows[factor].append(row)
    return {str(factor): len(found.intersection(rows[factor])) / len(rows[factor]) for factor in (_NONE, *FACTORS)}


def measure(products: Sequence[product_pb2.Product], seeds: int) -> dict[str, dict[str, list[float]]]:
    """By method and factor: the share that was found in each run."""
    results = defaultdict[str, dict[str, list[float]]](lambda: defaultdict(list))
    for seed in tqdm(range(seeds), unit=" runs"):
        made, factors = planted(products, seed)
        found = listed(made)
        ways = {"import": found}
        false = sum(factors[row] == _NONE for row in found)
        for name, by_category in (("category median, one spread", False), ("category median, its spread", True)):
            far = far_from_category(made, by_category)
            correct = np.sort(far[[row for row, factor in enumerate(factors) if factor == _NONE]])
            ways[name] = set(np.flatnonzero(far > correct[-false - 1]).tolist())
        for name, rows in ways.items():
            for factor, share in shares(rows, factors).items():
                results[name][factor].append(share)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path)
    parser.add_argument("--map", default="", help="as for `kairos catalog import`")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.products or Path(folder) / "demo.jsonl"
        if arguments.products is None:
            write_catalogue(file)
        products = products_of(file, arguments.map)
    results = measure(products, arguments.seeds)
    table = Table(*["", "listed of correct", *(f"× {factor}" for factor in FACTORS)])
    for name, by_factor in results.items():
        table.add_row(name, *(_with_error(found) for found in by_factor.values()))
    Console(width=120).print(
        table, f"{len(products):,} products, mean of {arguments.seeds} runs and its standard error"
    )
    if arguments.out:
        report = {"products": len(products), "seeds": arguments.seeds, "found": results}
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _with_error(found: Sequence[float]) -> str:
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return f"{statistics.mean(found):.3f} ±{error:.3f}"


if __name__ == "__main__":
    sys.exit(main())
