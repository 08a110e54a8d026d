"""`kairos competitors`: prices that the shop has observed at its competitors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.offers import OBSERVED, OffersImport, observation_of
from cli.calls import connection_of
from cli.imports import currency_of, rejects_of, run_import
from cli.options import Currency, Json, RejectsFile, Strict

app = typer.Typer(no_args_is_help=True, help="Prices that were observed at competitors.")


@app.command("import")
def import_prices(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON or Parquet, plain or .gz.")],
    currency: Currency = "USD",
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import observed prices. One that is older than the stored one of the same competitor counts as unchanged.

    Columns: product_id, competitor, price, observed_at; optional currency, in_stock; others are ignored. Exit code: 0
    all rows were accepted or are in the file of rejected rows; 1 none was accepted, the gateway refused, or --strict
    and a row was rejected; 2 the file or an option cannot be used.
    """
    job = OffersImport(
        connection_of(context), currency_of(currency), rejects_of(file, rejects), observation_of, OBSERVED
    )
    run_import(job, file, strict, as_json)
