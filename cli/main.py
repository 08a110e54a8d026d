"""The `kairos` command: a client of the gateway, and what starts the suite on this machine."""

from __future__ import annotations

import json
import sys
import time
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalog.events import event_of
from catalog.imports import CatalogImport, EventsImport, Rejects, Summary
from catalog.mapping import RowRefused, parse_mapping, parse_money
from catalog.rows import FileRefused, column_names
from cli import encoder, models, suite
from cli.backup import backup, restore
from cli.calls import call, connection_of, print_json
from cli.explain import explain
from cli.label import label
from cli.reembedding import Reembedding, Refused
from cli.render import (
    print_collections,
    print_interpretation,
    print_profile,
    print_quotes,
    print_results,
    print_suggestions,
    print_waterfall,
)
from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection, explain_error
from ops.control import health_of
from services.common.convert import money_to_proto

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
catalog = typer.Typer(no_args_is_help=True, help="The shop's products.")
events = typer.Typer(no_args_is_help=True, help="Events: what shoppers did.")
users = typer.Typer(no_args_is_help=True, help="The stored data of users and visitors.")
app.add_typer(catalog, name="catalog")
app.add_typer(events, name="events")
app.add_typer(users, name="user")
app.add_typer(label, name="label")
app.add_typer(encoder.app, name="encoder")
app.command()(explain)
app.add_typer(models.app, name="models")
app.command()(suite.up)
app.command()(suite.down)
app.command()(suite.status)
app.command()(backup)
app.command()(restore)

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Explained = Annotated[bool, typer.Option(help="Scores, reasons and the latency waterfall.")]
PageSize = Annotated[int, typer.Option(min=1, max=100)]
Visitor = Annotated[str, typer.Option(help="The anonymous visitor; used if there is no user.")]
IsVisitor = Annotated[bool, typer.Option("--visitor", help="The id is an anonymous visitor's.")]
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
    query: Annotated[str, typer.Argument(help="Empty: browse the catalogue.")] = "",
    user: str = "",
    visitor: Visitor = "",
    session: str = "",
    explain: Explained = False,
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
    similar_to: Annotated[str, typer.Option(help="Id of a product: find visually similar ones.")] = "",
    as_json: Json = False,
) -> None:
    """Search the catalogue by text, by a picture or by both, for a user or visitor if one is given."""
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
        query=query, user_id=user, visitor_id=visitor, session_id=session, locale=locale, filter=narrowing,
        sort=SORTS[sort], facets=facet, page_size=page_size, page_token=page_token, explain=explain,
        literal_query=literal, image=image.read_bytes() if image else b"", similar_to_id=similar_to,
    )  # fmt: skip
    answer = call(context, "Search", message)
    if as_json:
        print_json(answer)
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
    """Complete what a shopper has typed to whole queries."""
    answer = call(context, "Suggest", gateway_pb2.SuggestRequest(prefix=prefix, locale=locale, limit=limit))
    return print_json(answer) if as_json else print_suggestions(out, answer)


@app.command()
def recommend(
    context: typer.Context,
    user: str = "",
    visitor: Visitor = "",
    session: str = "",
    explain: Explained = False,
    page_size: PageSize = 10,
    as_json: Json = False,
) -> None:
    """Recommend products for a user, a visitor or a session, without a query."""
    message = gateway_pb2.RecommendRequest(
        user_id=user, visitor_id=visitor, session_id=session, page_size=page_size, explain=explain
    )
    answer = call(context, "Recommend", message)
    if as_json:
        print_json(answer)
        return
    print_results(out, answer.results, answer.degradations, explain)
    if explain:
        print_waterfall(out, answer.timings)


@app.command()
def price(context: typer.Context, ids: list[str], as_json: Json = False) -> None:
    """Offers for products, with floor, ceiling and reason."""
    answer = call(context, "QuotePrices", gateway_pb2.QuotePricesRequest(product_ids=ids))
    return print_json(answer) if as_json else print_quotes(out, answer)


@app.command()
def health(context: typer.Context, as_json: Json = False) -> None:
    """Whether the gateway serves, and which stages it reaches."""
    answers = health_of(connection_of(context).channel())
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
    job = CatalogImport(connection_of(context), mapping, _rejects(file, rejects), images=images)
    _import(job, file, strict, as_json)
    if job.missing_pictures:
        err.print(f"{job.missing_pictures} products name a picture that {escape(str(images))} does not have")


@catalog.command("get")
def catalog_get(context: typer.Context, id: str) -> None:
    """One product, as JSON."""
    print_json(call(context, "GetProduct", gateway_pb2.GetProductRequest(id=id)))


@catalog.command("delete")
def catalog_delete(context: typer.Context, ids: list[str]) -> None:
    """Remove products."""
    answer = call(context, "DeleteProducts", gateway_pb2.DeleteProductsRequest(ids=ids))
    out.print(f"deleted {answer.deleted_count}, unknown {len(answer.missing_ids)}")


