"""Versioned folders, 0001, 0002 …: each appears whole or not at all, and is never changed afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def add_version(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A new version, one above the highest; `fill` writes what it holds into an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    try:
        fill(draft)
        draft.chmod(0o755)
        _flush(draft)
        while True:
            target = folder / f"{max(map(int, version_names(folder)), default=0) + 1:04}"
            try:
                os.rename(draft, target)
                break
            except OSError:
                # Another process has just taken the number.
                if not target.exists():
                    raise
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync(folder)
    return target


def version_names(folder: Path) -> list[str]:
    """In the order of their numbers."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((name for name in names if name.isdigit()), key=int)


def replace_file(path: Path, content: str) -> None:
    """A reader meets the old content or the new one, after a power cut too."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(content, "utf-8")
    sync(draft)
    os.replace(draft, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """What a file or a folder holds is on the disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
