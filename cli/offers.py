"""`kairos offers`: prices and stock for price lists and places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.offers import OffersImport
from cli.calls import connection_of
from cli.imports import currency_of, rejects_of, run_import
from cli.options import Currency, Json, RejectsFile, Strict

app = typer.Typer(no_args_is_help=True, help="Prices and stock for price lists and places.")


# Without it typer makes a command of the only one.
@app.callback()
def offers() -> None: ...


@app.command("import")
def import_offers(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON or Parquet, plain or .gz.")],
    currency: Currency = "USD",
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import offers. An offer that is older than the stored one counts as unchanged.

    Columns: product_id, updated_at, price_list_id, place_id, price, currency, sale_price, sale_starts_at, sale_ends_at,
    stock, fulfilments, is_removed; only the first two are required. Exit code: 0 all rows were accepted or are in the
    file of rejected rows; 1 none was accepted, the gateway refused, or --strict and a row was rejected; 2 the file or
    an option cannot be used.
    """
    job = OffersImport(connection_of(context), currency_of(currency), rejects_of(file, rejects))
    run_import(job, file, strict, as_json)
