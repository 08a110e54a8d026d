"""The `kairos` command: calls the gateway, and runs the suite on this machine."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cli import (
    campaigns,
    catalog,
    competitors,
    config,
    control,
    domain,
    evaluate,
    events,
    experiments,
    fairness,
    faq,
    judge,
    label,
    models,
    moderation,
    offers,
    price,
    product_reviews,
    reviews,
    rules,
    satisfaction,
    suite,
    users,
)
from cli.backup import backup, restore
from cli.calls import connection_of, out
from cli.chat import chat
from cli.demand import demand
from cli.explain import explain
from cli.options import Json
from cli.shopping import recommend, search, suggest
from cli.train import train
from ops.client import Connection
from ops.control import health_of

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"kairos {version('kairos-suite')}")
        raise typer.Exit


@app.callback()
def connect(
    context: typer.Context,
    target: Annotated[
        str, typer.Option(envvar="KAIROS_TARGET", help="Address of the gateway, host:port.")
    ] = "127.0.0.1:50050",
    api_key: Annotated[str, typer.Option(envvar="KAIROS_API_KEY", help="API key. Empty: none is sent.")] = "",
    timeout: Annotated[float, typer.Option(help="Deadline of a call in seconds.")] = 2.0,
    tls_ca: Annotated[
        Path | None, typer.Option(help="PEM file with the certificate of the authority that signed the gateway's.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file with your own certificate, for mutual TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file with the key of your own certificate.")] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Connection(target, api_key, timeout, tls_ca, tls_cert, tls_key)


@app.command()
def health(context: typer.Context, as_json: Json = False) -> None:
    """Print whether the gateway serves, and which stages it reaches. Exit code 1 if the gateway does not serve."""
    answers = health_of(connection_of(context).channel())
    if as_json:
        out.print_json(data=answers)
    else:
        for name, answer in answers.items():
            out.print(f"{name:<12}[{'green' if answer == 'SERVING' else 'red'}]{answer}")
    raise typer.Exit(0 if answers["gateway"] == "SERVING" else 1)


for request in (search, suggest, recommend, explain, chat, demand):
    app.command()(request)
app.add_typer(catalog.app, name="catalog")
app.add_typer(price.app, name="price")
app.add_typer(offers.app, name="offers")
app.add_typer(competitors.app, name="competitors")
app.add_typer(events.app, name="events")
app.add_typer(satisfaction.app, name="satisfaction")
app.add_typer(users.app, name="user")
app.add_typer(models.app, name="models")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(fairness.app, name="fairness")
app.add_typer(label.app, name="label")
app.add_typer(judge.app, name="judge")
app.add_typer(domain.app, name="domain")
app.add_typer(config.app, name="config")
app.add_typer(control.app, name="control")
app.add_typer(reviews.app, name="reviews")
app.add_typer(moderation.app, name="moderation")
app.add_typer(product_reviews.app, name="product-reviews")
app.add_typer(campaigns.app, name="campaigns")
app.add_typer(experiments.app, name="experiments")
app.add_typer(rules.app, name="rules")
app.add_typer(faq.app, name="faq")
app.command()(train)
for operation in (suite.up, suite.down, suite.status, backup, restore):
    app.command()(operation)
