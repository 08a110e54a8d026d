"""`kairos reviews`: what waits for a decision in control, and the decisions."""

from __future__ import annotations

import json
from typing import Annotated, TypeAlias

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from rich.markup import escape

from cli.calls import failed, out
from cli.control_client import Client, Listed, client_of, connect, dictionary_of, moment_text
from cli.options import Json
from kairos.control.v1 import control_pb2

app = typer.Typer(no_args_is_help=True, help=__doc__)
app.callback()(connect)

_KIND, _UNDECIDED = control_pb2.RESOURCE_KIND_REVIEW, control_pb2.REVIEW_DECISION_UNSPECIFIED
_PREFIX = "REVIEW_DECISION_"
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
def list_reviews(context: typer.Context, as_json: Json = False) -> None:
    """List the reviews that wait for a decision, by id. One that is decided and not published waits too."""
    found = client_of(context).resources("review", Listed.DRAFT)
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


def _word(decision: Decision) -> str:
    return control_pb2.ReviewDecision.Name(decision).removeprefix(_PREFIX).lower()
