"""The models of one kind (ranking, shopper, text) of one tenant on disk.

    0001/, 0002/ …   a version each: what its service reads, and version.json: how it was made
    rollout.json     the pointer: which versions are in use; replaced as a whole
    log.jsonl        every step, one JSON document a line, on the disk before it takes effect

A step is logged first, and the pointer is made of the log's last line: if a process dies in between, the next writer
repairs the pointer. A lock orders the writers of several processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from services.common.models.rollout import Rollout, Stage, Step, StepKind
from services.common.versions import add_version, replace_file, sync, version_names

POINTER, LOG, MANIFEST = "rollout.json", "log.jsonl", "version.json"
# Of the figures of an evaluation: whether it keeps the version from users.
REFUSED = "refused"
_LOCK = ".lock"


class ModelRegistry:
    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder, self._clock = folder, clock

    def rollout(self) -> Rollout:
        """The content of the pointer. Raises ValueError if it cannot be read."""
        try:
            return _rollout(json.loads((self.folder / POINTER).read_text("utf-8")))
        except FileNotFoundError:
            return Rollout()
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.folder / POINTER} is not a valid pointer ({error})") from None

    def stamp(self) -> tuple[int, int] | None:
        """Changes with the pointer; takes one stat call. None: there is no pointer."""
        try:
            found = os.stat(self.folder / POINTER)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def versions(self) -> list[str]:
        """Oldest first."""
        return version_names(self.folder)

    def path(self, version: str) -> Path:
        return self.folder / version

    def manifest(self, version: str) -> dict[str, Any]:
        """Raises ValueError with the existing versions if there is no such version."""
        if version not in (known := self.versions()):
            raise ValueError(f"{self.folder} holds no version {version!r}; there are {', '.join(known) or 'none'}")
        content: dict[str, Any] = json.loads((self.path(version) / MANIFEST).read_text("utf-8"))
        return content

    def publish(self, save: Callable[[Path], None], manifest: Mapping[str, object]) -> str:
        """Adds a version, and gives its name. It is not in use before a step names it."""

        def fill(folder: Path) -> None:
            save(folder)
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", "utf-8")

        return add_version(self.folder, fill).name

    def steps(self) -> list[Step]:
        """Oldest first."""
        try:
            lines = (self.folder / LOG).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        # Text behind the last newline is of a process that died while writing: that step never took effect.
        return [_step(json.loads(line)) for line in lines[:-1] if line]

    def take_step(
        self,
        kind: StepKind,
        version: str,
        change: Callable[[Rollout], Rollout] = lambda now: now,
        reason: str = "",
        figures: Mapping[str, object] | None = None,
    ) -> Step:
        """Logs the step and sets the pointer to the result of `change`. If `change` raises, nothing is written.

        Raises ValueError if the step gives users to a version that its evaluation on the log refused.
        """
        with self._turn():
            steps = self.steps()
            if kind.gives_users and (why := refusal_of(steps, version)):
                raise ValueError(f"the version's evaluation on the log refused it: {why}")
            before = steps[-1].rollout if steps else Rollout()
            after = change(before)
            if (after.other, after.stage, after.share) != (before.other, before.stage, before.share):
                after = replace(after, since_s=self._clock())
            for named in {after.current, after.other or ""} - {""}:
                self.manifest(named)
            step = Step(self._clock(), kind, version, after, reason, figures or {})
            self._append(step)
            replace_file(self.folder / POINTER, json.dumps(_document(after)) + "\n")
        return step

    def prune(self, keep: int) -> None:
        """Removes versions beyond the newest `keep`, but none that is in use or that a rollback can return to."""
        with self._turn():
            steps = self.steps()
            now = steps[-1].rollout if steps else Rollout()
            needed = {now.current, now.other, *now.before, *self.versions()[-keep:]}
            for version in set(self.versions()) - needed:
                shutil.rmtree(self.path(version))

    def repair(self) -> None:
        """Sets the pointer to the last line of the log, if a process died before it did."""
        with self._turn():
            steps = self.steps()
            if steps and steps[-1].rollout != self.rollout():
                replace_file(self.folder / POINTER, json.dumps(_document(steps[-1].rollout)) + "\n")

    def _append(self, step: Step) -> None:
        path = self.folder / LOG
        is_new = not path.exists()
        with path.open("ab+") as log:
            # An unfinished line of a process that died is removed.
            log.seek(0)
            log.truncate(log.read().rfind(b"\n") + 1)
            line = asdict(step) | {"kind": step.kind.value, "rollout": _document(step.rollout)}
            log.write(json.dumps(line).encode() + b"\n")
            log.flush()
            os.fsync(log.fileno())
        if is_new:
            sync(self.folder)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def refusal_of(steps: Sequence[Step], version: str) -> str:
    """Why the version's latest evaluation refused it; empty if it did not, or there was none. `steps`: oldest first."""
    evaluated = (step for step in reversed(steps) if step.kind is StepKind.EVALUATED and step.version == version)
    last = next(evaluated, None)
    return last.reason if last is not None and last.figures.get(REFUSED) else ""


def _document(rollout: Rollout) -> dict[str, object]:
    return asdict(rollout) | {"stage": rollout.stage.value if rollout.stage else None}


def _rollout(document: dict[str, Any]) -> Rollout:
    stage = Stage(document["stage"]) if document["stage"] else None
    return Rollout(**document | {"before": tuple(document["before"]), "stage": stage})


def _step(document: dict[str, Any]) -> Step:
    return Step(**document | {"kind": StepKind(document["kind"]), "rollout": _rollout(document["rollout"])})
