"""`kairos catalog`: the products of the shop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from catalog.imports import CatalogImport
from catalog.mapping import parse_mapping
from catalog.rows import FileRefused, column_names
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
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet, plain or .gz.")],
    map: Annotated[
        str,
        typer.Option(
            help="Columns of the fields: FIELD=COLUMN or FIELD=ONE+TWO, separated by commas. Example: id=upc."
        ),
    ] = "",
    currency: Annotated[str, typer.Option(help="Currency of the prices, if the file has no column for it.")] = "USD",
    category_separator: Annotated[str, typer.Option(help="Text between the levels of a category.")] = " > ",
    images: Annotated[
        Path | None, typer.Option(help="Folder with the images: image_uri is a path in it. Absent: no images are sent.")
    ] = None,
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import a catalogue. Products that have not changed are skipped."""
    try:
        if not file.is_file():
            raise FileRefused(f"{file} is not a file")
        mapping = parse_mapping(map, column_names(file), currency, category_separator)
    except (ValueError, FileRefused) as error:
        raise failed(str(error), exit_code=2) from None
    if images is not None and not images.is_dir():
        raise typer.BadParameter(f"{images} is not a folder", param_hint="--images")
    job = CatalogImport(connection_of(context), mapping, rejects_of(file, rejects), images=images)
    run_import(job, file, strict, as_json)
    if job.missing_images:
        err.print(f"{job.missing_images} products have an image_uri that is not in {escape(str(images))}")


@app.command()
def get(context: typer.Context, id: Annotated[str, typer.Argument(help="Id of the product.")]) -> None:
    """Print one product as JSON."""
    print_json(call(context, "GetProduct", gateway_pb2.GetProductRequest(id=id)))


@app.command()
def delete(context: typer.Context, ids: Annotated[list[str], typer.Argument(help="Ids of the products.")]) -> None:
    """Delete products."""
    answer = call(context, "DeleteProducts", gateway_pb2.DeleteProductsRequest(ids=ids))
    out.print(f"deleted {answer.deleted_count}, unknown {len(answer.missing_ids)}")
