"""`kairos backup` and `kairos restore`: save the state of the suite to a folder or an object store, and restore it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import failed, out
from cli.options import DataDir, Json
from ops.backup.copies import at_hand, bring_back, save, save_remotely
from ops.backup.files import Failed
from ops.backup.manifest import Manifest, Refused
from ops.backup.remote import is_remote
from ops.settings import SuiteSettings
from services.common.errors import InvalidArgument
from services.common.settings import load_settings

Skip = Annotated[list[str], typer.Option(help="Part to leave out, for example retrieval.server.url. May be repeated.")]


def backup(
    folder: Annotated[str, typer.Argument(help="Where to save: an empty or new folder, or s3://bucket/path.")],
    data_dir: DataDir = None,
    force: Annotated[bool, typer.Option(help="Replace what is in the folder.")] = False,
    skip: Skip = [],  # noqa: B006 - Typer wants a list
    as_json: Json = False,
) -> None:
    """Save the state of the suite: products, vectors, user histories, quotes, lexicons, models. The suite may run."""
    with _errors_as_exits():
        began = time.monotonic()
        if is_remote(folder):
            manifest = save_remotely(_settings(data_dir), folder, force, skip)
        else:
            manifest = save(_settings(data_dir), Path(folder), force, skip)
        took_s = time.monotonic() - began
        _print(manifest, folder, as_json)
        if not as_json:
            out.print(f"{escape(folder)}, {took_s:.1f} s", soft_wrap=True, highlight=False)


def restore(
    folder: Annotated[str, typer.Argument(help="The backup: a folder or a URL.")],
    data_dir: DataDir = None,
    force: Annotated[bool, typer.Option(help="Replace existing state.")] = False,
    skip: Skip = [],  # noqa: B006 - Typer wants a list
    as_json: Json = False,
) -> None:
    """Restore a backup. The suite must not run."""
    with _errors_as_exits():
        with at_hand(folder) as here:
            manifest = bring_back(_settings(data_dir), here, force, skip)
        _print(manifest, folder, as_json)
        if not as_json:
            out.print("restored; now start the suite", highlight=False)


@contextmanager
def _errors_as_exits() -> Iterator[None]:
    try:
        yield
    except (Refused, Failed, TimeoutError, InvalidArgument, OSError, sqlite3.Error) as error:
        raise failed(str(error), exit_code=2 if isinstance(error, Refused) else 1) from None


def _print(manifest: Manifest, folder: str, as_json: bool) -> None:
    if as_json:
        parts = [
            {"name": part.name, "files": len(part.files), "bytes": part.size, "consistency": part.moment}
            for part in manifest.parts
        ]
        return print(json.dumps({"folder": folder, "parts": parts}, ensure_ascii=False))
    table = Table("part", "files", "bytes", "consistency", box=None, pad_edge=False)
    for part in manifest.parts:
        table.add_row(part.name, f"{len(part.files):,}", f"{part.size:,}", part.moment)
    return out.print(table)


def _settings(data_dir: Path | None) -> SuiteSettings:
    return load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {})
