"""Backups in an object store with a URL that pyarrow knows, for example `s3://bucket/kairos/monday`.

Credentials and the address of the store are in the environment (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, …). A
backup is made in a folder of this machine and then uploaded, the manifest last: without a manifest it is not a backup.
"""

from __future__ import annotations

from pathlib import Path

from pyarrow import ArrowInvalid
from pyarrow.fs import FileSelector, FileSystem, FileType, copy_files

from ops.backup.manifest import NAME, Refused


def is_remote(place: str) -> bool:
    return "://" in place


def is_occupied(url: str) -> bool:
    """Whether there are files. Raises Refused for a bad URL, and OSError if the store cannot be reached."""
    store, path = _found(url)
    entries = store.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    return any(entry.type == FileType.File for entry in entries)


def upload(folder: Path, url: str) -> None:
    """Replaces what is at `url`. Raises OSError; files that were uploaded until then are not a backup."""
    store, path = _found(url)
    store.create_dir(path)
    store.delete_dir_contents(path)
    for part in sorted(folder.iterdir(), key=lambda part: part.name == NAME):
        if part.is_dir():
            store.create_dir(f"{path}/{part.name}")
        copy_files(str(part), f"{path}/{part.name}", destination_filesystem=store)


def download(url: str, folder: Path) -> None:
    """Raises Refused if there are no files, and OSError."""
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
