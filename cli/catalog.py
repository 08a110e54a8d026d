"""`kairos catalog`: the products of the shop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from catalog.imports import CatalogImport
from catalog.mapping import CATEGORY_SEPARATOR, VALUE_SEPARATOR, ProductMapping, mapping_for, parse_mapping
from catalog.money import parse_currency
from catalog.numbers import Notation
from catalog.rows import FileRefused, RowRefused, column_names
from cli.calls import call, connection_of, err, failed, out, print_json
from cli.imports import rejects_of, run_import
from cli.options import Json, RejectsFile, Strict
from cli.reembed import reembed
from kairos.gateway.v1 import gateway_pb2

app = typer.Typer(no_args_is_help=True, help="The products of the shop.")
app.command()(reembed)


@app.command("import")
def import_products(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON or Parquet, plain or .gz.")],
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
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import a catalogue. Products that have not changed are skipped.

    Exit code: 0 all rows were accepted or are in the file of rejected rows; 1 none was accepted, the gateway refused,
    or --strict and a row was rejected; 2 the file or an option cannot be used.
    """
    try:
        if not file.is_file():
            raise FileRefused(f"{file} is not a file")
        mapping = replace(
            parse_mapping(map, column_names(file), parse_currency("--currency", currency), category_separator),
            value_separator=value_separator,
            notation=Notation.named(decimal_mark),
        )
        mapping, columns = mapping_for(file, mapping)
    except (ValueError, FileRefused, RowRefused) as error:
        raise failed(str(error), exit_code=2) from None
    if images is not None and not images.is_dir():
        raise typer.BadParameter(f"{images} is not a folder", param_hint="--images")
    _print_mapping(mapping, columns)
    job = CatalogImport(connection_of(context), mapping, rejects_of(file, rejects), images=images)
    run_import(job, file, strict, as_json)
    if job.missing_images:
        err.print(f"{job.missing_images} products have an image_uri that is not in {escape(str(images))}")


def _print_mapping(mapping: ProductMapping, columns: list[str]) -> None:
    """Which column becomes which field, and which columns are not used."""
    columns_of = mapping.columns_of(columns)
    used = {column for names in columns_of.values() for column in names}
    places = {column: place for place, column in enumerate(columns)}
    in_order = sorted(columns_of.items(), key=lambda entry: places.get(entry[1][0], len(places)))
    parts = [f"{field} ← {' + '.join(names)}" for field, names in in_order]
    err.print(escape(", ".join(parts)), soft_wrap=True, highlight=False)
    if unused := [column for column in columns if column and column not in used]:
        err.print(f"[yellow]not used: {escape(', '.join(unused))}; name them with --map FIELD=COLUMN", soft_wrap=True)
    if absent := sorted(used - set(columns)):
        err.print(f"[yellow]not in the first rows: {escape(', '.join(absent))}", soft_wrap=True)
    if mapping.notation.decimal_mark == ",":
        err.print("amounts have a decimal comma", highlight=False)


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
