"""`kairos label`: labels that train the understanding of queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from catalog.rows import FileRefused
from cli.calls import err, failed, out
from cli.options import DataDir, Json, Registry
from cli.registries import chosen, registries
from ops.settings import SuiteSettings
from services.common.context import DEFAULT_TENANT
from services.common.models.kinds import UNDERSTANDING
from services.common.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Labels that train the understanding of queries.")


@app.callback()
def label() -> None:
    """Labels that train the understanding of queries."""


@app.command()
def suggest(
    version: Annotated[
        str,
        typer.Option(help="Version of the model, for example understanding/0001.", show_default="the current version"),
    ] = "",
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries: a .txt file with one a line, or CSV or JSON lines with `query` and optionally `count`.",
            show_default="the queries of this suite",
        ),
    ] = None,
    to: Annotated[
        Path, typer.Option("--out", help="File to write. Fill in its column `label`; rows without a label are ignored.")
    ] = Path("labels.csv"),
    count: Annotated[int, typer.Option(min=1, max=1_000, help="Number of queries.")] = 40,
    head: Annotated[
        list[str], typer.Option(help="What to label: intent, category or sentiment. Default: all. May be repeated.")
    ] = [],  # noqa: B006 - Typer wants a list
    labelled: Annotated[
        Path | None, typer.Option(help="File with existing labels: these queries and similar ones are not chosen.")
    ] = None,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Annotated[str, typer.Option(help="Tenant whose queries are read.")] = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Choose the queries whose labels help most: uncertain, frequent, and not similar to each other."""
    # Imported here: it needs libraries that only the query encoder installs.
    from cli.labelling import choose, read_queries, searched_for, table, write

    folder = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
    try:
        kept = registries(registry, data_dir, tenant, UNDERSTANDING)
        found, name = chosen(kept, version) if version else (kept[0], kept[0].registry.rollout().current)
        if not name:
            raise ValueError(
                "no version is current; name one with --version, or promote one with `kairos models promote`"
            )
        asked = read_queries(queries) if queries else searched_for(folder / "ranker" / "profiles.db", tenant)
        known = read_queries(labelled) if labelled else {}
        choices = choose(found.registry.path(name), folder, tenant, asked, known, count, head)
    except (FileRefused, ValueError) as error:
        raise failed(str(error), exit_code=2) from None
    write(to, choices)
    if as_json:
        rows = [{"query": choice.question.query, "head": choice.question.head} for choice in choices]
        print(json.dumps({"file": str(to), "choices": rows}, ensure_ascii=False))
    else:
        out.print(table(choices))
    err.print(
        f"{len(asked)} queries were read. Fill in the column `label` of {escape(str(to))}, then train with "
        "`kairos train --only understanding --labels`.",
        soft_wrap=True,
    )
