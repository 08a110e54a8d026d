"""`kairos product-reviews`: what shoppers write about products."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from catalog.product_reviews import ProductReviewsImport
from cli.calls import call, connection_of, log_pages, out
from cli.control_client import client_at
from cli.imports import rejects_of, run_import
from cli.options import Json, RejectsFile, Strict
from kairos.common.v1 import event_pb2, product_pb2
from kairos.control.v1 import control_pb2
from kairos.gateway.v1 import product_reviews_pb2
from kairos.ranker.v1 import ranker_pb2
from services.gateway.domain.product_reviews import Summary, WrittenReview, summaries

app = typer.Typer(no_args_is_help=True, help=__doc__)

_BATCH = 500
_SHOWN = 20
_UNDONE = (event_pb2.EVENT_TYPE_REFUND, event_pb2.EVENT_TYPE_CANCELLATION)


@app.command("import")
def import_reviews(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON, JSONL or Parquet, plain or .gz.")],
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import reviews: they are moderated, and stored without personal data. Run `summarize` afterwards.

    Columns: product_id, rating (1 to 5), visitor_id or user_id; optional are text, time and review_id. The same row
    twice is one review. Exit codes as of `kairos events import`.
    """
    job = ProductReviewsImport(connection_of(context), rejects_of(file, rejects))
    run_import(job, file, strict, as_json, lambda: {"blocked": job.blocked, "waiting": job.doubted})
    if not as_json and (job.blocked or job.doubted):
        out.print(
            f"{job.blocked} do not count because of their text, {job.doubted} wait for a person: kairos reviews list"
        )


@app.command()
def summarize(
    context: typer.Context,
    decisions: Annotated[
        bool,
        typer.Option(help="Whether the decisions of people in control hold."),
    ] = True,
    control_target: Annotated[
        str, typer.Option(envvar="KAIROS_CONTROL_TARGET", help="Address of control, host:port.")
    ] = "127.0.0.1:50060",
    control_api_key: Annotated[
        str, typer.Option(envvar="KAIROS_CONTROL_API_KEY", help="API key of control, role viewer. Empty: none is sent.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Compute from the log what the reviews of each product say together, and store it with the products.

    Run it after each import and once a day. A product none of whose reviews counts loses its summary. A
    product whose reviews have all left the log keeps its last one.
    """
    decided: dict[str, bool] = {}
    if decisions:
        control = client_at(context, control_target, control_api_key, "", "--no-decisions does without control")
        for resource in control.resources("review"):
            if resource.review.subject == control_pb2.REVIEW_SUBJECT_PRODUCT_REVIEW and resource.published_version:
                is_approved = resource.review.decision == control_pb2.REVIEW_DECISION_APPROVED
                decided[resource.review.subject_id] = is_approved
    found, reviewed, bought = _read(context, decided)
    by_product = summaries(found, bought)
    entries = [
        product_reviews_pb2.ProductReviewSummary(product_id=id, summary=_message(by_product.get(id)))
        for id in sorted(by_product.keys() | reviewed)
    ]
    changed, missing = 0, 0
    for start in range(0, len(entries), _BATCH):
        request = product_reviews_pb2.SetReviewSummariesRequest(products=entries[start : start + _BATCH])
        answer = call(context, "SetReviewSummaries", request)
        changed, missing = changed + answer.changed_count, missing + len(answer.missing_ids)
    if as_json:
        rows = {id: {**vars(one)} for id, one in by_product.items()}
        print(json.dumps({"reviews": len(found), "changed": changed, "missing": missing, "products": rows}))
        return
    table = Table("product", "reviews", "mean", "rating", "sentiment", box=None, pad_edge=False)
    for id, one in sorted(by_product.items(), key=lambda pair: -pair[1].count)[:_SHOWN]:
        table.add_row(escape(id), str(one.count), f"{one.mean:.2f}", f"{one.rating:.2f}", f"{one.sentiment:+.2f}")
    out.print(table)
    out.print(f"{len(found):,} reviews count; {changed:,} products changed, {missing:,} are not in the catalogue")


def _read(
    context: typer.Context, decided: dict[str, bool]
) -> tuple[list[WrittenReview], set[str], set[tuple[str, str]]]:
    """(the reviews that count, the products that have reviews, (person, product) of each purchase).

    A refund or a cancellation undoes the purchase.
    """
    found, products = list[WrittenReview](), set[str]()
    bought, undone = set[tuple[str, str]](), set[tuple[str, str]]()
    for page in log_pages(context, ranker_pb2.LOG_KIND_EVENTS):
        for event in page.events:
            person = f"u:{event.user_id}" if event.user_id else f"v:{event.visitor_id}"
            if event.type == event_pb2.EVENT_TYPE_PURCHASE:
                bought.add((person, event.item_id))
            elif event.type in _UNDONE:
                undone.add((person, event.item_id))
            elif event.type == event_pb2.EVENT_TYPE_FEEDBACK and event.feedback.is_product_review:
                said = event.feedback
                products.add(event.item_id)
                if decided.get(event.event_id, said.moderation == product_pb2.MODERATION_OUTCOME_PASS):
                    at_s = said.written_at.ToNanoseconds() / 1e9
                    found.append(WrittenReview(event.event_id, event.item_id, person, said.rating, said.text, at_s))
    return found, products, bought - undone


def _message(summary: Summary | None) -> product_pb2.ReviewSummary | None:
    if summary is None:
        return None
    return product_pb2.ReviewSummary(
        count=summary.count, mean=summary.mean, rating=summary.rating, sentiment=summary.sentiment
    )
