"""Progress of a long command: stages with a bar each, on a terminal; nothing elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Stage(Protocol):
    def total(self, count: float) -> None: ...

    def update(self, done: float, note: str = "") -> None: ...


class Progress:
    """`quiet`: nothing is drawn."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        self._bars = Bars(*columns, console=console, disable=quiet or not console.is_terminal)

    @contextlib.contextmanager
    def shown(self) -> Iterator[Progress]:
        with self._bars:
            yield self

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None, done: int = 0) -> Iterator[Stage]:
        """The bar stays, full, when the stage has ended."""
        task = self._bars.add_task(title, total=total, completed=done, note="")
        stage = _Stage(self._bars, task)
        yield stage
        stage.finish()


class _Stage:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def total(self, count: float) -> None:
        self._bars.update(self._task, total=count)

    def update(self, done: float, note: str = "") -> None:
        self._bars.update(self._task, completed=done, note=note)

    def finish(self) -> None:
        done = next(task.completed for task in self._bars.tasks if task.id == self._task)
        self._bars.update(self._task, total=max(done, 1), completed=max(done, 1))
