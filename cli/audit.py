"""`kairos control audit`: what is on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.markup import escape
from rich.table import Column, Table

from cli.audit_import import quotes_of
from cli.calls import err, failed, out, print_json
from cli.control_client import PAGE, checked_input, client_of, dictionary_of
from cli.options import Json
from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.convert import money_from_proto
from services.common.errors import InvalidArgument

app = typer.Typer(no_args_is_help=True, help=__doc__)

_KIND, _REASON = "ENTRY_KIND_", "PRICE_REASON_"
# Entries of one call of an import.
_BATCH = 1_000


@app.command("list")
def list_entries(
    context: typer.Context,
    subject: Annotated[str, typer.Option(help="Only entries about this, for example the id of a product.")] = "",
    request: Annotated[str, typer.Option(help="Only entries of the request with this id.")] = "",
    first: Annotated[str, typer.Option("--from", help="Only entries of this time or later, as 2026-12-01T15:00.")] = "",
    until: Annotated[str, typer.Option("--until", help="Only entries before this time.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """List what is in the database, the newest first. Times without a zone are in UTC."""
    client, asked = client_of(context), audit_pb2.ListEntriesRequest(subject_id=subject, request_id=request)
    with checked_input():
        if first:
            getattr(asked, "from").FromDatetime(_moment("--from", first))
        if until:
            asked.until.FromDatetime(_moment("--until", until))
    found = list[audit_pb2.AuditEntry]()
    while len(found) < limit:
        asked.page_size = min(PAGE, limit - len(found))
        answer = client.call("ListEntries", asked)
        found += answer.entries
        if not answer.next_page_token:
            break
        asked.page_token = answer.next_page_token
    if as_json:
        print(json.dumps([dictionary_of(entry) for entry in found], ensure_ascii=False))
        return
    # An id is never cut: `get` takes it.
    id_column = Column("id", no_wrap=True, overflow="fold")
    table = Table("recorded at", "kind", id_column, "subject", "request", "what", box=None, pad_edge=False)
    for entry in found:
        moment = f"{entry.recorded_at.ToDatetime():%Y-%m-%d %H:%M:%S}"
        about = (escape(text) for text in (entry.id, entry.subject_id, entry.request_id))
        table.add_row(moment, _kind(entry), *about, escape(_summary(entry)))
    out.print(table)


@app.command()
def get(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="price_quote or price_decision.")],
    id: Annotated[str, typer.Argument(help="Id of the entry, for example of a quote.")],
    as_json: Json = False,
) -> None:
    """Print one entry as YAML. Exit code 1 if the database does not have it: it is unknown, or archived."""
    known = {name.removeprefix(_KIND).lower(): number for name, number in audit_pb2.EntryKind.items() if number}
    if kind not in known:
        raise failed(f"kind: {kind[:40]!r} is unknown; use {', '.join(known)}", exit_code=2)
    asked = audit_pb2.GetEntryRequest(kind=known[kind], id=id)
    answer = client_of(context).call("GetEntry", asked, missing_is_fine=True)
    if answer is None:
        raise failed(f"the database has no {kind} {id!r}", "It may be in the archive: docs/how-to/control.md.")
    if as_json:
        print_json(answer.entry)
    else:
        print(yaml.safe_dump(dictionary_of(answer.entry), allow_unicode=True, sort_keys=False), end="")


def import_audit(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="audit.db of pricing, of a version before its outbox.")],
    as_json: Json = False,
) -> None:
    """Record the quotes of the file in which pricing kept its audit log, except those that are archived as Parquet.

    It may run again: quotes that are stored already are left as they are. With --tenant only quotes of that tenant. The
    key needs the role recorder or admin. Exit code 2 if the file is none, or control refuses.
    """
    client, sent, stored = client_of(context), 0, 0
    with checked_input():
        for tenant, entries in quotes_of(file, client.tenant, _BATCH):
            request = audit_pb2.RecordEntriesRequest(entries=entries)
            stored += client.call_for(tenant, "RecordEntries", request).stored_count
            sent += len(entries)
            if err.is_terminal and not as_json:
                err.print(f"{sent} quotes", end="\r")
    if as_json:
        print(json.dumps({"quotes": sent, "stored": stored}))
    else:
        out.print(f"{sent} quotes, {stored} of them were not stored before")


def _moment(option: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument.of(option, f"{text[:40]!r} is no time; write it as 2026-12-01T15:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _kind(entry: audit_pb2.AuditEntry) -> str:
    kinds = {"quoted_price": "price_quote", "price_decision": "price_decision"}
    return kinds.get(entry.WhichOneof("content") or "", "-")


def _summary(entry: audit_pb2.AuditEntry) -> str:
    if entry.WhichOneof("content") == "price_decision":
        made = entry.price_decision
        return f"{_money(made.price)} of {_money(made.list_price)}, by {made.model_version}"
    quote = entry.quoted_price.quote
    reason = pricing_pb2.PriceReason.Name(quote.reason).removeprefix(_REASON).lower()
    return f"{_money(quote.offer)} of {_money(quote.list_price)}, {reason}"


def _money(money: common_pb2.Money) -> str:
    return str(money_from_proto(money, "offer"))
