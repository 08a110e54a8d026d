"""A registry on an object store, at any URL that fsspec knows, and its mirror in a local folder.

Everything reads the mirror. A writer takes the lease, brings the mirror up to date, takes its step there, and uploads:
a version's files, then its manifest, then the log, then the pointer. A reader sees the earlier pointer until everything
that the new one names is there. A process that dies in between leaves the earlier pointer, and a lease that ends by
itself.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec

from services.common.models.registry import LOG, MANIFEST, POINTER, ModelRegistry
from services.common.models.rollout import Rollout, Step, StepKind
from services.common.versions import replace_file, version_names

# _WHOLE marks a mirror of everything: those who read what serves from the same folder remove nothing from it.
_LEASE, _WHOLE = "lease.json", ".whole"
# A writer that has died holds others up for so long; an upload must be done by then.
LEASE_S = 600.0
_WAIT_S, _PAUSE_S = 60.0, 0.5


class RemoteRegistry:
    """The object store's side of one registry. `clock` gives seconds since the epoch, about the same everywhere."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._root, self._clock = self._root.rstrip("/"), clock

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """One writer at a time. Raises ValueError if another one holds it for long."""
        own, deadline = uuid.uuid4().hex, time.monotonic() + _WAIT_S
        while not self._took_lease(own):
            if time.monotonic() > deadline:
                raise ValueError(f"{self._path(_LEASE)} is held by another writer; try again in some minutes")
            time.sleep(_PAUSE_S)
        try:
            yield
        finally:
            if self._lease().get("owner") == own:
                self._files.rm_file(self._path(_LEASE))

    def pointer(self) -> str | None:
        return self._text(POINTER)

    def versions(self) -> list[str]:
        """Those that are whole, oldest first."""
        try:
            found = self._files.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        names = (path.rstrip("/").rpartition("/")[2] for path in found)
        return sorted(name for name in names if name.isdigit() and self._files.exists(self._path(name, MANIFEST)))

    def pull(self, folder: Path, everything: bool = False) -> None:
        """Brings the mirror up to date: the versions that the pointer names, or all. The pointer comes last.

        Then other versions are removed. A mirror of everything keeps what the object store has, another one also keeps
        the last version before, if it has served here.
        """
        pointer = self.pointer()
        if pointer is None and not everything:
            return
        named = json.loads(pointer) if pointer is not None else {"current": "", "other": None, "before": []}
        wanted = set(self.versions()) if everything else {named["current"], named["other"] or ""} - {""}
        for version in sorted(wanted):
            if not (folder / version).exists():
                self._download(version, folder)
        folder.mkdir(parents=True, exist_ok=True)
        if everything:
            (folder / _WHOLE).touch()
        if pointer is None:
            return
        for name, content in ((LOG, self._text(LOG)), (POINTER, pointer)):
            path = folder / name
            if content is not None and not (path.exists() and path.read_text("utf-8") == content):
                replace_file(path, content)
        if everything:
            # A newer one is of a writer with the same mirror, who has not uploaded it yet.
            _remove(folder, lambda version: version not in wanted and version < max(wanted, default=""))
        elif not (folder / _WHOLE).exists():
            kept = {*wanted, *named["before"][-1:]}
            _remove(folder, lambda version: version not in kept)

    def push_version(self, folder: Path, version: str) -> None:
        """The manifest comes last: without it a version is not there."""
        self.remove_version(version)
        files = sorted(path for path in (folder / version).rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == MANIFEST):
            self._write(path.read_bytes(), version, *path.relative_to(folder / version).parts)

    def push_pointer(self, folder: Path) -> None:
        for name in (LOG, POINTER):
            self._write((folder / name).read_bytes(), name)

    def remove_version(self, version: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(self._path(version), recursive=True)

    def _download(self, version: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
        try:
            root = self._path(version)
            for path in self._files.find(root):
                target = draft / path[len(root) :].lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._files.cat_file(path))
            draft.chmod(0o755)
            with contextlib.suppress(OSError):
                # Another process of this machine may have been faster.
                draft.rename(folder / version)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _took_lease(self, own: str) -> bool:
        held = self._lease()
        if held and held.get("until_s", 0.0) < self._clock():
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._path(_LEASE))
        content = json.dumps({"owner": own, "until_s": self._clock() + LEASE_S}).encode()
        try:
            self._files.makedirs(self._root, exist_ok=True)
            # Stores that can do so refuse an object that exists already.
            self._files.pipe_file(self._path(_LEASE), content, mode="create")
        except FileExistsError:
            return False
        return bool(self._lease().get("owner") == own)

    def _lease(self) -> dict[str, Any]:
        text = self._text(_LEASE)
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def _text(self, name: str) -> str | None:
        try:
            return str(self._files.cat_file(self._path(name)), "utf-8")
        except FileNotFoundError:
            return None

    def _write(self, content: bytes, *names: str) -> None:
        path = self._path(*names)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, content)

    def _path(self, *names: str) -> str:
        return "/".join((self._root, *names))


