"""Trains the ranking network on pages that were read, judges it, and proposes it to the learner."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.ranker.domain.weights import Weights
from training.ranking.examples import Examples
from training.ranking.guardrail import Predictor, Thresholds, Verdict, compare
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings
from training.ranking.scoring_function import ScoringFunction
from training.ranking.split import is_held_back
from training.ranking.training import Training
from training.suite.examples import examples_of
from training.suite.outcome import Outcome, Result
from training.suite.progress import Progress
from training.suite.publishing import copy_files
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

KIND = "ranking"
KEPT_VERSIONS = 20
_HELD_BACK = 0.2


def train_ranking(
    work: WorkFolder, registry: ModelRegistry, weights: Weights, settings: SuiteTraining, bar: Progress,
    clock: Callable[[], float] = time.time,
) -> Outcome:  # fmt: skip
    """A version goes into shadow if it beats the current one, or the weighted sum with `weights`."""
    began, now_s = time.monotonic(), clock()
    if (other := registry.rollout().other) is not None:
        return Outcome(KIND, Result.SKIPPED, f"{KIND}/{other} is on trial; its end makes room for a new version")
    examples, vector_version = examples_of(work, settings, now_s)
    clicked = examples.clicked_pages
    if clicked < settings.least.pages:
        return Outcome(KIND, Result.SKIPPED, f"{clicked:,} pages with a click, needs {settings.least.pages:,}")
    held = is_held_back(examples.ranking_ids.tolist(), _HELD_BACK)
    trained, judge = examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))
    with bar.stage("Training the ranking network"):
        ranker = LearnableRanker(NetworkSettings(trained.dimensions), Training(), vector_version, settings.seed)
        ranker.update(trained, settings.ranking_epochs, settings.seed)
    verdict = compare(judge, _opponent(registry, vector_version, weights, trained), ranker, Thresholds())
    folder = work.folder / KIND / "version"
    ranker.save(folder)
    figures: dict[str, float] = {name: change.challenger for name, change in verdict.differences.items()}
    manifest = {
        "created_s": now_s, "parent": registry.rollout().current, "metrics": figures,
        "verdict": {"passed": verdict.passed, "reason": verdict.reason, "changes": verdict.figures()},
        "data": {"pages": examples.page_count, "pages_with_a_click": clicked, "held_back_pages": judge.page_count,
                 "from_s": float(examples.shown_s.min()), "to_s": float(examples.shown_s.max())},
        "features": {"vector_version": vector_version},
        "settings": {"optimizer": asdict(ranker.training), "network": asdict(ranker.settings)},
    }  # fmt: skip
    version = registry.publish(lambda target: copy_files(folder, target), manifest)
    result = _take_steps(registry, version, verdict)
    registry.prune(KEPT_VERSIONS)
    seconds = time.monotonic() - began
    return Outcome(KIND, result, verdict.reason, version, "", figures, seconds, str(registry.path(version)))


def _opponent(registry: ModelRegistry, vector_version: str, weights: Weights, trained: Examples) -> Predictor:
    """The current network; the weighted sum if there is none, or one that cannot be compared."""
    current = registry.rollout().current
    if current:
        try:
            network = LearnableRanker.load(Path(registry.path(current)))
        except (ValueError, RuntimeError):
            network = None
        if network is not None and network.vector_version == vector_version:
            return network
    return ScoringFunction(weights, trained)


def _take_steps(registry: ModelRegistry, version: str, verdict: Verdict) -> Result:
    registry.take_step(StepKind.PROPOSED, version, reason="kairos train", figures=verdict.figures())
    if not verdict.passed:
        registry.take_step(StepKind.REFUSED, version, reason=verdict.reason, figures=verdict.figures())
        return Result.REFUSED
    registry.take_step(StepKind.SHADOW, version, lambda now: now.with_shadow(version), verdict.reason)
    return Result.SHADOW
