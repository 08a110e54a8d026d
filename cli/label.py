"""`kairos label`: labels for query understanding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from catalog.rows import FileRefused
from ops.settings import SuiteSettings
from services.common.context import DEFAULT_TENANT
from services.common.settings import load_settings

label = typer.Typer(no_args_is_help=True, help="Labels for query understanding.")
_out, _err = Console(), Console(stderr=True)


@label.callback()
def labels() -> None:
    """Labels for query understanding."""


@label.command()
def suggest(
    model: Annotated[
        Path,
        typer.Option(
            envvar="KAIROS_QUERY_ENCODER_UNDERSTANDING_MODEL_DIR",
            help="As `python -m training.understanding` writes it.",
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="A .txt, one query a line, or CSV or JSON lines with `query` and, where known, `count`.",
            show_default="what was searched for in this suite",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Fill in its column `label`; what stays empty teaches nothing.")] = Path(
        "labels.csv"
    ),
    count: Annotated[int, typer.Option(min=1, max=1_000)] = 40,
    head: Annotated[
        list[str], typer.Option(help="intent, category, sentiment; all of them unless said otherwise.")
    ] = [],  # noqa: B006 - Typer wants a list
    labelled: Annotated[
        Path | None, typer.Option(help="Labels given before: not asked again, nor what is like them.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the suite's state.", show_default="var")] = None,
    tenant: str = DEFAULT_TENANT,
) -> None:
    """List the queries whose labels would help most: unsure, frequent, and unlike each other."""
    # Imported here: they need what only the query encoder installs.
    from cli.labelling import choose, read_queries, searched_for, table, write

    folder = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
    try:
        asked = read_queries(queries) if queries else searched_for(folder / "ranker" / "profiles.db", tenant)
        known = read_queries(labelled) if labelled else {}
        choices = choose(model, folder, tenant, asked, known, count, head)
    except (FileRefused, ValueError) as error:
        _err.print(f"[red]{escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    write(out, choices)
    _out.print(table(choices))
    _err.print(
        f"{len(asked)} queries read; fill in `label` in {escape(str(out))}, then train with --labels", soft_wrap=True
    )
