"""`kairos reviews`: what waits for a decision in control, and the decisions."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from rich.markup import escape

from cli.calls import failed, out
from cli.control_client import Client, Listed, client_of, connect, dictionary_of, moment_text
from cli.options import Json
from kairos.control.v1 import control_pb2
from services.common.scripts import has_han

app = typer.Typer(no_args_is_help=True, help=__doc__)
app.callback()(connect)

_KIND, _UNDECIDED = control_pb2.RESOURCE_KIND_REVIEW, control_pb2.REVIEW_DECISION_UNSPECIFIED
_PREFIX, _SUBJECT = "REVIEW_DECISION_", "REVIEW_SUBJECT_"
# Of a 95 % interval. Below the first share of right findings, and above the second, rules should have another outcome.
_Z = 1.96
_MOSTLY_WRONG, _MOSTLY_RIGHT = 0.5, 0.9


class SubjectName(Enum):
    """What reviews are about."""

    PRODUCT = "product"
    PRODUCT_REVIEW = "product-review"
    ANSWER = "answer"
    HAND_OVER = "hand-over"
    PRICE = "price"


Subject = Annotated[SubjectName | None, typer.Option(help="Only reviews about this.")]
Decision: TypeAlias = "control_pb2.ReviewDecision.ValueType"
Id = Annotated[str, typer.Argument(help="Id of the review.")]
Note = Annotated[str, typer.Option(help="The reason of the decision. At most 1,000 characters.")]
Etag = Annotated[
    str,
    typer.Option(
        help="As `list` printed it: the decision is refused if the review has changed since. Default: as it is."
    ),
]


@app.command("list")
def list_reviews(context: typer.Context, subject: Subject = None, as_json: Json = False) -> None:
    """List the reviews that wait for a decision, by id. One that is decided and not published waits too."""
    found = client_of(context).resources("review", Listed.DRAFT)
    if subject is not None:
        found = [one for one in found if one.review.subject == _number_of(subject)]
    if as_json:
        print(json.dumps([dictionary_of(one) for one in found], ensure_ascii=False))
        return
    for one in found:
        state = "waits" if one.review.decision == _UNDECIDED else f"{_word(one.review.decision)}, not published"
        about = f"  about {one.review.subject_id}" if one.review.subject_id else ""
        by = f"{one.changed_by}, {moment_text(one.updated_at)}"
        # Lines are not cut: id and etag are what a decision takes.
        out.print(f"[bold]{escape(one.id)}[/]{escape(about)}  {state}  {escape(by)}  etag {one.etag}", soft_wrap=True)
        out.print(f"  {escape(one.review.question)}", soft_wrap=True)


@app.command()
def show(context: typer.Context, id: Id, as_json: Json = False) -> None:
    """Show one review with the text to decide about: titles, a shopper's review, or the turns of a conversation."""
    review = client_of(context).resource(_KIND, id)
    if review is None:
        raise failed(f"there is no review {id!r}", "`kairos reviews list` shows what waits.", exit_code=2)
    if as_json:
        print(json.dumps(dictionary_of(review), ensure_ascii=False))
        return
    content = review.review
    out.print(
        f"[bold]{escape(id)}[/]  {_word_of_subject(content.subject)} {escape(content.subject_id)}", soft_wrap=True
    )
    out.print(escape(content.question), soft_wrap=True)
    if content.text:
        out.print(escape(content.text), soft_wrap=True)
    decided = "waits" if content.decision == _UNDECIDED else f"{_word(content.decision)} {escape(content.note)}"
    out.print(f"{decided}  {escape(review.changed_by)}, {moment_text(review.updated_at)}  etag {review.etag}")


@app.command()
def report(
    context: typer.Context,
    minimum: Annotated[int, typer.Option(min=1, help="Decisions that a proposal needs.")] = 20,
    as_json: Json = False,
) -> None:
    """Report how often people agree with moderation, by category, and propose other outcomes of the rules.

    A product that people reject was found rightly. A proposal holds with 95 % certainty; put it into the file of rules.
    """
    rows = [
        {"category": name, **vars(one), "proposal": one.proposal(minimum)}
        for name, one in sorted(_agreement(client_of(context)).items())
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        right, count = row["rejected"], row["rejected"] + row["approved"]
        out.print(f"{row['category']:<16} {right} of {count} found rightly  {row['proposal']}", soft_wrap=True)
    if not rows:
        out.print("No decisions about products or reviews are published yet.")


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Option("--out", help="CSV file to write.")] = Path("labelled.csv"),
    as_json: Json = False,
) -> None:
    """Export what people have decided about texts as labelled examples: title, language, category, looks_like, split.

    `python -m benchmarks.moderation --titles FILE` measures rules and a trained classifier on them.
    """
    rows = []
    for one in _decided(client_of(context)):
        title = one.review.text.partition("\n")[0]
        category = one.review.categories[0] if one.review.categories else "other"
        is_right = one.review.decision == control_pb2.REVIEW_DECISION_REJECTED
        half = hashlib.blake2b(title.encode(), digest_size=1).digest()[0] % 2
        language = "zh" if has_han(title) else "en"
        rows.append([title, language, category if is_right else "", category, "development" if half else "held_out"])
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(["title", "language", "category", "looks_like", "split"])
        writer.writerows(rows)
    if as_json:
        print(json.dumps({"file": str(file), "texts": len(rows)}, ensure_ascii=False))
    else:
        out.print(f"{len(rows)} labelled texts in {escape(str(file))}", soft_wrap=True)


