"""Looks at the running experiments again and again, stops those with a broken guardrail, and writes their reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import structlog

from experiments.analysis import Analysis
from experiments.log import LogReader
from experiments.report import write_report
from experiments.resources import Call, Known, State, experiments, stop
from experiments.verdict import verdict_of

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
        # Seen running; an ended one leaves it with its last report.
        self._running = set[str]()
        self._reported = set[str]()

    def turn(self, stopping: threading.Event) -> None:
        """One look. What a server refuses, and what cannot be reached, is logged, and tried again by the next turn."""
        try:
            running = [one for one in experiments(self._call, self._tenant) if self._is_watched(one)]
            if not running:
                return
            if self._clock() - self._since_s > _FRESH_S:
                self._reader, self._since_s = self._make(), self._clock()
            if self._reader.read_on(stopping) > 0:
                self._reported.clear()
            for one in running:
                if not stopping.is_set() and (one.id not in self._reported or one.state is State.ENDED):
                    self._try_to_look_at(one)
        except grpc.RpcError as error:
            # What was read before it failed is looked at by the next turn.
            self._reported.clear()
            _log.warning("experiments were not looked at and are tried again", error=str(error))

    def _is_watched(self, one: Known) -> bool:
        """Running, or ended since it was seen running: its last report says how. Switchbacks of prices are not in the
        log.
        """
        if one.definition.is_switchback:
            return False
        if one.state is State.RUNNING:
            self._running.add(one.id)
        return one.id in self._running and one.state in (State.RUNNING, State.ENDED)

    def _try_to_look_at(self, one: Known) -> None:
        try:
            self._look_at(one)
        except grpc.RpcError as error:
            _log.warning("an experiment was not stopped; the next turn tries again", id=one.id, error=str(error))
        except Exception:  # a defect must not end the guardrails of the other experiments
            _log.exception("an experiment was not looked at; the next turn tries again", id=one.id)

    def _look_at(self, one: Known) -> None:
        found = verdict_of(self._reader.table, one.id, one.definition)
        write_report(self._folder, found)
        for problem in found.problems:
            _log.error("an experiment is invalid", experiment=one.id, problem=problem)
        if found.broken and one.state is State.RUNNING:
            version = stop(self._call, self._tenant, one.id, note_of(found))
            _log.error("an experiment was stopped", experiment=one.id, broken=found.broken, snapshot_version=version)
        self._reported.add(one.id)
        if one.state is not State.RUNNING:
            self._running.discard(one.id)


def note_of(found: Analysis) -> str:
    return f"Stopped automatically: {'; '.join(found.broken)}."
