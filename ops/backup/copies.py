"""Saves the state of the suite to a folder or an object store, and restores it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ops.backup.files import digest_of, is_database, schema_of
from ops.backup.manifest import FORMAT, Manifest, Part, Refused, SavedFile, check_files, installed, read_manifest
from ops.backup.places import Place, places_of
from ops.backup.remote import download, is_occupied, is_remote, upload
from ops.settings import SuiteSettings
from ops.state import read_state
from services.pricing.learning.sqlite_rows import DEMAND_FILE, LAYOUT
from services.ranker.adapters.sqlite_schema import OLDEST, PROFILES_FILE, VERSION

# Oldest and newest version of the tables that can be restored, by database. Those of others have never changed.
_SCHEMAS = {PROFILES_FILE: (OLDEST, VERSION), DEMAND_FILE: (LAYOUT, LAYOUT)}


def save(settings: SuiteSettings, folder: Path, force: bool = False, skip: Collection[str] = ()) -> Manifest:
    """Saves a backup. Until it is complete its folder is called <folder>.partial. Raises Refused, and errors of the
    stores.
    """
    if folder.exists() and any(folder.iterdir()) and not force:
        raise Refused(f"{folder} is not empty; give another folder, or --force to replace it")
    known = places_of(settings)
    _check_names(skip, [place.name for place in known])
    places = [place for place in known if place.name not in skip and place.is_occupied()]
    if not places:
        raise Refused(f"{settings.data_dir} has no state; give the folder of the suite with --data-dir")
    draft = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    # The backup has personal data: only the user who runs the suite may read it.
    draft.mkdir(parents=True, mode=0o700)
    manifest = Manifest(
        format=FORMAT,
        created_at=datetime.now(UTC),
        kairos=installed("kairos-suite"),
        qdrant_edge=installed("qdrant-edge-py"),
        parts=[_saved(place, draft) for place in places],
    )
    manifest.write(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return manifest


def bring_back(settings: SuiteSettings, folder: Path, force: bool = False, skip: Collection[str] = ()) -> Manifest:
    """Restores a backup, after all of it was read and verified. Raises Refused, and errors of the stores."""
    if state := read_state(settings.data_dir.resolve()):
        raise Refused(f"a suite is running in {settings.data_dir} (gateway {state.gateway}); `kairos down` stops it")
    manifest = read_manifest(folder)
    _check_names(skip, [part.name for part in manifest.parts])
    manifest.parts = [part for part in manifest.parts if part.name not in skip]
    _check_schemas(manifest)
    places = {place.name: place for place in places_of(settings)}
    for part in manifest.parts:
        if part.name not in places:
            raise Refused(f"the backup has {part.name}, but no setting names its place; {_remedy(part.name)}")
    if (occupied := [part.name for part in manifest.parts if places[part.name].is_occupied()]) and not force:
        raise Refused(f"there is existing state in {', '.join(occupied)}; --force replaces it")
    check_files(folder, manifest)
    for part in manifest.parts:
        places[part.name].check(folder / part.name)
    with _exclusive_use_of(settings.data_dir / "retrieval"):
        for part in manifest.parts:
            places[part.name].restore(folder / part.name)
    return manifest


def save_remotely(settings: SuiteSettings, url: str, force: bool, skip: Collection[str]) -> Manifest:
    """See `save`; the backup is made on this machine and then uploaded."""
    if is_occupied(url) and not force:
        raise Refused(f"{url} is not empty; give another URL, or --force to replace it")
    with tempfile.TemporaryDirectory() as scratch:
        manifest = save(settings, Path(scratch) / "backup", skip=skip)
        upload(Path(scratch) / "backup", url)
    return manifest


@contextmanager
def at_hand(folder: str) -> Iterator[Path]:
    """The backup as a folder of this machine. A remote one is downloaded."""
    if not is_remote(folder):
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        download(folder, Path(scratch))
        yield Path(scratch)


def _saved(place: Place, draft: Path) -> Part:
    target = draft / place.name
    moment = place.save(target)
    paths = sorted(path for path in target.rglob("*") if path.is_file()) if target.is_dir() else [target]
    saved = [
        SavedFile(
            path=str(path.relative_to(draft)),
            size=path.stat().st_size,
            sha256=digest_of(path),
            schema_version=schema_of(path) if is_database(path) else 0,
        )
        for path in paths
    ]
    return Part(name=place.name, moment=moment, files=saved)


def _check_names(skipped: Collection[str], known: Collection[str]) -> None:
    if unknown := sorted({*skipped} - {*known}):
        raise Refused(f"there is no part {', '.join(unknown)}; the parts are {', '.join(known)}")


def _check_schemas(manifest: Manifest) -> None:
    for file in (file for part in manifest.parts for file in part.files):
        oldest, known = _SCHEMAS.get(Path(file.path).name, (0, 0))
        if file.schema_version > known:
            raise Refused(
                f"{file.path} has tables of version {file.schema_version}, this version can read up to {known}: "
                f"restore with Kairos {manifest.kairos} or later"
            )
        if file.schema_version < oldest:
            raise Refused(
                f"{file.path} has tables of version {file.schema_version}, this version reads versions {oldest} to "
                f"{known}: restore with Kairos {manifest.kairos}, or leave this part out (--skip) and record the "
                "events again (`kairos events import`)"
            )


def _remedy(name: str) -> str:
    service, *field = name.split(".")
    return f"set KAIROS_{service.upper()}_{'__'.join(field).upper()} to the place to restore it to"


@contextmanager
def _exclusive_use_of(vectors: Path) -> Iterator[None]:
    """Locks the folder of the vectors. Raises Refused if a process uses it: it would continue with deleted files."""
    vectors.mkdir(parents=True, exist_ok=True)
    with (vectors / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"a process uses {vectors}; stop it first") from None
        yield
