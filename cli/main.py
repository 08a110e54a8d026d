"""The `kairos` command: a client of the gateway, and what starts the suite on this machine."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli import encoder
from cli.client import Connection, explain_error
from cli.imports import CatalogImport, EventsImport, Rejects, Summary, event_of
from cli.mapping import RowRefused, parse_mapping, parse_money
from cli.render import print_interpretation, print_quotes, print_results, print_suggestions, print_waterfall
from cli.rows import FileRefused, column_names
from cli.suite import commands
from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.convert import money_to_proto

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
catalog = typer.Typer(no_args_is_help=True, help="The shop's products.")
events = typer.Typer(no_args_is_help=True, help="What shoppers did.")
app.add_typer(catalog, name="catalog")
app.add_typer(events, name="events")
app.add_typer(encoder.app, name="encoder")
app.command()(commands.up)
app.command()(commands.down)
app.command()(commands.status)

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Explain = Annotated[bool, typer.Option(help="Scores, reasons and the latency waterfall.")]
PageSize = Annotated[int, typer.Option(min=1, max=100)]
RejectsFile = Annotated[Path | None, typer.Option("--rejects", help="Where bad rows go, with line and reason.")]
SORTS = {
    "relevance": product_pb2.SORT_ORDER_RELEVANCE,
    "price": product_pb2.SORT_ORDER_PRICE_ASCENDING,
    "-price": product_pb2.SORT_ORDER_PRICE_DESCENDING,
    "newest": product_pb2.SORT_ORDER_NEWEST,
}


@app.callback()
def connect(
    context: typer.Context,
    target: Annotated[str, typer.Option(envvar="KAIROS_TARGET", help="host:port of the gateway.")] = "127.0.0.1:50050",
    api_key: Annotated[str, typer.Option(envvar="KAIROS_API_KEY")] = "",
    timeout: Annotated[float, typer.Option(help="Budget of a call in seconds.")] = 2.0,
    tls_ca: Annotated[Path | None, typer.Option(help="PEM of the CA that signed the gateway's certificate.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM of our own certificate, for mTLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM of its key.")] = None,
) -> None:
    context.obj = Connection(target, api_key, timeout, tls_ca, tls_cert, tls_key)


@app.command()
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Empty: walk through the catalogue.")] = "",
    user: str = "",
    session: str = "",
    explain: Explain = False,
    brand: Annotated[list[str], typer.Option()] = [],  # noqa: B006 - Typer wants a list
    category: Annotated[list[str], typer.Option(help='For example "Shoes > Running Shoes".')] = [],  # noqa: B006
    attribute: Annotated[list[str], typer.Option(help="name=value")] = [],  # noqa: B006
    min_price: str = "",
    max_price: str = "",
    currency: str = "USD",
    in_stock: bool = False,
    sort: str = "relevance",
    facet: Annotated[list[str], typer.Option(help="category, brand or attributes.<name>")] = [],  # noqa: B006
    page_size: PageSize = 10,
    page_token: str = "",
    locale: str = "",
    literal: Annotated[bool, typer.Option(help="Read no conditions from the text.")] = False,
    image: Annotated[Path | None, typer.Option(help="A picture to look for: JPEG, PNG or WebP.")] = None,
    similar_to: Annotated[str, typer.Option(help="Id of a product that the others shall look like.")] = "",
    as_json: Json = False,
) -> None:
    """Search the catalogue by words, by a picture or by both, for a user where one is named."""
    if image is not None and not image.is_file():
        raise typer.BadParameter(f"{image} is not a file", param_hint="--image")
    if sort not in SORTS:
        raise typer.BadParameter(f"{sort!r}; use one of {', '.join(SORTS)}", param_hint="--sort")
    narrowing = product_pb2.ProductFilter(categories=category, brands=brand, in_stock_only=in_stock)
    for entry in attribute:
        name, equals, value = entry.partition("=")
        if not equals:
            raise typer.BadParameter(f"{entry!r}: write name=value", param_hint="--attribute")
        narrowing.attributes.add(name=name, values=[value])
    for end, text in (("minimum", min_price), ("maximum", max_price)):
        if text:
            getattr(narrowing.price, end).CopyFrom(_amount(text, currency))
    message = gateway_pb2.SearchRequest(
        query=query, user_id=user, session_id=session, locale=locale, filter=narrowing, sort=SORTS[sort],
        facets=facet, page_size=page_size, page_token=page_token, explain=explain, literal_query=literal,
        image=image.read_bytes() if image else b"", similar_to_id=similar_to,
    )  # fmt: skip
    answer = _call(context, "Search", message)
    if as_json:
        _print_json(answer)
        return
    print_interpretation(out, answer.interpretation)
    print_results(out, answer.results, answer.degradations, explain)
    for facet_answer in answer.facets:
        counts = " · ".join(f"{count.value} {count.count}" for count in facet_answer.counts[:8])
        out.print(f"[dim]{escape(f'{facet_answer.field}: {counts}')}")
    if explain:
        print_waterfall(out, answer.timings)
    if answer.next_page_token:
        out.print(f"[dim]next page: --page-token {answer.next_page_token}", soft_wrap=True)


@app.command()
def suggest(
    context: typer.Context,
    prefix: str,
    locale: str = "",
    limit: Annotated[int, typer.Option(min=1, max=20)] = 8,
    as_json: Json = False,
) -> None:
    """What a shopper may be about to type."""
    answer = _call(context, "Suggest", gateway_pb2.SuggestRequest(prefix=prefix, locale=locale, limit=limit))
    return _print_json(answer) if as_json else print_suggestions(out, answer)


@app.command()
def recommend(
    context: typer.Context,
    user: str = "",
    session: str = "",
    explain: Explain = False,
    page_size: PageSize = 10,
    as_json: Json = False,
) -> None:
    """Products for a user, without a query."""
    message = gateway_pb2.RecommendRequest(user_id=user, session_id=session, page_size=page_size, explain=explain)
    answer = _call(context, "Recommend", message)
    if as_json:
        _print_json(answer)
        return
    print_results(out, answer.results, answer.degradations, explain)
    if explain:
        print_waterfall(out, answer.timings)


@app.command()
def price(context: typer.Context, ids: list[str], as_json: Json = False) -> None:
    """Offers for products, with floor, ceiling and reason."""
    answer = _call(context, "QuotePrices", gateway_pb2.QuotePricesRequest(product_ids=ids))
    return _print_json(answer) if as_json else print_quotes(out, answer)


@app.command()
def health(context: typer.Context, as_json: Json = False) -> None:
    """Whether the gateway serves, and which stages it reaches."""
    answers = commands.health_of(_connection(context).channel())
    if as_json:
        out.print_json(data=answers)
    else:
        for name, answer in answers.items():
            out.print(f"{name:<12}[{'green' if answer == 'SERVING' else 'red'}]{answer}")
    raise typer.Exit(0 if answers["gateway"] == "SERVING" else 1)


@catalog.command("import")
def catalog_import(
    context: typer.Context,
    file: Path,
    map: Annotated[str, typer.Option(help="field=column,field=one+two, for example id=upc,title=name.")] = "",
    currency: Annotated[str, typer.Option(help="Of prices, where the file has no column for it.")] = "USD",
    category_separator: str = " > ",
    images: Annotated[
        Path | None, typer.Option(help="Folder that image_uri is relative to: pictures go in too.")
    ] = None,
    rejects: RejectsFile = None,
    strict: Annotated[bool, typer.Option(help="Exit code 1 when a row was rejected.")] = False,
    as_json: Json = False,
) -> None:
    """Import a catalogue: CSV, TSV, JSON lines or Parquet, each plain or .gz."""
    try:
        if not file.is_file():
            raise FileRefused(f"{file} is not a file")
        mapping = parse_mapping(map, column_names(file), currency, category_separator)
    except (ValueError, FileRefused) as error:
        err.print(f"[red]{escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    if images is not None and not images.is_dir():
        raise typer.BadParameter(f"{images} is not a folder", param_hint="--images")
    job = CatalogImport(_connection(context), mapping, _rejects(file, rejects), images=images)
    _import(job, file, strict, as_json)
    if job.missing_pictures:
        err.print(f"{job.missing_pictures} products name a picture that {escape(str(images))} does not have")


@catalog.command("get")
def catalog_get(context: typer.Context, id: str) -> None:
    """One product, as JSON."""
    _print_json(_call(context, "GetProduct", gateway_pb2.GetProductRequest(id=id)))


@catalog.command("delete")
def catalog_delete(context: typer.Context, ids: list[str]) -> None:
    """Remove products."""
    answer = _call(context, "DeleteProducts", gateway_pb2.DeleteProductsRequest(ids=ids))
    out.print(f"deleted {answer.deleted_count}, unknown {len(answer.missing_ids)}")


@events.command("import")
def events_import(
    context: typer.Context, file: Path, rejects: RejectsFile = None, strict: bool = False, as_json: Json = False
) -> None:
    """Import events: event_id, user_id, session_id, item_id, type, time, query, quantity, dwell_ms."""
    _import(EventsImport(_connection(context), _rejects(file, rejects)), file, strict, as_json)


@events.command("record")
def events_record(context: typer.Context, user: str, item: str, type: str = "click", session: str = "") -> None:
    """Record one event by hand."""
    try:
        values = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "type": type, "session_id": session}
        event = event_of(values)
    except RowRefused as error:
        err.print(f"[red]{escape(str(error))}")
        raise typer.Exit(2) from None
    answer = _call(context, "RecordEvents", gateway_pb2.RecordEventsRequest(events=[event]))
    out.print(f"recorded {answer.recorded_count}" + (", but the catalogue has no such item" * bool(answer.missing_ids)))


def _import(job: CatalogImport | EventsImport, file: Path, strict: bool, as_json: bool) -> None:
    began = time.monotonic()
    try:
        summary = job.run(file)
    except grpc.RpcError as error:
        err.print(f"[red]{escape(explain_error(error))}", soft_wrap=True)
        err.print(f"{job.summary.imported} rows were acknowledged before; run the same command again to go on")
        raise typer.Exit(1) from None
    except FileRefused as error:
        err.print(f"[red]{escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    _print_summary(summary, time.monotonic() - began, as_json)
    if summary.rejected:
        err.print(f"rejected rows, with line and reason: {escape(str(job.rejects.path))}", soft_wrap=True)
    if strict and summary.rejected:
        raise typer.Exit(1)


def _print_summary(summary: Summary, seconds: float, as_json: bool) -> None:
    numbers = vars(summary) | {
        "seconds": round(seconds, 2),
        "rows_per_second": round(summary.read / max(seconds, 1e-9)),
    }
    if as_json:
        return out.print_json(data=numbers)
    table = Table(*numbers, box=None, pad_edge=False)
    table.add_row(*(f"{number:,}" for number in numbers.values()))
    return out.print(table)


def _rejects(file: Path, given: Path | None) -> Rejects:
    return Rejects(given or Path(f"{file.name}.rejects.jsonl"))


def _amount(text: str, currency: str) -> common_pb2.Money:
    try:
        return money_to_proto(parse_money("price", text, currency))
    except RowRefused as error:
        raise typer.BadParameter(str(error)) from None


def _connection(context: typer.Context) -> Connection:
    connection: Connection = context.obj
    return connection


def _call(context: typer.Context, method: str, message: Message) -> Any:
    connection = _connection(context)
    with connection.stub() as stub:
        try:
            call = getattr(stub, method)
            return call(message, timeout=connection.timeout_s, metadata=connection.metadata)
        except grpc.RpcError as error:
            err.print(f"[red]{escape(explain_error(error))}", soft_wrap=True)
            raise typer.Exit(1) from None


def _print_json(message: Message) -> None:
    print(MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False))
