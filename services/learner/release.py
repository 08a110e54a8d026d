"""From a working copy to the version that answers: proposals, and the steps of the version on trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import structlog
from opentelemetry import trace

from services.learner.guardrail import Predictor, Verdict, compare
from services.learner.memory import Memory
from services.learner.metrics import LearnerMetrics
from services.learner.online import Arm
from services.learner.scoring_function import ScoringFunction
from services.learner.settings import LearnerSettings
from services.learner.trial import Decision, decide
from services.ranker.adapters.model_registry import ModelRegistry
from services.ranker.domain.rollout import Rollout, StepKind
from services.ranker.domain.weights import Weights
from training.ranking.learnable import LearnableRanker

_log = structlog.get_logger("kairos.learner")
_tracer = trace.get_tracer("kairos")


class Release:
    """`weights` are of the scoring function, the opponent until a version is current."""

    def __init__(
        self, registry: ModelRegistry, weights: Weights, settings: LearnerSettings, metrics: LearnerMetrics,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._registry, self._weights, self._settings, self._clock = registry, weights, settings, clock
        self._metrics = metrics
        registry.repair()

    def rollout(self) -> Rollout:
        return self._registry.rollout()

    def current(self) -> LearnableRanker | None:
        """The current network; None if there is none, or it was trained on other features or has another shape."""
        version = self.rollout().current
        try:
            return LearnableRanker.load(self._registry.path(version)) if version else None
        except (ValueError, RuntimeError) as error:
            _log.warning("the current version cannot be trained further", version=version, reason=str(error))
            return None

    def is_ready(self, memory: Memory) -> bool:
        """Whether no version is on trial, and enough pages are held back to compare versions."""
        enough = len(memory.held) >= self._settings.guardrail.least_held and len(memory.replay) > 0
        return enough and self.rollout().other is None

    def made_s(self, version: str) -> float | None:
        """When it was made, in seconds since the epoch; None if its manifest does not say."""
        made_s: float | None = self._registry.manifest(version).get("created_s")
        return made_s

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
            self._step(Decision(StepKind.SHADOW, verdict.reason), version, lambda now: now.with_shadow(version))
        else:
            self._step(Decision(StepKind.REFUSED, verdict.reason, figures), version, lambda now: now)
        self._registry.prune(self._settings.keep_versions)
        return True

    def watch_trial(self, counts: Mapping[str, float], arms: Mapping[str, Arm], seen: Rollout) -> StepKind | None:
        """Takes the step that is due in the rollout `seen`, and gives it; None if none is due."""
        decision = decide(seen, counts, arms, self._settings.trial)
        if decision.kind is None:
            return None

        def change(now: Rollout) -> Rollout:
            if now.trial != seen.trial:
                raise ValueError("another process has taken a step meanwhile")
            if decision.kind is StepKind.SHARE:
                return now.with_share(version, self._settings.trial.share)
            if decision.kind is StepKind.PROMOTED:
                return now.promoted(version, self._settings.trial.holdback)
            return now.alone() if decision.kind is StepKind.SETTLED else now.rolled_back()

        version = seen.current if seen.challenger is None else seen.challenger
        return decision.kind if self._step(decision, version, change) else None

    def _step(self, decision: Decision, version: str, change: Callable[[Rollout], Rollout]) -> bool:
        if decision.kind is None:
            return False
        try:
            self._registry.take_step(decision.kind, version, change, decision.reason, decision.figures)
        except ValueError as error:
            _log.info("a step was not taken", step=decision.kind.value, version=version, reason=str(error))
            return False
        self._metrics.steps.labels(decision.kind.value).inc()
        _log.info("step", step=decision.kind.value, version=version, reason=decision.reason)
        return True

    def _verdict(self, working: LearnableRanker, memory: Memory, seed: int) -> Verdict:
        current, opponent = self.current(), None
        if current is not None and current.vector_version == working.vector_version:
            opponent = current
        # The scoring function answers if there is no network, or one of another vector model.
        found: Predictor = opponent or ScoringFunction(self._weights, memory.replay.examples)
        return compare(memory.held.examples, found, working, self._settings.guardrail, seed)

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