@dataclass
class Agreement:
    approved: int = 0
    rejected: int = 0

    def proposal(self, minimum: int) -> str:
        """By Wilson's interval of the share that was found rightly."""
        count = self.approved + self.rejected
        if count < minimum:
            return f"no proposal before {minimum} decisions"
        low, high = wilson(self.rejected, count)
        if high < _MOSTLY_WRONG:
            return "outcome: pass, or add `unless` phrases: most of it is innocent"
        if low > _MOSTLY_RIGHT:
            return "outcome: block: nearly all of it is rejected"
        return "outcome: review: a person has to look"


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    share, spread = hits / count, _Z * _Z / count
    middle = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def _agreement(client: Client) -> dict[str, Agreement]:
    found: defaultdict[str, Agreement] = defaultdict(Agreement)
    for one in _decided(client):
        for category in one.review.categories:
            if one.review.decision == control_pb2.REVIEW_DECISION_APPROVED:
                found[category].approved += 1
            else:
                found[category].rejected += 1
    return found


def _decided(client: Client) -> list[control_pb2.Resource]:
    """Published decisions about texts."""
    published = client.resources("review", Listed.PUBLISHED)
    return [one for one in published if one.review.text and one.review.categories]


@app.command()
def approve(context: typer.Context, id: Id, note: Note = "", etag: Etag = "", as_json: Json = False) -> None:
    """Approve, and publish the decision. Exit code 2 if somebody else has decided."""
    _decide(client_of(context), id, control_pb2.REVIEW_DECISION_APPROVED, note, etag, as_json)


@app.command()
def reject(context: typer.Context, id: Id, note: Note = "", etag: Etag = "", as_json: Json = False) -> None:
    """Reject, and publish the decision. Exit code 2 if somebody else has decided."""
    _decide(client_of(context), id, control_pb2.REVIEW_DECISION_REJECTED, note, etag, as_json)


def _decide(client: Client, id: str, decision: Decision, note: str, etag: str, as_json: bool) -> None:
    """After a failure between the decision and its publish the command may be repeated."""
    review = client.resource(_KIND, id)
    if review is None:
        raise failed(f"there is no review {id!r}", "`kairos reviews list` shows what waits.", exit_code=2)
    if review.state == control_pb2.RESOURCE_STATE_ARCHIVED:
        raise failed(f"the review {id!r} is archived; nobody waits for its decision", exit_code=2)
    if review.state == control_pb2.RESOURCE_STATE_PUBLISHED and etag in ("", review.etag):
        raise failed(
            f"the review {id!r} has been {_word(review.review.decision)} by {review.changed_by!r} at "
            f"{moment_text(review.updated_at)} UTC, version {review.version}",
            f"`kairos control history review {id}` shows the decision. To ask again, make another review.",
            exit_code=2,
        )
    if etag or (review.review.decision, review.review.note) != (decision, note):
        changed = control_pb2.Resource(kind=_KIND, id=id, etag=etag or review.etag)
        changed.review.decision, changed.review.note = decision, note
        mask = FieldMask(paths=["review.decision", "review.note"])
        request = control_pb2.UpdateResourceRequest(resource=changed, update_mask=mask)
        review = client.call("UpdateResource", request).resource
    answer = client.publish([review])
    by = answer.resources[0].changed_by
    if as_json:
        decided = {"id": id, "decision": _word(decision), "note": note, "decided_by": by}
        print(json.dumps({**decided, "snapshot_version": answer.snapshot_version}, ensure_ascii=False))
    else:
        out.print(f"{_word(decision)} {escape(id)} as {escape(by)}, snapshot {answer.snapshot_version}")


def _number_of(subject: SubjectName) -> control_pb2.ReviewSubject.ValueType:
    return control_pb2.ReviewSubject.Value(f"{_SUBJECT}{subject.name}")


def _word_of_subject(subject: control_pb2.ReviewSubject.ValueType) -> str:
    return control_pb2.ReviewSubject.Name(subject).removeprefix(_SUBJECT).lower().replace("unspecified", "")


def _word(decision: Decision) -> str:
    return control_pb2.ReviewDecision.Name(decision).removeprefix(_PREFIX).lower()
