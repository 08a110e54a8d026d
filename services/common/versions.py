"""Versioned folders 0001, 0002 and so on: each appears as a whole or not at all, and never changes afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def add_version(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Adds the version after the highest one. `fill` writes its content into an empty folder."""
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
                # If another process has just taken the number, try the next one.
                if not target.exists():
                    raise
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync(folder)
    return target


def version_names(folder: Path) -> list[str]:
    """Names of all versions, lowest number first."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((name for name in names if name.isdigit()), key=int)


def replace_file(path: Path, content: str | bytes) -> None:
    """Atomic: a reader sees the old or the new content, also after a power failure."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(draft)
    os.replace(draft, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Writes the content of a file or folder to the disk before it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
