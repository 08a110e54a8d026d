"""Backups in an object store, named by a URL: `s3://bucket/kairos/monday`, or another one that pyarrow knows.

Who may write there, and where it is, stands in the environment (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, …). A
backup is made in a folder of this machine first and then copied, its manifest last: what has none is no backup.
"""

from __future__ import annotations

from pathlib import Path

from pyarrow import ArrowInvalid
from pyarrow.fs import FileSelector, FileSystem, FileType, copy_files

from ops.backup.manifest import NAME, Refused


def is_remote(place: str) -> bool:
    return "://" in place


def is_occupied(url: str) -> bool:
    """Whether anything is there. Raises Refused for what is no URL, and OSError where the store cannot be had."""
    store, path = _found(url)
    entries = store.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    return any(entry.type == FileType.File for entry in entries)


def upload(folder: Path, url: str) -> None:
    """In the place of what is there. Raises OSError; what was copied until then is no backup."""
    store, path = _found(url)
    store.create_dir(path)
    store.delete_dir_contents(path)
    for part in sorted(folder.iterdir(), key=lambda part: part.name == NAME):
        if part.is_dir():
            store.create_dir(f"{path}/{part.name}")
        copy_files(str(part), f"{path}/{part.name}", destination_filesystem=store)


def download(url: str, folder: Path) -> None:
    """Raises Refused where there is nothing, and OSError."""
    if not is_occupied(url):
        raise Refused(f"there is nothing at {url}")
    store, path = _found(url)
    copy_files(path, str(folder), source_filesystem=store)


def _found(url: str) -> tuple[FileSystem, str]:
    try:
        store, path = FileSystem.from_uri(url)
    except ArrowInvalid as error:
        raise Refused(f"{url}: {error}") from None
    return store, path.rstrip("/")
