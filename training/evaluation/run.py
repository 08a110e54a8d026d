"""One run of `kairos evaluate`: reads the log, replays the policy's order on it, and gives the verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.evaluation.estimates import Estimate
from training.evaluation.log_file import LOGS, read_log_file, write_log
from training.evaluation.logged_rankings import LoggedRankings, logged_rankings
from training.evaluation.policies import BASELINES, baseline_scores, needs_vectors, version_scores
from training.evaluation.replay import NAMES, Replayed, replay
from training.evaluation.verdict import EvaluationSettings, Verdict, verdict_of
from training.ranking.examples import KINDS, PERSON, PRODUCT, SEARCH
from training.ranking.version import weights_by_kind
from training.suite.log import ReadLog
from training.suite.progress import Progress
from training.suite.reading import read_logs, read_products
from training.suite.run import Suite
from training.suite.work import WorkFolder

# Which rankings are replayed, by kind. Those of recommendations are replayed without diversity and brand caps.
LISTS = {"search": (SEARCH,), "recommend": (PERSON, PRODUCT), "all": KINDS}


@dataclass(frozen=True)
class Asked:
    """`baseline` is a name of BASELINES; "": the version in `folder`, or the weighted sum without one.

    `lists`: a key of LISTS. `file` holds an exported log; None: the gateway's log is read.
    """

    baseline: str = ""
    folder: Path | None = None
    outcome: str = "click"
    estimator: str = "dr"
    lists: str = "search"
    window_s: float = 24 * 3_600.0
    file: Path | None = None

    def __post_init__(self) -> None:
        if self.estimator not in NAMES:
            raise ValueError(f"the estimator {self.estimator!r} is unknown; use {', '.join(NAMES)}")
        if self.lists not in LISTS:
            raise ValueError(f"the lists {self.lists!r} are unknown; use {', '.join(LISTS)}")
        if self.baseline and self.baseline not in BASELINES:
            raise ValueError(f"the baseline {self.baseline!r} is unknown; use {', '.join(BASELINES)}")


@dataclass(frozen=True)
class Evaluation:
    """`verdict` follows from the estimator that was asked for. `omitted`: rankings that were left out, by reason."""

    asked: Asked
    replayed: Replayed
    verdict: Verdict
    omitted: Mapping[str, int]
    confidence: float

    def document(self) -> dict[str, Any]:
        """In the form of JSON."""
        replayed, logged = self.replayed, self.replayed.logged
        return {
            "outcome": self.asked.outcome, "estimator": self.asked.estimator, "lists": self.asked.lists,
            "logged": self._plain(logged),
            "estimates": {
                name: {
                    **self._plain(found), "difference": self._plain(replayed.differences[name]),
                    "overlap": asdict(replayed.overlaps[name]),
                }
                for name, found in replayed.estimates.items()
            },
            "verdict": {
                **asdict(self.verdict), "judgement": self.verdict.judgement.value,
                "relative_low": self.verdict.relative_low if math.isfinite(self.verdict.relative_low) else None,
            },
            "rankings": replayed.rankings, "persons": replayed.persons, "agreement": replayed.agreement,
            "omitted": dict(self.omitted),
        }  # fmt: skip

    def figures(self) -> dict[str, object]:
        """For the registry's log."""
        verdict = self.verdict
        return {
            "judgement": verdict.judgement.value, "outcome": self.asked.outcome, "estimator": self.asked.estimator,
            "difference": verdict.difference, "low": verdict.low, "high": verdict.high,
            "rankings": self.replayed.rankings,
            "effective": self.replayed.overlaps[self.asked.estimator].effective,
        }  # fmt: skip

    def _plain(self, found: Estimate) -> dict[str, float]:
        low, high = found.interval(self.confidence)
        return {"value": found.value, "low": low, "high": high}


def evaluate(
    suite: Suite, work: WorkFolder, asked: Asked, settings: EvaluationSettings, bar: Progress,
    clock: Callable[[], float] = time.time,
) -> Evaluation:  # fmt: skip
    """Raises ValueError if the log has no whole rankings, or the file or the version cannot be used."""
    with work.opened(f"{asked.file or suite.connection.target} {suite.tenant}", clock()):
        if asked.file is not None:
            read_log_file(asked.file, work)
        else:
            read_logs(suite.connection, work, LOGS, bar)
        if not asked.baseline and needs_vectors(asked.folder):
            read_products(suite.connection, work, bar)
        # What was read is not kept for another evaluation: it would miss the events since then.
        work.end()
        with bar.stage("Replaying the rankings"):
            log = _logged(work, asked, clock())
            weights = weights_by_kind(suite.shoppers, suite.weights)
            if asked.baseline:
                scores = baseline_scores(asked.baseline, log.examples)
            else:
                scores = version_scores(asked.folder, log.examples, log.vector_version, weights)
            found = replay(log, scores, asked.outcome)
    verdict = verdict_of(found.differences[asked.estimator], found.logged, found.overlaps[asked.estimator], settings)
    moved = {"moved by merchandising rules": found.rearranged} if found.rearranged else {}
    return Evaluation(asked, found, verdict, {**log.omitted, **moved}, settings.confidence)


def export(suite: Suite, work: WorkFolder, file: Path, bar: Progress, clock: Callable[[], float] = time.time) -> int:
    """Writes the log to a file, and gives the number of its records."""
    with work.opened(f"{suite.connection.target} {suite.tenant}", clock()):
        read_logs(suite.connection, work, LOGS, bar)
        count = write_log(work, file)
        work.end()
    return count


def _logged(work: WorkFolder, asked: Asked, now_s: float) -> LoggedRankings:
    log = ReadLog(work, str(work.about().get("vector_version", "")), now_s)
    reads_vectors = not asked.baseline and needs_vectors(asked.folder)
    found = logged_rankings(
        log.rankings(), log.pages(), log.events(), now_s, asked.window_s,
        (lambda ids: log.items("", ids)) if reads_vectors else lambda ids: {},
    )  # fmt: skip
    found = found.of_kinds(LISTS[asked.lists])
    if not found.examples.page_count:
        why = "; ".join(f"{count:,} {reason}" for reason, count in found.omitted.items())
        raise ValueError(
            f"the log has no whole ranking ({asked.lists}) that can be replayed"
            + (f": {why}" if why else "; KAIROS_RANKER_RANKINGS__WHOLE_SHARE sets the share that is logged whole")
        )
    return found
