"""`kairos backup` and `kairos restore`: all state of the suite into a folder or an object store, and back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.backup.copies import at_hand, bring_back, save, save_remotely
from ops.backup.files import Failed
from ops.backup.manifest import Manifest, Refused
from ops.backup.remote import is_remote
from ops.settings import SuiteSettings
from services.common.errors import InvalidArgument
from services.common.settings import load_settings

_console = Console()
_errors = Console(stderr=True)
DataDir = Annotated[Path | None, typer.Option(help="Folder of the suite's state.", show_default="var")]
Skip = Annotated[list[str], typer.Option(help="A part to leave alone, retrieval.server.url for example.")]


def backup(
    folder: Annotated[str, typer.Argument(help="Where it goes; an empty or a new folder, or s3://bucket/path.")],
    data_dir: DataDir = None,
    force: Annotated[bool, typer.Option(help="In the place of what is in the folder.")] = False,
    skip: Skip = [],  # noqa: B006 - Typer wants a list
) -> None:
    """Save all that the suite keeps: products, vectors, profiles, prices on record, words, models. It may run."""
    with _explained():
        began = time.monotonic()
        if is_remote(folder):
            manifest = save_remotely(_settings(data_dir), folder, force, skip)
        else:
            manifest = save(_settings(data_dir), Path(folder), force, skip)
        _print(manifest)
        _console.print(f"{escape(folder)}, {time.monotonic() - began:.1f} s", soft_wrap=True, highlight=False)


def restore(
    folder: Annotated[str, typer.Argument(help="What `kairos backup` wrote: a folder or a URL.")],
    data_dir: DataDir = None,
    force: Annotated[bool, typer.Option(help="In the place of what is there.")] = False,
    skip: Skip = [],  # noqa: B006 - Typer wants a list
) -> None:
    """Bring everything back as `kairos backup` saved it. The suite must be down."""
    with _explained():
        with at_hand(folder) as here:
            manifest = bring_back(_settings(data_dir), here, force, skip)
        _print(manifest)
        _console.print("restored; start the suite", highlight=False)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (Refused, Failed, TimeoutError, InvalidArgument, OSError, sqlite3.Error) as error:
        _errors.print(f"[red]{escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, Refused) else 1) from None


def _print(manifest: Manifest) -> None:
    table = Table("part", "files", "bytes", "how", box=None, pad_edge=False)
    for part in manifest.parts:
        table.add_row(part.name, f"{len(part.files):,}", f"{part.size:,}", part.moment)
    _console.print(table)


def _settings(data_dir: Path | None) -> SuiteSettings:
    return load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {})
