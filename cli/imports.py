"""Runs an import and prints what became of its rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from catalog.files import RowRefused
from catalog.imports import CatalogImport, EventsImport, Rejects, Summary
from catalog.money import parse_currency
from catalog.offers import OffersImport
from catalog.product_reviews import ProductReviewsImport
from catalog.removal import RemovalRefused
from catalog.rows import FileRefused
from cli.calls import err, failed, out
from cli.feed_report import print_outcome
from ops.client import explain_error

# Numbers that are printed for a person even if they are 0.
_ALWAYS = ("read", "imported", "unchanged", "rejected")


def run_import(
    job: CatalogImport | EventsImport | OffersImport | ProductReviewsImport,
    file: Path,
    strict: bool,
    as_json: bool,
    details: Callable[[], dict[str, Any]] = dict,
) -> None:
    """`details`: further entries of the JSON document. Exit code 0: every row was accepted or is in the file of
    rejected rows. 1: the gateway refused, no row was accepted, products were not deleted because they are too many, or
    `strict` and a row was rejected or a value left out. 2: the file cannot be read (further).
    """
    refused = ""
    began = time.monotonic()
    try:
        job.run(file)
    except RemovalRefused as error:
        refused = str(error)
    except grpc.RpcError as error:
        hint = f"{job.summary.imported} rows were acknowledged before; run the same command again to continue"
        raise failed(explain_error(error), hint) from None
    except FileRefused as error:
        hint = f"{job.summary.accepted} rows were acknowledged before" if job.summary.accepted else ""
        raise failed(str(error), hint, exit_code=2) from None
    summary = job.summary
    _print_summary(summary, time.monotonic() - began, as_json, details())
    if isinstance(job, CatalogImport):
        print_outcome(job)
    if summary.rejected:
        err.print(f"rejected rows, with line and reason: {escape(str(job.rejects.path))}", soft_wrap=True)
    if refused:
        raise failed(refused)
    if summary.rejected and summary.rejected + summary.skipped == summary.read:
        raise failed("no row was accepted")
    if strict and (summary.rejected or (isinstance(job, CatalogImport) and job.dropped.count)):
        raise typer.Exit(1)


def rejects_of(file: Path, given: Path | None) -> Rejects:
    """Where rejected rows of `file` are written: to `given`, by default to a file in the current folder."""
    return Rejects(given or Path(f"{file.name}.rejects.jsonl"))


def currency_of(given: str) -> str:
    """The code that `--currency` names."""
    try:
        return parse_currency("--currency", given)
    except RowRefused as error:
        raise failed(f"--currency: {error.reason}", exit_code=2) from None


def _print_summary(summary: Summary, seconds: float, as_json: bool, details: dict[str, Any]) -> None:
    numbers = vars(summary) | {
        "seconds": round(seconds, 2),
        "rows_per_second": round(summary.read / max(seconds, 1e-9)),
    }
    if as_json:
        return out.print_json(data=numbers | details)
    shown = {name: number for name, number in numbers.items() if number or name in _ALWAYS}
    table = Table(*shown, box=None, pad_edge=False)
    table.add_row(*(f"{number:,}" for number in shown.values()))
    return out.print(table)
