"""`kairos demand`: what was shown and bought at which price, as pricing learns it from the log."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import err, out
from cli.options import DataDir, Json
from ops.learning import learning_of
from ops.settings import SuiteSettings
from services.common.money import MINOR_UNIT_DECIMALS
from services.common.settings import load_settings
from services.pricing.learning.periods import Periods
from services.pricing.learning.sqlite_table import demand_table

_AMOUNTS = ("price", "list_price", "revenue", "competitor")
_PRINTED = (
    "day", "product_id", "price_list_id", "currency", "price", "list_price", "visitors", "clicks", "carts", "units",
    "returned_units", "revenue",
)  # fmt: skip


def demand(
    product_id: Annotated[str, typer.Argument(help="Id of a product. Empty: all products.")] = "",
    days: Annotated[int, typer.Option(min=1, help="Days to print, up to today.")] = 14,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print what was shown and bought on each day at each price, of a suite on this machine."""
    settings, folder = learning_of(load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}))
    since = (datetime.now(UTC) - timedelta(days=days - 1)).date()
    try:
        rows = list(_rows(demand_table(settings, folder).periods(since, product_id or None)))
    except ValueError as error:
        err.print(escape(str(error)))
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps({"periods": rows}))
        return
    table = Table(*(name.replace("_id", "").replace("_", " ") for name in _PRINTED), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(str(row[name])) for name in _PRINTED))
    out.print(table)


def _rows(periods: Periods) -> list[dict[str, Any]]:
    """Amounts as decimal texts, "" where the price is not known; days by ISO 8601; NaN as null."""
    columns = {each.name: getattr(periods, each.name) for each in fields(periods)}
    lists = {name: c.tolist() if isinstance(c, np.ndarray) else list(c) for name, c in columns.items()}
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    for row in rows:
        decimals = MINOR_UNIT_DECIMALS.get(row["currency"])
        row |= {name: "" if decimals is None else str(Decimal(row[name]).scaleb(-decimals)) for name in _AMOUNTS}
        row |= {"day": row["day"].isoformat(), "in_stock": None if row["views"] == 0 else row["in_stock"]}
    return rows
