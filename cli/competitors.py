"""`kairos competitors`: prices that the shop has observed at its competitors."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from catalog.offers import OBSERVED, OffersImport, observation_of
from cli.calls import connection_of, err, failed, out
from cli.imports import currency_of, rejects_of, run_import
from cli.options import Currency, DataDir, Json, RejectsFile, Strict
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection, explain_error
from ops.learning import learning_of
from ops.settings import SuiteSettings
from services.common.convert import money_from_proto
from services.common.settings import load_settings
from services.pricing.domain.collusion import Answers, Collusion, together
from services.pricing.learning.competition import competition
from services.pricing.learning.prices import learned_from
from services.pricing.learning.sqlite_table import demand_table

app = typer.Typer(no_args_is_help=True, help="Prices that were observed at competitors.")
_TIMEOUT_S = 30.0


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
    code = currency_of(currency)
    job = OffersImport(connection_of(context), code, rejects_of(file, rejects), observation_of, OBSERVED)
    run_import(job, file, strict, as_json)


@app.command()
def report(
    context: typer.Context,
    days: Annotated[int, typer.Option(min=2, max=400, help="Days to look at, up to today.")] = 180,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Report signs of collusion: prices that stay above the best response, while either side answers the other's cuts.

    Of a suite on this machine, in the default price list. Exit code 1: signs were found, for a product or for all
    together.
    """
    settings, folder = learning_of(load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}))
    since = (datetime.now(UTC) - timedelta(days=days - 1)).date()
    try:
        periods = demand_table(settings, folder).periods(since)
        found = competition(periods, learned_from(periods), _costs(connection_of(context)))
    except ValueError as error:
        raise failed(str(error), exit_code=2) from None
    except grpc.RpcError as error:
        raise failed(explain_error(error)) from None
    named = {**found, "all": together(list(found.values()))}
    if as_json:
        print(json.dumps({name: _entry(each) for name, each in named.items()}))
    elif not found:
        err.print("no competitor's price is known for the days on which products were shown; import some")
    else:
        _print(named)
    raise typer.Exit(1 if any(each.is_suspected for each in named.values()) else 0)


def _costs(connection: Connection) -> dict[str, float]:
    costs, token, is_last = dict[str, float](), "", False
    with connection.stub() as stub:
        while not is_last:
            asked = gateway_pb2.ListProductsRequest(page_token=token, page_size=500)
            page = stub.ListProducts(asked, timeout=_TIMEOUT_S, metadata=connection.metadata)
            for entry in page.products:
                if entry.product.HasField("cost"):
                    costs[entry.product.id] = float(money_from_proto(entry.product.cost, "cost").amount)
            token, is_last = page.next_page_token, page.is_last_page
    return costs


def _entry(found: Collusion) -> dict[str, object]:
    return asdict(found) | {"is_elevated": found.is_elevated, "is_suspected": found.is_suspected}


def _print(named: dict[str, Collusion]) -> None:
    table = Table("product", "days", "above best response", "cuts answered", "by competitors", "signs", box=None)
    for name, each in named.items():
        table.add_row(
            escape(name), f"{each.periods}", f"{each.elevation:+.1%}", _answered(each.by_shop),
            _answered(each.by_competitor), "yes" if each.is_suspected else "no",
        )  # fmt: skip
    out.print(table)


def _answered(answers: Answers) -> str:
    return f"{answers.answered} of {answers.cuts}"
