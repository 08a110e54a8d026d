"""What a backup says of itself: `manifest.json`, written last, and held against the files before a restore begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ops.backup.files import digest_of

# Grows when an older `kairos restore` could not read what is written now.
FORMAT = 1
NAME = "manifest.json"


class Refused(Exception):
    """Why nothing was written, and what would help."""


class SavedFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    # Below the backup's folder.
    path: str
    size: int
    sha256: str
    # SQLite's user_version; 0 for every other file.
    schema_version: int = 0


class Part(BaseModel):
    """One place of the suite: see places.Place."""

    model_config = ConfigDict(extra="forbid")

    name: str
    # Whether it is as it was at one moment, and if not, why.
    moment: str
    files: list[SavedFile]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int
    created_at: datetime
    # Versions of what wrote the files.
    kairos: str
    qdrant_edge: str
    parts: list[Part]

    def write(self, folder: Path) -> None:
        (folder / NAME).write_text(self.model_dump_json(indent=2))


def read_manifest(folder: Path) -> Manifest:
    """Raises Refused for what is no backup, and for one of a later version."""
    try:
        content = json.loads((folder / NAME).read_text())
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise ValueError("it does not say its format")
        if content["format"] > FORMAT:
            raise Refused(
                f"{folder} has format {content['format']}, this version reads up to {FORMAT}: "
                f"restore with Kairos {content.get('kairos', 'of its time')} or later"
            )
        manifest = Manifest.model_validate(content)
    except FileNotFoundError:
        raise Refused(f"{folder} is no backup: it has no {NAME}") from None
    except (ValueError, ValidationError) as error:
        raise Refused(f"{folder / NAME} is damaged: {error}") from None
    here = installed("qdrant-edge-py")
    if here and _numbers(manifest.qdrant_edge) > _numbers(here):
        raise Refused(
            f"the vectors were written by qdrant-edge-py {manifest.qdrant_edge}, here is {here}: "
            "install that one or a later one first"
        )
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises Refused that names each file which is missing or has changed."""
    if problems := list(_problems(folder, manifest)):
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise Refused(f"the backup is damaged: {'; '.join(problems[:5])}{more}")


def installed(package: str) -> str:
    """Its version; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    for file in (file for part in manifest.parts for file in part.files):
        path = folder / file.path
        if not path.is_file():
            yield f"{file.path} is missing"
        elif path.stat().st_size != file.size or digest_of(path) != file.sha256:
            yield f"{file.path} is not what was written"


def _numbers(text: str) -> tuple[int, ...]:
    """Of a version; only what decides about a format: 0.9.1 reads what 0.9.2 wrote."""
    return tuple(int(number) for number in text.split(".")[:2] if number)
