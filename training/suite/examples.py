"""The pages that were read, with what followed them, as examples."""

from __future__ import annotations

from training.ranking.examples import Examples
from training.ranking.reading import ExampleReader
from training.suite.log import ReadLog
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder


def examples_of(work: WorkFolder, settings: SuiteTraining, now_s: float) -> tuple[Examples, str]:
    """With the model of their vectors."""
    log = ReadLog(work, str(work.about().get("vector_version", "")), now_s)
    reader = ExampleReader(log, window_s=settings.window_s)
    return reader.read(now_s), reader.vector_version
