"""`kairos config`: checks files of configuration before a service reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import failed, out
from cli.options import Json
from services.common.errors import InvalidArgument
from services.gateway.adapters.serving_file import load_configuration

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="YAML file of a serving configuration.")],
    as_json: Json = False,
) -> None:
    """Check a serving configuration, and print its placements. Exit code 1 if it is invalid."""
    try:
        configuration = load_configuration(file)
    except InvalidArgument as error:
        wrong = {violation.field: violation.description for violation in error.violations}
        if as_json:
            print(json.dumps({"valid": False, "problems": wrong}, ensure_ascii=False))
            raise typer.Exit(1) from None
        lines = "\n".join(f"{field}: {text}" for field, text in wrong.items())
        raise failed(f"{file} is invalid:\n{lines}") from None
    if as_json:
        print(json.dumps({"valid": True, "version": configuration.full_version}, ensure_ascii=False))
        return
    out.print(f"{file} is valid: version {configuration.full_version}")
    table = Table("placement", "sources", "minimum", "fallback", box=None, pad_edge=False)
    for name, placement in sorted(configuration.placements.items()):
        sources = ", ".join(use.source.value for use in placement.sources)
        fallback = ", ".join(source.value for source in placement.fallback) if placement.minimum_results else ""
        table.add_row(escape(name), sources, str(placement.minimum_results), fallback)
    out.print(table)
