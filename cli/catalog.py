"""`kairos catalog`: the products of the shop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from catalog.fields import CATEGORY_SEPARATOR
from catalog.imports import CatalogImport
from catalog.mapping import VALUE_SEPARATOR, mapping_for, parse_mapping
from catalog.money import parse_currency
from catalog.numbers import Notation
from catalog.price_check import PriceCheck
from catalog.removal import Removal
from catalog.rows import FileRefused, RowRefused, column_names, describe
from cli.calls import call, connection_of, failed, out, print_json
from cli.feed_report import details, print_recognised
from cli.imports import rejects_of, run_import
from cli.options import Json, RejectsFile, Strict
from cli.reembed import reembed
from kairos.gateway.v1 import gateway_pb2

app = typer.Typer(no_args_is_help=True, help="The products of the shop.")
app.command()(reembed)


@app.command("import")
def import_products(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON, XML or Parquet, plain or .gz.")],
    map: Annotated[
        str,
        typer.Option(
            help="Columns of fields: FIELD=COLUMN or FIELD=ONE+TWO, separated by commas. Example: id=upc. Other fields "
            "are guessed from the names of the columns."
        ),
    ] = "",
    currency: Annotated[
        str, typer.Option(help="Currency of amounts that name none, in rows without a column `currency`.")
    ] = "USD",
    decimal_mark: Annotated[
        str,
        typer.Option(
            help="Mark before decimals: point or comma.", show_default="as the first rows of the file show it"
        ),
    ] = "",
    category_separator: Annotated[
        str, typer.Option(help="Text between the levels of a category.")
    ] = CATEGORY_SEPARATOR,
    value_separator: Annotated[
        str, typer.Option(help="Text between the values of an attribute in one cell. Empty: a cell is one value.")
    ] = VALUE_SEPARATOR,
    images: Annotated[
        Path | None, typer.Option(help="Folder with the images: image_uri is a path in it. Absent: no images are sent.")
    ] = None,
    sales: Annotated[
        bool,
        typer.Option("--sales", help="Publish sale prices with their dates as offers of the default price list."),
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="The file is the whole catalogue: delete products that it lacks afterwards.")
    ] = False,
    max_deleted_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="With --full: delete nothing if more products would be deleted, or more rows are rejected.",
        ),
    ] = 0.1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check the file, report, and change nothing.")
    ] = False,
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import a catalogue. Products that have not changed are skipped.

    A row without a valid id and title is rejected. Any other value that is wrong is left out with a warning. Prices
    that are far from those of similar products are imported, and listed. Exit code:
    0 all rows were accepted or are in the file of rejected rows; 1 none was accepted, the gateway or --full refused, or
    --strict and a row was rejected or a value left out; 2 the file or an option cannot be used.
    """
    try:
        description = describe(file)
        mapping = replace(
            parse_mapping(map, column_names(file), parse_currency("--currency", currency), category_separator),
            value_separator=value_separator,
            notation=Notation.named(decimal_mark),
        )
        mapping, columns = mapping_for(file, mapping)
        print_recognised(file, description, mapping, columns, sales)
    except (ValueError, FileRefused, RowRefused) as error:
        raise failed(str(error), exit_code=2) from None
    if images is not None and not images.is_dir():
        raise typer.BadParameter(f"{images} is not a folder", param_hint="--images")
    job = CatalogImport(
        connection_of(context), mapping, rejects_of(file, rejects), images=images,
        has_sales=sales, removal=Removal(max_deleted_share) if full else None, prices=PriceCheck(), is_dry_run=dry_run,
    )  # fmt: skip
    run_import(job, file, strict, as_json, lambda: details(job, description, columns))


@app.command()
def get(
    context: typer.Context, id: Annotated[str, typer.Argument(help="Id of the product.")], as_json: Json = True
) -> None:
    """Print one product, always as JSON."""
    print_json(call(context, "GetProduct", gateway_pb2.GetProductRequest(id=id)))


@app.command()
def delete(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(help="Ids of the products.")],
    as_json: Json = False,
) -> None:
    """Delete products."""
    answer = call(context, "DeleteProducts", gateway_pb2.DeleteProductsRequest(ids=ids))
    if as_json:
        return print_json(answer)
    return out.print(f"deleted {answer.deleted_count}, unknown {len(answer.missing_ids)}")
