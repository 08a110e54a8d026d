"""`kairos price fairness`: what groups of persons were shown and paid, from the gateway's log."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import err, failed, log_pages, out
from cli.options import Json
from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from services.common.errors import InvalidArgument
from services.common.money import MINOR_UNIT_DECIMALS
from services.pricing.learning.convert import ACTS, impressions_from_proto, interaction_from_proto, seconds
from services.pricing.learning.facts import Impression, Interaction
from services.pricing.learning.fairness import Defect, Estimate, FairnessCounts, GroupPrices
from services.pricing.learning.periods import DAY_S
from services.pricing.learning.ports import Log
from services.pricing.learning.settings import LearningSettings
from services.pricing.learning.sqlite_store import SqliteDemandStore
from services.pricing.learning.sqlite_table import DemandTable

# (kind of id, id) -> name of the group.
Named = dict[tuple[str, str], str]
MAX_PERSONS, MAX_GROUPS, MAX_TEXT = 1_000_000, 50, 128
# An attribute with more numbers than these is cut at its quartiles.
_MOST_NUMBERS = 6
_LISTED = 20
_NOT_DECLARED = "(not declared)"


def fairness(
    context: typer.Context,
    attribute: Annotated[
        str, typer.Option(help="Declared attribute with `use: fairness` whose values are the groups.")
    ] = "",
    groups: Annotated[
        Path | None, typer.Option(help="In its place: a CSV file with columns user_id or visitor_id, and group.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Days to compare, up to now, as far as the log is kept.")] = 30,
    period_hours: Annotated[int, typer.Option(min=1, max=168, help="period_hours of the price policy.")] = 24,
    minimum_persons: Annotated[
        int, typer.Option(min=2, help="A group with fewer persons, or fewer buyers, has no figures.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Compare the prices that groups of persons were shown and paid.

    Exit code: 0 everybody was shown the same price of a product at the same time; 1 not everybody was, the cases are
    listed; 2 the groups cannot be used.
    """
    if bool(attribute) == bool(groups):
        raise typer.BadParameter("name either --attribute or --groups")
    named = groups_of_file(groups) if groups else groups_of_attribute(attribute, _attributes(context))
    if not named:
        raise failed(
            f"nobody has declared {attribute or 'a group'}",
            "Declare it with `use: fairness` in the schema, or give a file with --groups.", 2,
        )  # fmt: skip
    _check_count(named)
    learning = LearningSettings()
    with TemporaryDirectory(prefix="kairos-fairness-") as name:
        folder = Path(name)
        with closing(SqliteDemandStore(folder, learning.time_zone, learning.window_s)) as store:
            by_key = {store.key(kind, id): group for (kind, id), group in named.items()}
            since_s = time.time() - days * DAY_S
            for log, shown, done in _facts(context, store.key, since_s):
                store.add(log, "", 0.0, shown, done)
        counts = FairnessCounts(by_key, learning.window_s, period_hours * 3_600)
        for facts in DemandTable(folder, learning.time_zone, learning.window_s).facts():
            counts.add(facts)
    found, left_out = counts.report(minimum_persons)
    if as_json:
        print(json.dumps(_document(counts, found, left_out), ensure_ascii=False))
    else:
        _print(counts, found, left_out, minimum_persons)
    if counts.defects:
        raise typer.Exit(1)


def groups_of_file(file: Path) -> Named:
    """Prints what is wrong and ends the command for a file that cannot be used."""
    named: Named = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            columns = [name for name in ("user_id", "visitor_id") if name in (rows.fieldnames or ())]
            if not columns or "group" not in (rows.fieldnames or ()):
                raise failed(f"{file}: no columns user_id or visitor_id, and group", "Name them in the first line.", 2)
            for row in rows:
                where, group = f"{file}, line {rows.line_num}", (row["group"] or "").strip()
                ids = [(kind.removesuffix("_id"), id) for kind in columns if (id := (row[kind] or "").strip())]
                if not ids or not group or max(len(group), *(len(id) for _, id in ids)) > MAX_TEXT:
                    raise failed(f"{where}: an id and a group have 1 to {MAX_TEXT} characters", "Mend the line.", 2)
                for id in ids:
                    if named.setdefault(id, group) != group:
                        raise failed(f"{where}: {id[1]!r} is in a second group", "Put each person into one group.", 2)
                if len(named) > MAX_PERSONS:
                    raise failed(f"{where}: more than {MAX_PERSONS:,} persons", "Give a sample of them.", 2)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise failed(f"{file} cannot be read: {error}", "Give a CSV file in UTF-8.", 2) from None
    return named


