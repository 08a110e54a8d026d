"""Looks at the running experiments again and again, stops those with a broken guardrail, and writes their reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import structlog

from experiments.analysis import Analysis, analysed
from experiments.log import LogReader
from experiments.report import write_report
from experiments.resources import Call, Known, State, experiments, stop

# The table is read anew after so long: it then has what the log still has, without what was deleted.
_FRESH_S = 86_400.0

_log = structlog.get_logger("kairos.experiments")


class Watch:
    """`reader` makes a reader at the beginning of the log; `clock` is monotonic, in seconds."""

    def __init__(
        self, call: Call, tenant: str, reader: Callable[[], LogReader], folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._call, self._tenant, self._make, self._folder, self._clock = call, tenant, reader, folder, clock
        self._reader, self._since_s = reader(), clock()
        self._before: dict[str, State] = {}
        self._reported = set[str]()

    def turn(self, stopping: threading.Event) -> None:
        """One look. What a server refuses, and what cannot be reached, is logged, and tried again by the next turn."""
        try:
            running = [one for one in experiments(self._call, self._tenant) if self._is_watched(one)]
            if not running:
                return
            if self._clock() - self._since_s > _FRESH_S:
                self._reader, self._since_s = self._make(), self._clock()
            is_new = self._reader.read_on(stopping) > 0
            for one in running:
                if not stopping.is_set() and (is_new or one.id not in self._reported):
                    self._look_at(one)
        except grpc.RpcError as error:
            _log.warning("experiments were not looked at and are tried again", error=str(error))

    def _is_watched(self, one: Known) -> bool:
        """Running, or ended since the last turn: its report then says how."""
        before = self._before.get(one.id)
        self._before[one.id] = one.state
        return one.state is State.RUNNING or (one.state is State.ENDED and before is State.RUNNING)

    def _look_at(self, one: Known) -> None:
        found = analysed(self._reader.table, one.id, one.definition)
        write_report(self._folder, found)
        self._reported.add(one.id)
        for problem in found.problems:
            _log.error("an experiment is invalid", experiment=one.id, problem=problem)
        if found.broken and one.state is State.RUNNING:
            version = stop(self._call, self._tenant, one.id, note_of(found))
            _log.error("an experiment was stopped", experiment=one.id, broken=found.broken, snapshot_version=version)


def note_of(found: Analysis) -> str:
    return f"Stopped automatically: {'; '.join(found.broken)}."
