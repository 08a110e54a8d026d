"""`kairos campaigns`: sponsored places, who pays for them, and what they brought."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from cli.calls import failed, out
from cli.campaign_report import Row, as_csv, rows_of
from cli.control_client import Client, Listed, checked_input, client_of, connect, dictionary_of
from cli.control_files import content_of
from cli.options import Json
from kairos.control.v1 import budgets_pb2, control_pb2
from services.common.convert import money_from_proto
from services.common.daily_window import zone_of
from services.common.errors import InvalidArgument

app = typer.Typer(no_args_is_help=True, help=__doc__)
app.callback()(connect)

_KIND, _STATE = control_pb2.RESOURCE_KIND_CAMPAIGN, "RESOURCE_STATE_"
# Days of a report, and bills of a call.
_DAYS, _PAGE = 30, 5_000


@app.command("list")
def list_campaigns(
    context: typer.Context,
    archived: Annotated[bool, typer.Option(help="List those that are archived.")] = False,
    as_json: Json = False,
) -> None:
    """List the campaigns, by id."""
    found = client_of(context).resources("campaign", Listed.ARCHIVED if archived else None)
    if as_json:
        print(json.dumps([dictionary_of(one) for one in found], ensure_ascii=False))
        return
    table = Table(
        Column("id", no_wrap=True, overflow="fold"), "state", "advertiser", "payer", "bid", "daily budget", "products",
        box=None, pad_edge=False,
    )  # fmt: skip
    for one in found:
        campaign = one.campaign
        amounts = (str(money_from_proto(money, "")) for money in (campaign.bid, campaign.daily_budget))
        parties = (escape(text) for text in (campaign.advertiser, campaign.payer))
        table.add_row(escape(one.id), _state(one), *parties, *amounts, str(len(campaign.product_ids)))
    out.print(table)


@app.command()
def show(
    context: typer.Context, id: Annotated[str, typer.Argument(help="Id of the campaign.")], as_json: Json = False
) -> None:
    """Print one campaign, and what it owes for today and for all days that are kept. Exit code 1 if it is unknown."""
    client = client_of(context)
    resource = client.resource(_KIND, id)
    if resource is None:
        raise failed(f"there is no campaign {id!r}", "`kairos campaigns list` shows what there is.")
    bills = bills_of(client, id)
    total, today = rows_of(bills, {}, is_daily=False), _day(resource)
    of_today = rows_of((bill for bill in bills if bill.day == today), {}, is_daily=False)
    if as_json:
        owed = {"today": [row.document() for row in of_today], "all_days": [row.document() for row in total]}
        print(json.dumps({**dictionary_of(resource), **owed}, ensure_ascii=False))
        return
    out.print(f"[bold]{escape(id)}[/]  {_state(resource)}, version {resource.version}", soft_wrap=True)
    print(yaml.safe_dump(dict(content_of(resource)), allow_unicode=True, sort_keys=False), end="")
    for name, rows in ((f"today, {today}", of_today), ("all days", total)):
        for row in rows:
            out.print(f"{name}: {row.currency} {row.document()['spend']} for {row.clicks} clicks", soft_wrap=True)


@app.command()
def report(
    context: typer.Context,
    campaign: Annotated[str, typer.Option(help="Id of a campaign. Default: all.")] = "",
    first: Annotated[
        str, typer.Option("--from", help="The first day, as 2026-12-01.", show_default="30 days before the last one")
    ] = "",
    until: Annotated[str, typer.Option("--until", help="The last day.", show_default="today")] = "",
    daily: Annotated[bool, typer.Option(help="A row for each day.")] = False,
    as_csv_file: Annotated[bool, typer.Option("--csv", help="Print CSV to standard output.")] = False,
    as_json: Json = False,
) -> None:
    """Print what campaigns brought: ads that were shown, clicks, what is owed, refused clicks by reason, and sales.

    A day is one of the campaign's time zone. Sales follow the last billed click within seven days; a bill is final ten
    days later.
    """
    client = client_of(context)
    with checked_input():
        # Somewhere it is tomorrow.
        last_day = _parsed("--until", until) or datetime.now(UTC).date() + timedelta(days=1)
        first_day = _parsed("--from", first) or last_day - timedelta(days=_DAYS)
    bills = bills_of(client, campaign, first_day, last_day)
    rows = rows_of(bills, _advertisers(client, {bill.campaign_id for bill in bills}), daily)
    if as_json:
        print(json.dumps({"campaigns": [row.document() for row in rows]}, ensure_ascii=False))
    elif as_csv_file:
        print(as_csv(rows), end="")
    else:
        print_report(out, rows, daily)


def print_report(console: Console, rows: list[Row], is_daily: bool) -> None:
    first: list[Column | str] = [Column("campaign", no_wrap=True, overflow="fold"), *(["day"] if is_daily else [])]
    numbers = ("shown", "clicks", "rate", "refused", "spend", "sales", "brand", "return")
    table = Table(*first, *(Column(name, justify="right") for name in numbers), box=None, pad_edge=False)
    for row in rows:
        spend, sales, brand = (row.document()[name] for name in ("spend", "sales", "same_brand_sales"))
        rate = "-" if row.click_rate is None else f"{row.click_rate:.2%}"
        gained = "-" if row.return_on_spend is None else f"{row.return_on_spend:.2f}"
        name = [escape(row.campaign_id), *([row.day] if is_daily else [])]
        counts = (f"{row.impressions}", f"{row.clicks}", rate, f"{row.refused.total()}")
        table.add_row(*name, *counts, f"{row.currency} {spend}", sales, brand, gained)
    console.print(table)
    refused = sum((row.refused for row in rows), Counter[str]())
    if refused:
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in sorted(refused.items()))
        console.print(f"refused clicks: {reasons}", soft_wrap=True)
    if any(not row.is_final for row in rows):
        console.print("Not all of these days are final.", soft_wrap=True)


def bills_of(
    client: Client, campaign_id: str = "", first: date | None = None, last: date | None = None
) -> list[budgets_pb2.Bill]:
    request = budgets_pb2.ListBillsRequest(campaign_id=campaign_id, page_size=_PAGE)
    request.from_day, request.until_day = (day.isoformat() if day else "" for day in (first, last))
    found = list[budgets_pb2.Bill]()
    while True:
        answer: budgets_pb2.ListBillsResponse = client.call("ListBills", request)
        found += answer.bills
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def _advertisers(client: Client, ids: set[str]) -> dict[str, str]:
    """Of campaigns, archived ones too; those of others are unknown."""
    if not ids:
        return {}
    found = [*client.resources("campaign"), *client.resources("campaign", Listed.ARCHIVED)]
    return {one.id: one.campaign.advertiser for one in found}


def _state(resource: control_pb2.Resource) -> str:
    return control_pb2.ResourceState.Name(resource.state).removeprefix(_STATE).lower()


def _day(resource: control_pb2.Resource) -> str:
    """Today, in the time zone of the campaign."""
    return datetime.now(zone_of(resource.campaign.time_zone or "UTC") or UTC).date().isoformat()


def _parsed(option: str, text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument.of(option, f"{text[:40]!r} is no day; write it as 2026-12-01") from None
