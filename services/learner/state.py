"""A learner's state on disk, saved whole or not at all: after a crash a new learner continues from it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from services.common.versions import add_version, version_names
from services.learner.trials import TrialState

if TYPE_CHECKING:
    from training.ranking.learnable import LearnableRanker

_log = structlog.get_logger("kairos.learner")
_KINDS = ("ranking", "shopper", "text")
_MODEL, _STATE, _JOURNAL = "model", "state.json", "journal.jsonl"


@dataclass
class State:
    """`position` is that of the last page in the log of impressions that the working copy was trained on.

    `replay` and `held` are positions of the pages in the buffers, which are rebuilt from the log. `ranking`,
    `shopper` and `text` are the counts of the trials of the kinds of models.
    """

    position: int = 0
    updates: int = 0
    since_proposal: int = 0
    replay: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    ranking: TrialState = field(default_factory=TrialState)
    shopper: TrialState = field(default_factory=TrialState)
    text: TrialState = field(default_factory=TrialState)

    def to_document(self) -> dict[str, Any]:
        return vars(self) | {kind: getattr(self, kind).to_document() for kind in _KINDS}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> State:
        # An earlier layout has none of text versions.
        trials = {kind: TrialState.from_document(document[kind]) for kind in _KINDS if kind in document}
        return cls(**{**document, **trials})


class StateFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Raises ValueError if another learner uses the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another learner uses {self._folder}; give this one a data_dir of its own") from None
            yield

    def load(self) -> tuple[State, LearnableRanker | None] | None:
        """None if nothing was saved. Without the model if it was trained on other features."""
        versions = version_names(self._folder)
        if not versions:
            return None
        folder = self._folder / versions[-1]
        try:
            state = State.from_document(json.loads((folder / _STATE).read_text("utf-8")))
        except (KeyError, TypeError) as error:
            # Of an earlier layout: learning starts again at the position that the store has.
            _log.warning("the saved state cannot be read", reason=str(error))
            return None
        if not (folder / _MODEL).is_dir():
            return state, None
        # Imported here: it imports torch, which a learner that has nothing to train does not load.
        from training.ranking.learnable import LearnableRanker

        try:
            return state, LearnableRanker.load(folder / _MODEL)
        except (ValueError, RuntimeError) as error:
            # It was trained on other features, or the network has another shape.
            _log.warning("the working copy starts again", reason=str(error))
            return state, None

    def save(self, state: State, working: LearnableRanker | None) -> None:
        def fill(folder: Path) -> None:
            if working is not None:
                working.save(folder / _MODEL)
            (folder / _STATE).write_text(json.dumps(state.to_document()) + "\n", "utf-8")

        add_version(self._folder, fill)
        for old in version_names(self._folder)[:-1]:
            shutil.rmtree(self._folder / old, ignore_errors=True)

    def note(self, line: Mapping[str, object]) -> None:
        """Adds a line to the journal."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")

    def journal(self) -> list[dict[str, Any]]:
        """Oldest first."""
        path = self._folder / _JOURNAL
        lines = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]
