"""Copies files and folders. Sparse files stay sparse, and the copy of a database is consistent while others write to
it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from services.ranker.adapters.sqlite_counts import COUNTS_FILE
from services.ranker.adapters.sqlite_schema import RANKINGS_FILE

_CHUNK = 64 << 10
_SQLITE = b"SQLite format 3\0"
# Files of a running process, which are no state. The copy of a database contains its side files already.
_TEMPORARY_NAMES = {"lock", ".lock", "writes", "gate"}
# Files whose content expires within the hour, or is made again from the log of events: they are not copied, and a
# restore removes them.
_EXPIRING_NAMES = {RANKINGS_FILE, COUNTS_FILE}
_SKIPPED_NAMES = _TEMPORARY_NAMES | _EXPIRING_NAMES
_RESTORING = ".restoring"
_TEMPORARY_ENDINGS = ("-wal", "-shm", "-journal", ".draft")


class Failed(Exception):
    """Something could not be saved or restored; the message has the reason."""


def copy_folder(source: Path, target: Path, is_skipped: Callable[[Path], bool] = lambda folder: False) -> None:
    """Copies databases in a committed state, other files byte by byte. Folders for which `is_skipped` are left out."""
    if source.resolve() in target.resolve().parents:
        raise Failed(f"{target} is inside {source}, which would be copied into itself; give a folder elsewhere")
    target.mkdir(parents=True, exist_ok=True)
    for path in _below(source, is_skipped):
        if path.is_dir():
            (target / path.relative_to(source)).mkdir(exist_ok=True)
        else:
            copy_file(path, target / path.relative_to(source))


def copy_settled_folder(source: Path, target: Path, attempts: int = 3) -> None:
    """Copies a folder, and again if a file that is no database has changed meanwhile. Raises Failed."""
    for _ in range(attempts):
        before = _stamps(source)
        try:
            copy_folder(source, target)
        except FileNotFoundError:  # a file was deleted meanwhile
            continue
        if _stamps(source) == before:
            return
    raise Failed(f"{source} changed during each of {attempts} attempts to copy it; stop the process that writes there")


def copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_database(source):
        target.unlink(missing_ok=True)
        with closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True)) as db, closing(sqlite3.connect(target)) as to:
            # All pages in one step: a single read transaction, which blocks no writer in WAL mode.
            db.backup(to, pages=-1)
        return
    # Qdrant Edge's files are sparse: files of 220 MB take 2 MB on the disk.
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(_CHUNK):
            if chunk.count(0) == len(chunk):
                writing.seek(len(chunk), os.SEEK_CUR)
            else:
                writing.write(chunk)
        writing.truncate()
        os.fsync(writing.fileno())


def is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_occupied(path: Path) -> bool:
    """Whether there is a file that a restore would replace."""
    return path.is_file() or (path.is_dir() and any(found.is_file() for found in _below(path)))


def replace(source: Path, target: Path) -> None:
    """Replaces the content of `target` by that of `source`. The folder itself stays: it may be a mount point.

    The new content is complete in a folder of `target` before the old content is removed.
    """
    if source.is_file():
        copy_file(source, target)
        return
    draft = target / _RESTORING
    shutil.rmtree(draft, ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    copy_folder(source, draft)
    for old in target.iterdir():
        if old.is_dir() and not old.is_symlink():
            if old != draft:
                shutil.rmtree(old)
        elif old.name not in _TEMPORARY_NAMES:
            old.unlink()
    for new in draft.iterdir():
        new.rename(target / new.name)
    draft.rmdir()


def schema_of(path: Path) -> int:
    """SQLite's user_version of a database that no process has open."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def _below(folder: Path, is_skipped: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """Files and folders of `folder`, each folder before its content."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if not is_skipped(path):
                yield path
                yield from _below(path, is_skipped)
        elif path.is_file() and path.name not in _SKIPPED_NAMES and not path.name.endswith(_TEMPORARY_ENDINGS):
            yield path


def _stamps(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """(inode, size, time of change) of each file that is no database."""
    stamps = {}
    for path in _below(folder):
        found = path.stat()
        if path.is_file() and not is_database(path):
            stamps[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return stamps
