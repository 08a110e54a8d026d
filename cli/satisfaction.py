"""`kairos satisfaction`: what shoppers say of answers and products, by placement, version and experiment arm."""

from __future__ import annotations

import json
import math
import uuid
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import call, log_pages, out, print_json
from cli.options import Json, Session, User, Visitor
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.attribution import ranking_of
from services.common.satisfaction import satisfaction_of
from services.common.scripts import has_han
from services.common.sentiment import CLEAR, sentiment_of

app = typer.Typer(no_args_is_help=True, help=__doc__)

_UNKNOWN = "unknown"
# Of a 95 % interval, in standard errors.
_SPREAD = 1.96
_LOWEST_SHOWN = 3


class Grouping(StrEnum):
    PLACEMENT = "placement"
    VERSION = "version"
    ARM = "arm"
    LANGUAGE = "language"


@dataclass(frozen=True)
class Said:
    """One feedback with what its answer was. `arms`: "experiment/arm" of each."""

    value: float
    feedback: event_pb2.Feedback
    placement: str
    version: str
    arms: tuple[str, ...]

    def groups(self, by: Grouping) -> tuple[str, ...]:
        match by:
            case Grouping.PLACEMENT:
                return (self.placement,)
            case Grouping.VERSION:
                return (self.version,)
            case Grouping.ARM:
                return self.arms
            case Grouping.LANGUAGE:
                return ("zh" if has_han(self.feedback.text) else "en" if self.feedback.text else _UNKNOWN,)


@app.command()
def report(
    context: typer.Context,
    by: Annotated[Grouping, typer.Option(help="What the rows are.")] = Grouping.PLACEMENT,
    as_json: Json = False,
) -> None:
    """Report the satisfaction of shoppers from the log: mean with a 95 % interval, and what texts say."""
    said = read_feedback(context)
    groups: dict[str, list[Said]] = defaultdict(list)
    for one in said:
        for group in one.groups(by):
            groups[group].append(one)
    rows = [row_of(name, groups[name]) for name in sorted(groups)]
    rows.sort(key=lambda row: row["satisfaction"])
    if as_json:
        print(json.dumps({"by": by.value, "count": len(said), "rows": rows}, ensure_ascii=False))
        return
    table = Table(by.value, "count", "satisfaction", "95 % interval", "positive texts", "negative", box=None)
    for row in rows:
        low, high = row["interval"]
        table.add_row(
            escape(row["group"]), str(row["count"]), f"{row['satisfaction']:.2f}",
            f"{low:.2f} to {high:.2f}", str(row["positive_texts"]), str(row["negative_texts"]),
        )  # fmt: skip
    if rows:
        out.print(table)
    elif said:
        out.print(f"{len(said)} answers have feedback, none of them in an experiment.")
    else:
        out.print("No feedback yet: send it with RecordFeedback, or with `kairos satisfaction record`.")
    worst = sorted((one for one in said if one.feedback.text), key=lambda one: one.value)[:_LOWEST_SHOWN]
    for one in worst:
        out.print(f"  {one.value:.2f}  {escape(one.feedback.text)}", soft_wrap=True)


@app.command()
def record(
    context: typer.Context,
    rating: Annotated[int, typer.Option(min=0, max=5, help="1 (not satisfied) to 5. 0: none.")] = 0,
    up: Annotated[bool | None, typer.Option("--up/--down", help="Thumb up or down.")] = None,
    text: Annotated[str, typer.Option(help="What the shopper says.")] = "",
    item: Annotated[str, typer.Option(help="Id of the product that it is about.")] = "",
    token: Annotated[str, typer.Option(help="Attribution token of the answer that it is about.")] = "",
    user: User = "",
    visitor: Visitor = "",
    session: Session = "",
    id: Annotated[
        str, typer.Option(help="Id of the feedback; sent again, it changes nothing.", show_default="new")
    ] = "",
    as_json: Json = False,
) -> None:
    """Record how satisfied a shopper is, as a shop does with RecordFeedback."""
    thumb = event_pb2.THUMB_UNSPECIFIED if up is None else event_pb2.THUMB_UP if up else event_pb2.THUMB_DOWN
    message = gateway_pb2.RecordFeedbackRequest(
        feedback_id=id or uuid.uuid4().hex, user_id=user, visitor_id=visitor, session_id=session, item_id=item,
        attribution_token=token, feedback=event_pb2.Feedback(thumb=thumb, rating=rating, text=text),
    )  # fmt: skip
    answer: gateway_pb2.RecordFeedbackResponse = call(context, "RecordFeedback", message)
    if as_json:
        print_json(answer)
    else:
        out.print("recorded before" if answer.is_duplicate else "recorded")


def row_of(name: str, said: list[Said]) -> dict[str, Any]:
    values = [one.value for one in said]
    mean = sum(values) / len(values)
    # One value says nothing of the others' spread: then the interval is everything.
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1) if len(values) > 1 else math.inf
    spread = _SPREAD * math.sqrt(variance / len(values))
    felt = [sentiment_of(one.feedback.text) for one in said if one.feedback.text]
    return {
        "group": name, "count": len(said), "satisfaction": round(mean, 4),
        "interval": [round(max(0.0, mean - spread), 4), round(min(1.0, mean + spread), 4)],
        "positive_texts": sum(value > CLEAR for value in felt), "negative_texts": sum(value < -CLEAR for value in felt),
    }  # fmt: skip


def read_feedback(context: typer.Context) -> list[Said]:
    """Ends the command if the log cannot be read."""
    events = [
        event
        for page in log_pages(context, ranker_pb2.LOG_KIND_EVENTS)
        for event in page.events
        if event.type == event_pb2.EVENT_TYPE_FEEDBACK and not event.feedback.is_product_review
    ]
    wanted = {ranking_of(event.attribution_token) for event in events} - {""}
    shown: dict[str, event_pb2.Impressions] = {}
    if wanted:
        for page in log_pages(context, ranker_pb2.LOG_KIND_IMPRESSIONS):
            shown |= {one.ranking_id: one for one in page.impressions if one.ranking_id in wanted}
    found = []
    for event in events:
        of = shown.get(ranking_of(event.attribution_token))
        arms = tuple(f"{arm.experiment}/{arm.arm}" for arm in of.experiment_arms) if of else ()
        found.append(
            Said(
                satisfaction_of(event.feedback), event.feedback, of.placement or _UNKNOWN if of else _UNKNOWN,
                of.model_version or _UNKNOWN if of else _UNKNOWN, arms,
            )
        )  # fmt: skip
    return found
