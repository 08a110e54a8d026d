"""`kairos moderation`: what the rules say about a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cli.calls import out
from cli.control_client import checked_input
from cli.options import Json
from services.common.product import Product
from services.gateway.adapters.moderation_file import load_rules
from services.gateway.domain.moderation.moderator import Moderator

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.callback()
def _group() -> None:
    """A group also with one command."""


@app.command()
def check(
    title: Annotated[str, typer.Argument(help="Title of a product.")],
    description: Annotated[str, typer.Option(help="Its description.")] = "",
    rules: Annotated[
        Path | None, typer.Option(help="YAML file with rules, as KAIROS_GATEWAY_MODERATION__RULES.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the outcome of a product by the rules, without a gateway. Exit code 2: the file of rules is wrong."""
    with checked_input():
        moderator = Moderator(load_rules(rules))
    found = moderator.of_product(Product("check", title, description=description))
    outcome = found.outcome.name.lower()
    if as_json:
        markets = {market: its.name.lower() for market, its in found.markets.items()}
        values = {"outcome": outcome, "adults_only": found.adults_only, "markets": markets}
        print(json.dumps({**values, "categories": found.categories, "evidence": found.evidence}, ensure_ascii=False))
        return
    adults = ", for adults" if found.adults_only else ""
    in_markets = "".join(f", {its.name.lower()} in {market}" for market, its in found.markets.items())
    why = f"  {', '.join(found.categories)}: {found.evidence}" if found.categories else ""
    out.print(f"[bold]{outcome}[/]{adults}{in_markets}{escape(why)}", soft_wrap=True)
