"""Runs an import and prints what became of its rows."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from catalog.imports import CatalogImport, EventsImport, Rejects, Summary
from catalog.offers import OffersImport
from catalog.rows import FileRefused
from cli.calls import err, failed, out
from ops.client import explain_error


def run_import(job: CatalogImport | EventsImport | OffersImport, file: Path, strict: bool, as_json: bool) -> None:
    """Exit code 0: every row was accepted or is in the file of rejected rows. 1: the gateway refused, no row was
    accepted, or `strict` and a row was rejected. 2: the file cannot be read (further).
    """
    began = time.monotonic()
    try:
        summary = job.run(file)
    except grpc.RpcError as error:
        hint = f"{job.summary.imported} rows were acknowledged before; run the same command again to continue"
        raise failed(explain_error(error), hint) from None
    except FileRefused as error:
        hint = f"{job.summary.accepted} rows were acknowledged before" if job.summary.accepted else ""
        raise failed(str(error), hint, exit_code=2) from None
    _print_summary(summary, time.monotonic() - began, as_json)
    if summary.rejected:
        err.print(f"rejected rows, with line and reason: {escape(str(job.rejects.path))}", soft_wrap=True)
    if summary.rejected and not summary.accepted:
        raise failed("no row was accepted")
    if strict and summary.rejected:
        raise typer.Exit(1)


def rejects_of(file: Path, given: Path | None) -> Rejects:
    """Where rejected rows of `file` are written: to `given`, by default to a file in the current folder."""
    return Rejects(given or Path(f"{file.name}.rejects.jsonl"))


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