class MirroredRegistry(ModelRegistry):
    """As ModelRegistry, of which all writes also reach the object store; `refresh` brings what others wrote.

    Without `everything` the mirror has what serves and is on trial: enough for the steps of a trial.
    """

    def __init__(self, folder: Path, url: str, clock: Callable[[], float] = time.time, everything: bool = True) -> None:
        super().__init__(folder, clock)
        self._remote, self._everything = RemoteRegistry(url, clock), everything

    def refresh(self) -> None:
        self._remote.pull(self.folder, self._everything)

    def publish(self, save: Callable[[Path], None], manifest: Mapping[str, object]) -> str:
        with self._remote.lease():
            self.refresh()
            version = super().publish(save, manifest)
            self._remote.push_version(self.folder, version)
        return version

    def take_step(
        self,
        kind: StepKind,
        version: str,
        change: Callable[[Rollout], Rollout] = lambda now: now,
        reason: str = "",
        figures: Mapping[str, object] | None = None,
    ) -> Step:
        with self._remote.lease():
            self.refresh()
            step = super().take_step(kind, version, change, reason, figures)
            self._remote.push_pointer(self.folder)
        return step

    def prune(self, keep: int) -> None:
        with self._remote.lease():
            self.refresh()
            before = set(self.versions())
            super().prune(keep)
            for version in before - set(self.versions()):
                self._remote.remove_version(version)

    def repair(self) -> None:
        """The object store's pointer counts: a step that did not reach it was not taken."""
        self.refresh()


def registry_at(
    folder: Path, url: str = "", *names: str, clock: Callable[[], float] = time.time, everything: bool = True
) -> ModelRegistry:
    """The registry in `folder`/`names`, mirrored from `url`/`names` where there is a URL."""
    path = folder.joinpath(*names)
    if not url:
        return ModelRegistry(path, clock)
    return MirroredRegistry(path, "/".join((url.rstrip("/"), *names)), clock, everything)


def _remove(folder: Path, is_unneeded: Callable[[str], bool]) -> None:
    for version in filter(is_unneeded, version_names(folder)):
        shutil.rmtree(folder / version, ignore_errors=True)


def pull_tenants(root: Path, url: str, below: Sequence[str]) -> None:
    """For services: of all tenants the versions that serve, of the registries in the folders `below`; "" is the folder
    of the tenant itself.
    """
    files, base = fsspec.core.url_to_fs(url, use_listings_cache=False)
    try:
        found = files.ls(base, detail=True)
    except FileNotFoundError:
        return
    for entry in found:
        if entry["type"] != "directory":
            continue
        tenant = entry["name"].rstrip("/").rpartition("/")[2]
        for name in below:
            names = (tenant, name) if name else (tenant,)
            RemoteRegistry("/".join((url.rstrip("/"), *names))).pull(root.joinpath(*names))
