"""`kairos faq`: the questions that shoppers ask, and the shop's answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import grpc
import typer
from google.protobuf.json_format import MessageToJson
from rich.markup import escape
from rich.table import Table

from catalog.faq import ReadEntry, read_faq
from catalog.files import FileRefused, Row
from catalog.imports import Summary
from cli.calls import call, connection_of, err, failed, out, print_json
from cli.imports import rejects_of
from cli.options import Json, Locale, RejectsFile, Strict
from kairos.common.v1 import faq_pb2
from kairos.gateway.v1 import faq_pb2 as gateway_faq_pb2
from ops.client import Connection, explain_error
from services.common.faq import MAX_DELETED, MAX_LISTED, faq_batches

# Of one call: a thousand questions are encoded in it.
_IMPORT_S = 120.0
_SHOWN = 60

app = typer.Typer(no_args_is_help=True, help="Questions that shoppers ask, and the shop's answers.")


@app.command("import")
def import_entries(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Markdown, plain or .gz: see how-to/faq.")],
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import entries. One with the id of a stored entry replaces it.

    Exit code: 0 all entries were accepted or are in the file of rejected ones; 1 none was accepted, the gateway
    refused, or --strict and an entry was rejected; 2 the file cannot be used.
    """
    summary, rejected = Summary(), rejects_of(file, rejects)
    try:
        accepted: dict[str, ReadEntry] = {}
        for read in read_faq(file):
            summary.read += 1
            problem = read.problem
            if problem is None and read.entry.id in accepted:
                problem = "id", "came before; give each entry its own"
            if problem is None:
                accepted[read.entry.id] = read
            else:
                summary.rejected += 1
                rejected.add(Row(read.line, {}, raw=read.raw), *problem)
        for answer, entries in _imported(connection_of(context), (each.entry for each in accepted.values())):
            summary.imported += answer.imported_count
            summary.unchanged += answer.unchanged_count
            for wrong in answer.rejected:
                summary.rejected += 1
                read = accepted[entries[wrong.index].id]
                rejected.add(Row(read.line, {}, raw=read.raw), wrong.field, wrong.reason)
    except FileRefused as error:
        raise failed(str(error), exit_code=2) from None
    except grpc.RpcError as error:
        hint = f"{summary.accepted} entries were stored before; run the same command again to continue"
        raise failed(explain_error(error), hint) from None
    finally:
        rejected.close()
    numbers = {name: getattr(summary, name) for name in ("read", "imported", "unchanged", "rejected")}
    if as_json:
        out.print_json(data=numbers)
    else:
        out.print(", ".join(f"{name} {count}" for name, count in numbers.items()))
    if summary.rejected:
        err.print(f"rejected entries, with line and reason: {escape(str(rejected.path))}", soft_wrap=True)
        if not summary.accepted:
            raise failed("no entry was accepted")
        if strict:
            raise typer.Exit(1)


@app.command("list")
def list_entries(context: typer.Context, as_json: Json = False) -> None:
    """Print all entries, also those that are not valid now. With --json one a line, as `import` reads them."""
    entries = list(_listed(context))
    if as_json:
        for entry in entries:
            print(MessageToJson(entry, preserving_proto_field_name=True, ensure_ascii=False, indent=None))
        return
    table = Table("id", "version", "locale", "question", "valid", box=None)
    for entry in entries:
        valid = f"{_day(entry, 'valid_from')} to {_day(entry, 'valid_until')}".strip()
        table.add_row(
            escape(entry.id), str(entry.version), entry.locale, escape(entry.question[:_SHOWN]),
            valid if valid != "to" else "",
        )  # fmt: skip
    out.print(table)


@app.command()
def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="As a shopper would ask it.")],
    locale: Locale = "",
    near: Annotated[int, typer.Option(min=1, max=10, help="Number of other entries to print.")] = 3,
    as_json: Json = False,
) -> None:
    """Ask a question. Exit code 1: no entry is likely enough to answer it."""
    request = gateway_faq_pb2.AskFaqRequest(question=question, locale=locale, near_count=near)
    answer: gateway_faq_pb2.AskFaqResponse = call(context, "AskFaq", request)
    if as_json:
        print_json(answer)
    elif answer.HasField("answer"):
        entry = answer.answer.entry
        out.print(f"[bold]{escape(entry.question)}[/] ({escape(entry.id)}, {answer.answer.confidence:.0%})")
        out.print(escape(entry.answer))
    else:
        out.print("no entry answers this question")
    if not as_json:
        for match in answer.near:
            out.print(f"[dim]near: {escape(match.entry.question)} ({match.confidence:.0%})[/]")
        for degradation in answer.degradations:
            err.print(escape(f"degraded: {degradation.fallback} ({degradation.detail})"), soft_wrap=True)
    if not answer.HasField("answer"):
        raise typer.Exit(1)


@app.command()
def delete(
    context: typer.Context, ids: Annotated[list[str], typer.Argument(help="Ids of entries.")], as_json: Json = False
) -> None:
    """Delete entries. Exit code 1: an id was not there."""
    deleted = gateway_faq_pb2.DeleteFaqEntriesResponse()
    for start in range(0, len(ids), MAX_DELETED):
        request = gateway_faq_pb2.DeleteFaqEntriesRequest(ids=ids[start : start + MAX_DELETED])
        answer = call(context, "DeleteFaqEntries", request)
        deleted.deleted_count += answer.deleted_count
        deleted.missing_ids.extend(answer.missing_ids)
    if as_json:
        print_json(deleted)
    else:
        out.print(f"deleted {deleted.deleted_count}")
        for id in deleted.missing_ids:
            err.print(escape(f"there is no entry {id!r}"), soft_wrap=True)
    if deleted.missing_ids:
        raise typer.Exit(1)


@app.command()
def reembed(context: typer.Context, as_json: Json = False) -> None:
    """Encode all entries again, after the text encoder was changed. Meanwhile questions are answered by their words."""
    count = 0
    try:
        for answer, _ in _imported(connection_of(context), _listed(context)):
            count += answer.imported_count + answer.unchanged_count
    except grpc.RpcError as error:
        raise failed(explain_error(error), "run the same command again") from None
    if as_json:
        out.print_json(data={"encoded": count})
    else:
        out.print(f"encoded {count}")


def _imported(
    connection: Connection, entries: Iterable[faq_pb2.FaqEntry]
) -> Iterator[tuple[gateway_faq_pb2.ImportFaqEntriesResponse, list[faq_pb2.FaqEntry]]]:
    """Each answer with the entries that were sent. Raises grpc.RpcError."""
    with connection.stub() as stub:
        for batch in faq_batches(entries):
            request = gateway_faq_pb2.ImportFaqEntriesRequest(entries=batch)
            timeout_s = max(_IMPORT_S, connection.timeout_s)
            yield stub.ImportFaqEntries(request, timeout=timeout_s, metadata=connection.metadata), batch


def _listed(context: typer.Context) -> Iterator[faq_pb2.FaqEntry]:
    request = gateway_faq_pb2.ListFaqEntriesRequest(page_size=MAX_LISTED)
    while True:
        page = call(context, "ListFaqEntries", request)
        yield from page.entries
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _day(entry: faq_pb2.FaqEntry, field: Literal["valid_from", "valid_until"]) -> str:
    return getattr(entry, field).ToDatetime().date().isoformat() if entry.HasField(field) else ""
