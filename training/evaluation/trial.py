"""One run of `kairos evaluate uplift` or `slices`: reads the persons of an experiment and what they bought."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kairos.common.v1 import event_pb2
from training.evaluation.estimates import Doubles
from training.evaluation.log_file import LOGS, read_log_file
from training.evaluation.trial_persons import (
    TrialPersons,
    assignments_in_file,
    assignments_in_log,
    attributes_in_file,
    trial_persons,
)
from training.suite.log import ReadLog, product_of
from training.suite.progress import Progress
from training.suite.reading import EVENTS, IMPRESSIONS, read_logs, read_products
from training.suite.run import Suite
from training.suite.work import WorkFolder

OUTCOMES = ("purchases", "buyers", "revenue")


@dataclass(frozen=True)
class Trial:
    """`arms` and `persons` are CSV files (training/evaluation/trial_persons.py); without `arms`, pages that were shown
    say who was in which arm. `file` holds an exported log; None: the gateway's log is read.
    """

    experiment: str
    control: str
    treatment: str
    outcome: str
    window_s: float
    arms: Path | None = None
    persons: Path | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"the outcome {self.outcome!r} is unknown; use {', '.join(OUTCOMES)}")
        if self.control == self.treatment:
            raise ValueError(f"control and treatment are both {self.control!r}; name two arms")


def read_trial(
    suite: Suite, work: WorkFolder, asked: Trial, bar: Progress, clock: Callable[[], float] = time.time
) -> tuple[TrialPersons, Doubles]:
    """(persons of both arms, [n] of the outcome). Raises ValueError if an arm has no person, or a file is wrong."""
    attributes = attributes_in_file(asked.persons) if asked.persons is not None else {}
    assigned, moved = assignments_in_file(asked.arms) if asked.arms is not None else {}, 0
    with work.opened(f"{asked.file or suite.connection.target} {suite.tenant}", clock()):
        categories: dict[str, str] = {}
        if asked.file is not None:
            read_log_file(asked.file, work)
        else:
            read_logs(suite.connection, work, LOGS if asked.arms is None else (EVENTS,), bar)
            read_products(suite.connection, work, bar)
            for stored in work.products():
                product = product_of(stored.body)
                categories[stored.id] = product.category_path[0] if product.category_path else ""
        # As in run.evaluate.
        work.end()
        if asked.arms is None:
            pages = (event_pb2.Impressions.FromString(body) for _, body in work.records(IMPRESSIONS))
            assigned, moved = assignments_in_log(pages, asked.experiment)
            if not assigned:
                raise ValueError(
                    f"no page of the log is of the experiment {asked.experiment!r}; name one that ran, or use --arms"
                )
        log = ReadLog(work, "", clock())
        found = trial_persons(
            assigned, log.events(), asked.control, asked.treatment, asked.window_s, clock(), attributes,
            lambda item_id: categories.get(item_id, ""), moved,
        )  # fmt: skip
    return found, _outcome(found, asked.outcome)


def _outcome(persons: TrialPersons, name: str) -> Doubles:
    if name == "buyers":
        return (persons.purchases > 0).astype(np.float64)
    return persons.revenue if name == "revenue" else persons.purchases
