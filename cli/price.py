"""Quotes of prices, why a quoted price was what it was, and what groups of persons paid. `kairos price ID ...` is short
for `kairos price quote ID ...`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.calls import call, out, print_json
from cli.options import Json, Place, PriceList
from cli.price_explain import explain
from cli.price_fairness import fairness
from cli.render import print_quotes
from kairos.gateway.v1 import gateway_pb2

_QUOTE = "quote"


class _QuoteByDefault(TyperGroup):
    """`kairos price ID` is `kairos price quote ID`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        is_command = bool(args) and args[0] in self.commands
        return super().resolve_command(ctx, args if is_command else [_QUOTE, *args])


# Options before the first id are those of `quote`.
app = typer.Typer(
    cls=_QuoteByDefault, no_args_is_help=True, help=__doc__, context_settings={"ignore_unknown_options": True}
)


@app.command(_QUOTE)
def quote(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(help="Ids of the products.")],
    price_list: PriceList = "",
    place: Place = "",
    as_json: Json = False,
) -> None:
    """Quote prices for products, with floor, ceiling and reason."""
    message = gateway_pb2.QuotePricesRequest(product_ids=ids, price_list_id=price_list, place_id=place)
    answer = call(context, "QuotePrices", message)
    return print_json(answer) if as_json else print_quotes(out, answer)


app.command()(explain)
app.command()(fairness)
