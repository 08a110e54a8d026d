"""The manifest of a backup, `manifest.json`. It is written last, and a restore checks the files against it first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ops.backup.files import digest_of

# Increased when an older `kairos restore` cannot read the new form.
FORMAT = 1
NAME = "manifest.json"


class Refused(Exception):
    """The command is refused and nothing was written; the message has the reason and the remedy."""


class SavedFile(BaseModel):
    """A file of the backup."""

    model_config = ConfigDict(extra="forbid")

    # Relative to the folder of the backup.
    path: str
    size: int
    sha256: str
    # SQLite's user_version; 0 for other files.
    schema_version: int = 0


class Part(BaseModel):
    """The saved state of one place, see places.Place."""

    model_config = ConfigDict(extra="forbid")

    name: str
    # Whether the copy is of a single moment, in words.
    moment: str
    files: list[SavedFile]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class Manifest(BaseModel):
    """The content of manifest.json."""

    model_config = ConfigDict(extra="forbid")

    format: int
    created_at: datetime
    # Versions of the programs that wrote the files.
    kairos: str
    qdrant_edge: str
    parts: list[Part]

    def write(self, folder: Path) -> None:
        (folder / NAME).write_text(self.model_dump_json(indent=2))


def read_manifest(folder: Path) -> Manifest:
    """Raises Refused if the folder is not a backup, or a backup of a later version."""
    try:
        content = json.loads((folder / NAME).read_text())
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise ValueError("the format is missing")
        if content["format"] > FORMAT:
            raise Refused(
                f"{folder} has format {content['format']}, this version can read up to {FORMAT}: "
                f"restore with Kairos {content.get('kairos', 'of that version')} or later"
            )
        manifest = Manifest.model_validate(content)
    except FileNotFoundError:
        raise Refused(f"{folder} is not a backup: it has no {NAME}") from None
    except (ValueError, ValidationError) as error:
        raise Refused(f"{folder / NAME} is damaged: {error}") from None
    here = installed("qdrant-edge-py")
    if here and _numbers(manifest.qdrant_edge) > _numbers(here):
        raise Refused(
            f"the vectors were written by qdrant-edge-py {manifest.qdrant_edge}, and {here} is installed: "
            "install that version or a later one first"
        )
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises Refused that names the files that are missing or have changed."""
    if problems := list(_problems(folder, manifest)):
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise Refused(f"the backup is damaged: {'; '.join(problems[:5])}{more}")


def installed(package: str) -> str:
    """The version of an installed package; empty if it is not installed."""
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
            yield f"{file.path} has changed"


def _numbers(text: str) -> tuple[int, ...]:
    """The first two numbers of a version, which determine the format: 0.9.1 can read files of 0.9.2."""
    return tuple(int(number) for number in text.split(".")[:2] if number)