def groups_of_attribute(name: str, attributes: Iterable[profile_pb2.OwnedAttribute]) -> Named:
    """By value of the attribute. Many numbers make four groups of about the same size."""
    own = [each for each in attributes if each.attribute.name == name]
    numbers = np.array([each.attribute.number for each in own if each.attribute.HasField("number")])
    edges = (
        np.unique(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1])) if len(set(numbers.tolist())) > _MOST_NUMBERS else None
    )
    named: Named = {}
    for each in own:
        person = ("user", each.user_id) if each.user_id else ("visitor", each.visitor_id)
        if not each.attribute.HasField("number"):
            named[person] = ", ".join(sorted(each.attribute.texts))
        elif edges is None:
            named[person] = f"{each.attribute.number:g}"
        else:
            place = min(int(np.searchsorted(edges, each.attribute.number, "right")), len(edges) - 1)
            named[person] = f"{edges[place - 1]:g} to {'' if place == len(edges) - 1 else 'below '}{edges[place]:g}"
    return named


def _check_count(named: Named) -> None:
    if (count := len(set(named.values()))) > MAX_GROUPS:
        raise failed(
            f"{count} groups; at most {MAX_GROUPS}", "Put persons into fewer groups, in a file for --groups.", 2
        )


def _attributes(context: typer.Context) -> Iterator[profile_pb2.OwnedAttribute]:
    for page in log_pages(context, ranker_pb2.LOG_KIND_FAIRNESS_ATTRIBUTES):
        yield from page.attributes


def _facts(
    context: typer.Context, key: Callable[..., int], since_s: float
) -> Iterator[tuple[Log, list[Impression], list[Interaction]]]:
    """Those of pages with prices, and of events, page by page. A record that cannot be read is left out."""
    left_out = 0
    for page in log_pages(context, ranker_pb2.LOG_KIND_IMPRESSIONS):
        shown: list[Impression] = []
        for one in page.impressions:
            if seconds(one.shown_at) < since_s or not one.HasField("prices"):
                continue
            try:
                shown += impressions_from_proto(_with_place(one), key)
            except InvalidArgument:
                left_out += 1
        yield Log.IMPRESSIONS, shown, []
    for page in log_pages(context, ranker_pb2.LOG_KIND_EVENTS):
        done: list[Interaction] = []
        for event in page.events:
            if event.type not in ACTS or seconds(event.occurred_at) < since_s:
                continue
            try:
                done.append(interaction_from_proto(event, key))
            except InvalidArgument:
                left_out += 1
        yield Log.EVENTS, [], done
    if left_out:
        err.print(f"[yellow]{left_out} records of the log cannot be read")


def _with_place(page: event_pb2.Impressions) -> event_pb2.Impressions:
    """With the place in the name of the price list: a place may have prices of its own."""
    if page.prices.place_id:
        page.prices.price_list_id = f"{page.prices.price_list_id} at {page.prices.place_id}"
    return page


def _document(counts: FairnessCounts, found: list[GroupPrices], left_out: int) -> dict[str, Any]:
    return {
        "groups": [asdict(each) for each in found],
        "small_groups": left_out,
        "cases": counts.cases,
        "changed_cases": counts.changed_cases,
        "defect_cases": counts.defect_cases,
        "defects": [asdict(each) for each in counts.defects],
    }


def _print(counts: FairnessCounts, found: list[GroupPrices], left_out: int, minimum: int) -> None:
    columns = (
        "group",
        "persons",
        "buyers",
        "shown ÷ list",
        "at the same case",
        "paid ÷ list",
        "products",
        "time",
        "checkout",
    )
    table = Table(*columns, box=None, pad_edge=False)
    for each in found:
        table.add_row(
            escape(each.group or _NOT_DECLARED), f"{each.persons:,}", f"{each.buyers:,}",
            *(_interval(part) for part in (each.shown, each.shown_at_same, each.paid)),
            *("–" if part is None else f"{part:+.3f}" for part in (each.products, each.time, each.checkout)),
        )  # fmt: skip
    out.print(table)
    if left_out:
        out.print(f"{left_out} groups with fewer than {minimum} persons are left out")
    out.print(
        f"{counts.cases:,} cases of a product, price list, place, list price and period: in {counts.changed_cases:,} "
        f"the price changed for everybody, in {counts.defect_cases:,} persons were shown different prices",
        soft_wrap=True,
    )
    for defect in counts.defects[:_LISTED]:
        out.print(escape(_sentence(defect)), soft_wrap=True)
    if counts.defect_cases > _LISTED:
        out.print(f"and {counts.defect_cases - _LISTED:,} more; --json has up to 1,000")


def _interval(part: Estimate | None) -> str:
    return "–" if part is None else f"{part.value:.3f} ({part.low:.3f}–{part.high:.3f})"


def _sentence(defect: Defect) -> str:
    decimals = MINOR_UNIT_DECIMALS[defect.currency]
    prices = (
        f"{defect.currency} {Decimal(each.price).scaleb(-decimals)} to {each.persons} persons from "
        f"{_minute(each.first_s)} to {_minute(each.last_s)}"
        for each in defect.prices
    )
    of_list = f" in {defect.price_list_id}" if defect.price_list_id else ""
    return f"{defect.product_id}{of_list}: {'; '.join(prices)}"


def _minute(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S}"