@catalog.command("reembed")
def catalog_reembed(
    context: typer.Context,
    model_version: Annotated[str, typer.Option(help="Of the new model, which the encoder serves beside the old.")] = "",
    vectors: Annotated[
        Path | None, typer.Option(help="Parquet of training.bulk_embedding; the encoder embeds what is not in it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Fill and check, do not switch.")] = False,
    force: Annotated[bool, typer.Option(help="Switch although the check found something.")] = False,
    rollback: Annotated[bool, typer.Option(help="Back to the model that was live before.")] = False,
    drop: Annotated[bool, typer.Option(help="Remove the collection that is not live.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the catalogue over to another model while it is searched. Without options: what there is."""
    if bool(model_version) + rollback + drop > 1:
        raise typer.BadParameter("--model-version, --rollback and --drop are three things; name one of them")
    job = Reembedding(connection_of(context), model_version, quiet=as_json)
    try:
        state = job.describe()
        if rollback or drop:
            if not state.HasField("staged") or (rollback and not state.staged_is_previous):
                raise Refused("there is no earlier model to go back to" if rollback else "there is nothing to drop")
            job.model_version = state.staged.model_version
        problems = []
        if drop:
            job.drop()
        elif model_version or rollback:
            problems = _reembed(job, vectors, dry_run, force, begin=not rollback)
    except grpc.RpcError as error:
        err.print(f"[red]{escape(explain_error(error))}", soft_wrap=True)
        err.print("what was done stays; run the same command again to go on")
        raise typer.Exit(1) from None
    except (FileRefused, Refused) as error:
        err.print(f"[red]{escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None
    print_collections(out, job.describe(), job, as_json)
    for problem in problems:
        err.print(f"[red]{escape(problem)}", soft_wrap=True)
    if problems and not force:
        err.print("searches go on as before; --force switches all the same")
        raise typer.Exit(1)


def _reembed(job: Reembedding, vectors: Path | None, dry_run: bool, force: bool, begin: bool) -> list[str]:
    """What speaks against the switch, which is then done only by force."""
    if job.describe().live.model_version == job.model_version:
        return []
    if begin:
        job.begin()
    if vectors is not None:
        job.store(vectors)
    job.fill()
    problems = job.check()
    if not dry_run and (force or not problems):
        job.switch()
    return problems


@events.command("import")
def events_import(
    context: typer.Context, file: Path, rejects: RejectsFile = None, strict: bool = False, as_json: Json = False
) -> None:
    """Import events: event_id, user_id or visitor_id, session_id, item_id, type, time, query, quantity, dwell_ms."""
    _import(EventsImport(connection_of(context), _rejects(file, rejects)), file, strict, as_json)


@events.command("record")
def events_record(
    context: typer.Context,
    user: str,
    item: str,
    type: str = "click",
    session: str = "",
    visitor: IsVisitor = False,
) -> None:
    """Record one event of a user or visitor."""
    person = {"visitor_id" if visitor else "user_id": user}
    values = {"event_id": uuid.uuid4().hex, "item_id": item, "type": type, "session_id": session}
    try:
        event = event_of(values | person)
    except RowRefused as error:
        err.print(f"[red]{escape(str(error))}")
        raise typer.Exit(2) from None
    answer = call(context, "RecordEvents", gateway_pb2.RecordEventsRequest(events=[event]))
    out.print(f"recorded {answer.recorded_count}" + (", but the catalogue has no such item" * bool(answer.missing_ids)))


@users.command("show")
def user_show(context: typer.Context, user: str, visitor: IsVisitor = False, as_json: Json = False) -> None:
    """Show the profile: interests, usual prices, purchases, the last events."""
    message = gateway_pb2.GetProfileRequest()
    setattr(message, "visitor_id" if visitor else "user_id", user)
    answer = call(context, "GetProfile", message)
    return print_json(answer) if as_json else print_profile(out, answer.profile)


@users.command("export")
def user_export(
    context: typer.Context,
    user: str,
    visitor: IsVisitor = False,
    to: Annotated[Path | None, typer.Option("--out", help="The file to write. Default: standard output.")] = None,
) -> None:
    """Export everything that is stored of a user or visitor, as JSON lines: profile, events, shown pages."""
    message = gateway_pb2.ExportUserRequest()
    setattr(message, "visitor_id" if visitor else "user_id", user)
    with to.open("w", encoding="utf-8") if to else nullcontext(sys.stdout) as file:
        while True:
            page = call(context, "ExportUser", message)
            records = [("profile", page.profile)] if page.HasField("profile") else []
            records += [("event", event) for event in page.events]
            records += [("impressions", shown) for shown in page.impressions]
            records += [("ranking", ranking) for ranking in page.rankings]
            for kind, record in records:
                line = {"record": kind} | MessageToDict(record, preserving_proto_field_name=True)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            message.page_token = page.next_page_token
            if not message.page_token:
                return


@users.command("merge")
def user_merge(context: typer.Context, visitor: str, user: str) -> None:
    """Move the history of an anonymous visitor to a user, once."""
    answer = call(context, "MergeUsers", gateway_pb2.MergeUsersRequest(visitor_id=visitor, user_id=user))
    out.print(f"moved {answer.moved_event_count} events, {answer.moved_impressions_count} shown pages")


@users.command("delete")
def user_delete(
    context: typer.Context,
    user: str,
    visitor: IsVisitor = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove everything of a user or visitor. It cannot be undone."""
    if not yes:
        typer.confirm(f"Remove all events and the profile of {user!r}?", abort=True)
    message = gateway_pb2.DeleteUserRequest()
    setattr(message, "visitor_id" if visitor else "user_id", user)
    answer = call(context, "DeleteUser", message)
    out.print(
        f"deleted {answer.deleted_event_count} events, {answer.deleted_impressions_count} shown pages, "
        f"{answer.deleted_ranking_count} rankings"
    )


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
