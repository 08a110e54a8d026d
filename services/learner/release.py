"""From a working copy to a version that is proposed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, StepKind
from services.learner.memory import Memory
from services.learner.metrics import LearnerMetrics
from services.learner.settings import LearnerSettings
from services.learner.trial import Decision
from services.learner.trials import Trials
from services.ranker.domain.weights import ServingWeights
from training.ranking.guardrail import Predictor, Verdict, compare
from training.ranking.version import is_trees, predictor_of, weights_by_kind

if TYPE_CHECKING:
    from training.ranking.learnable import LearnableRanker

_log = structlog.get_logger("kairos.learner")
_tracer = trace.get_tracer("kairos")


class Release:
    """`weights` are of the weighted sum, the opponent until a version is current; the current version of `shoppers` may
    bring others.
    """

    def __init__(
        self, registry: ModelRegistry, shoppers: ModelRegistry, trials: Trials, weights: ServingWeights,
        settings: LearnerSettings, metrics: LearnerMetrics, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._registry, self._shoppers, self._trials, self._weights = registry, shoppers, trials, weights
        self._settings, self._metrics, self._clock = settings, metrics, clock

    def rollout(self) -> Rollout:
        return self._registry.rollout()

    def current(self) -> LearnableRanker | None:
        """The current network; None if there is none, or it was trained on other features or has another shape.

        Trees are not trained further: beside them a working copy starts anew.
        """
        version = self.rollout().current
        if not version or is_trees(self._registry.path(version)):
            return None
        # Imported here: it imports torch, which a learner that has nothing to train does not load.
        from training.ranking.learnable import LearnableRanker

        try:
            return LearnableRanker.load(self._registry.path(version))
        except (ValueError, RuntimeError) as error:
            _log.warning("the current version cannot be trained further", version=version, reason=str(error))
            return None

    def is_ready(self, memory: Memory) -> bool:
        """Whether no version is on trial, and enough pages are held back to compare versions."""
        enough = len(memory.held) >= self._settings.guardrail.least_held and len(memory.replay) > 0
        return enough and self.rollout().other is None

    @_tracer.start_as_current_span("propose")
    def propose(self, working: LearnableRanker, memory: Memory, reason: str, position: int) -> bool:
        """Whether it was proposed. It goes into shadow if it beats the current version on the pages held back."""
        if not self.is_ready(memory):
            return False
        try:
            verdict = self._verdict(working, memory, position)
        except ValueError as error:
            _log.info("nothing is proposed", reason=str(error))
            return False
        figures = verdict.figures() | {"held_pages": len(memory.held)}
        version = self._registry.publish(working.save, self._about(working, memory, verdict, position))
        self._registry.take_step(StepKind.PROPOSED, version, reason=reason, figures=figures)
        self._metrics.steps.labels(StepKind.PROPOSED.value).inc()
        if verdict.passed:
            self._trials.step(Decision(StepKind.SHADOW, verdict.reason), version, lambda now: now.with_shadow(version))
        else:
            self._trials.step(Decision(StepKind.REFUSED, verdict.reason, figures), version, lambda now: now)
        self._registry.prune(self._settings.keep_versions)
        return True

    def _verdict(self, working: LearnableRanker, memory: Memory, seed: int) -> Verdict:
        return compare(
            memory.held.examples, self._opponent(working.vector_version, memory), working,
            self._settings.guardrail.thresholds, seed,
        )  # fmt: skip

    def _opponent(self, vector_version: str, memory: Memory) -> Predictor:
        """The current version; the scoring function if there is none, or one that cannot answer on these pages."""
        weights, pages = weights_by_kind(self._shoppers, self._weights), memory.replay.examples
        version = self.rollout().current
        if version:
            try:
                return predictor_of(Path(self._registry.path(version)), vector_version, weights, pages)
            except (ValueError, RuntimeError) as error:
                _log.warning("the current version cannot be compared", version=version, reason=str(error))
        return predictor_of(None, vector_version, weights, pages)

    def _about(self, working: LearnableRanker, memory: Memory, verdict: Verdict, position: int) -> dict[str, object]:
        shown_s = memory.replay.examples.shown_s
        settings = self._settings.model_dump(mode="json", include={"training", "drift", "guardrail", "seed"})
        return {
            "created_s": self._clock(), "parent": self.rollout().current,
            "metrics": {name: each.challenger for name, each in verdict.differences.items()},
            "data": {"pages_seen": working.pages_seen, "to_position": position,
                     "buffer_from_s": float(shown_s.min()), "buffer_to_s": float(shown_s.max())},
            "features": {"vector_version": working.vector_version},
            "settings": settings | {"optimizer": asdict(working.training), "network": asdict(working.settings)},
        }  # fmt: skip
