"""The objective from a file that is read again when it changes: a change of the weights needs no restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog
import yaml
from pydantic import ValidationError

from services.ranker.domain.objective import Objective
from services.ranker.settings import ObjectiveSettings

# The interval at which the file is checked for a change.
_LOOK_EVERY_S = 1.0

_log = structlog.get_logger("kairos.ranker")


class ObjectiveFile:
    """YAML or JSON with the fields of ObjectiveSettings. Missing fields, or a missing file, leave the `default`.

    An invalid file prevents the start. Later it is logged, and the last valid objective is kept. `clock` is in seconds
    and never goes back.
    """

    def __init__(self, file: Path, default: ObjectiveSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._default, self._clock = file, default, clock
        self._lock, self._looked_s = threading.Lock(), clock()
        self._stamp = self._stamp_now()
        self._objective = self._read()

    def __call__(self) -> Objective:
        with self._lock:
            if self._clock() - self._looked_s >= _LOOK_EVERY_S:
                self._looked_s = self._clock()
                self._look()
            return self._objective

    def _look(self) -> None:
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._objective = self._read()
            _log.info("objective changed", **vars(self._objective))
        except (OSError, ValueError) as error:
            _log.warning("objective kept", file=str(self._file), problem=str(error))

    def _read(self) -> Objective:
        """Raises ValueError for an invalid file."""
        try:
            given = yaml.safe_load(self._file.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            given = {}
        except yaml.YAMLError as error:
            raise ValueError(f"{self._file} is not YAML: {error}") from None
        try:
            read = ObjectiveSettings.model_validate(self._default.model_dump() | given)
        except (ValidationError, TypeError) as error:
            raise ValueError(f"{self._file}: {error}") from None
        return Objective(**read.model_dump())

    def _stamp_now(self) -> tuple[int, int]:
        try:
            status = self._file.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_size
