"""What `kairos catalog import` says about a file: what it was recognised as, its mapping, and what was left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from catalog.columns import SALE
from catalog.imports import CatalogImport
from catalog.mapping import ProductMapping
from catalog.price_check import PriceFound
from catalog.rows import Description, columns_of_layout
from cli.calls import err

# Groups of values that were left out and are printed; --json has all of them.
_GROUPS = 20
# Unusual prices, and prices that are expected of products without one: so many are printed, and so many are in --json.
_PRICES, _MOST_PRICES = 20, 1_000


def print_recognised(
    file: Path, description: Description, mapping: ProductMapping, columns: list[str], has_sales: bool
) -> None:
    """The format and layout of the file, which column becomes which field, and which columns are not used."""
    err.print(f"{escape(file.name)}: {escape(str(description))}", soft_wrap=True, highlight=False)
    columns_of = mapping.columns_of(columns)
    published = columns_of if has_sales else {field: names for field, names in columns_of.items() if field not in SALE}
    places = {column: place for place, column in enumerate(columns)}
    in_order = sorted(published.items(), key=lambda entry: places.get(entry[1][0], len(places)))
    parts = [f"{field} ← {' + '.join(names)}" for field, names in in_order]
    err.print(escape(", ".join(parts)), soft_wrap=True, highlight=False)
    sales = [column for field in SALE for column in columns_of.get(field, ())]
    if sales and not has_sales:
        err.print(
            f"[yellow]sales are not imported: {escape(', '.join(sales))}; publish them with --sales, or send offers "
            "with `kairos offers import`",
            soft_wrap=True,
        )
    used = {column for names in columns_of.values() for column in names}
    known = used.union(columns_of_layout(file))
    if unused := [column for column in columns if column and column not in known]:
        err.print(f"[yellow]not used: {escape(', '.join(unused))}; name them with --map FIELD=COLUMN", soft_wrap=True)
    if absent := sorted(used - set(columns)):
        err.print(f"[yellow]not in the first rows: {escape(', '.join(absent))}", soft_wrap=True)
    if mapping.notation.decimal_mark == ",":
        err.print("amounts have a decimal comma", highlight=False)


def print_outcome(job: CatalogImport) -> None:
    """Values that were left out, by field and reason, unusual prices, and what a complete feed removes."""
    groups = job.dropped.groups
    if groups:
        table = Table(
            "field", "values", "lines", "reason of the first", box=None, pad_edge=False, title_justify="left",
            title=f"{job.dropped.count:,} values were left out; their rows are imported",
        )  # fmt: skip
        for group in groups[:_GROUPS]:
            lines = ", ".join(map(str, group.lines)) + (", …" if group.count > len(group.lines) else "")
            table.add_row(escape(group.name), f"{group.count:,}", lines, escape(group.reason))
        err.print(table)
    _print_unusual(job)
    if job.missing_images:
        err.print(f"{job.missing_images} products have an image_uri that is not in {escape(str(job.images))}")
    if job.removal is not None:
        existing, absent = len(job.removal.existing), len(job.removal.absent)
        end = "a dry run deletes none" if job.is_dry_run else f"{job.removal.deleted:,} were deleted"
        err.print(f"{absent:,} of {existing:,} products of the catalogue are not in the file; {end}", soft_wrap=True)


def details(job: CatalogImport, description: Description, columns: list[str]) -> dict[str, Any]:
    """The same for --json."""
    found: dict[str, Any] = {
        "dry_run": job.is_dry_run,
        "file": vars(description),
        "mapping": {field: list(names) for field, names in job.mapping.columns_of(columns).items()},
        "dropped": [
            {"field": group.name, "reason": group.reason, "count": group.count, "lines": group.lines}
            for group in job.dropped.groups
        ],
    }
    if job.prices is not None:
        unusual, missing = job.prices.found
        found["prices"] = {
            "compared": job.prices.compared,
            "unusual_count": len(unusual),
            "unusual": [_price(each) for each in unusual[:_MOST_PRICES]],
            "missing_count": len(missing),
            "missing": [_price(each) for each in missing[:_MOST_PRICES]],
        }
    if job.removal is not None:
        found["removal"] = {"existing": len(job.removal.existing), "absent": len(job.removal.absent)}
    return found


def _print_unusual(job: CatalogImport) -> None:
    unusual = job.prices.found[0] if job.prices is not None else []
    if not unusual or job.prices is None:
        return
    table = Table(
        "line", "product", "price", "usual", box=None, pad_edge=False, title_justify="left",
        title=f"{len(unusual):,} of {job.prices.compared:,} prices are unusual; they are imported, check them",
    )  # fmt: skip
    for each in unusual[:_PRICES]:
        usual = f"{each.lowest} to {each.highest}"
        table.add_row(str(each.line), escape(each.product_id), f"{each.currency} {each.price:f}", usual)
    err.print(table)
    if len(unusual) > _PRICES:
        err.print(f"and {len(unusual) - _PRICES:,} more; --json has them")


def _price(found: PriceFound) -> dict[str, Any]:
    amounts = {"price": found.price, "lowest": found.lowest, "expected": found.middle, "highest": found.highest}
    texts = {name: None if amount is None else f"{amount:f}" for name, amount in amounts.items()}
    return {"line": found.line, "id": found.product_id, "currency_code": found.currency, **texts}
