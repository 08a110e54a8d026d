"""`kairos domain`: the folder with what queries and texts for shoppers depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.calls import failed, out
from cli.options import Json
from services.common.errors import InvalidArgument

app = typer.Typer(no_args_is_help=True, help="Domains: concepts, stop words, conditions, intents and texts.")


@app.callback()
def domain() -> None:
    """Domains: concepts, stop words, conditions, intents and texts."""


@app.command()
def check(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the domain. Default: retail.")] = None,
    as_json: Json = False,
) -> None:
    """Read a domain as the services do, and print what it has. Exit code 2 if a file is wrong."""
    # Imported here: it needs libraries that only the query encoder installs.
    from services.gateway.adapters.text_files import load_texts
    from services.query_encoder.adapters.domain_files import load_domain

    problems = []
    for load in (load_domain, load_texts):
        try:
            load(folder)
        except InvalidArgument as error:
            problems += [f"{wrong.field}: {wrong.description}" for wrong in error.violations]
    if problems:
        raise failed("\n".join(dict.fromkeys(problems)), exit_code=2)
    found = load_domain(folder)
    kinds = ("prices", "brands", "categories")
    counts: dict[str, Any] = {
        "concepts": len(found.graph.concepts),
        "stop_words": len(found.own_stop_words),
        "conditions": [kind for kind in kinds if getattr(found.conditions, kind)],
        "attributes": [one.attribute for one in found.conditions.attributes],
        "intents": list(found.rules.intents),
    }
    if as_json:
        out.print_json(data=counts)
        return
    for name, value in counts.items():
        text = ", ".join(value) or "none" if isinstance(value, list) else str(value)
        out.print(f"{name.replace('_', ' '):<12}{escape(text)}")
