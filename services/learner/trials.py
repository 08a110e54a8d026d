"""The trial of a version, of either kind of model: counts the outcomes of its users, and takes the step that is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, StepKind
from services.learner.metrics import LearnerMetrics
from services.learner.online import Arm
from services.learner.settings import TrialSettings
from services.learner.trial import Decision, decide
from training.ranking.examples import Examples

_log = structlog.get_logger("kairos.learner")


@dataclass
class TrialState:
    """`arms` are the counts of the versions of the trial named `trial`."""

    trial: str = ""
    arms: dict[str, Arm] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        return {"trial": self.trial, "arms": {version: arm.to_document() for version, arm in self.arms.items()}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TrialState:
        arms = {version: Arm.from_document(arm) for version, arm in document["arms"].items()}
        return cls(document["trial"], arms)


class Trials:
    """Of one registry. `counts(trial)` gives the sums that the ranker's replicas report."""

    def __init__(
        self,
        registry: ModelRegistry,
        counts: Callable[[str], Mapping[str, float]],
        settings: TrialSettings,
        metrics: LearnerMetrics,
        state: TrialState,
    ) -> None:
        self._registry, self._counts, self._settings, self._metrics = registry, counts, settings, metrics
        self.state = state
        registry.repair()

    def rollout(self) -> Rollout:
        return self._registry.rollout()

    def watch(self) -> StepKind | None:
        """Takes the step that is due, and gives it; None if none is due."""
        seen = self.rollout()
        if seen.other is None:
            return None
        if self.state.trial != seen.trial:
            self.state.trial, self.state.arms = seen.trial, {}
        decision = decide(seen, self._counts(seen.trial), self.state.arms, self._settings)
        if decision.kind is None:
            return None

        def change(now: Rollout) -> Rollout:
            if now.trial != seen.trial:
                raise ValueError("another process has taken a step meanwhile")
            if decision.kind is StepKind.SHARE:
                return now.with_share(version, self._settings.share)
            if decision.kind is StepKind.PROMOTED:
                return now.promoted(version, self._settings.holdback)
            return now.alone() if decision.kind is StepKind.SETTLED else now.rolled_back()

        version = seen.current if seen.challenger is None else seen.challenger
        return decision.kind if self.step(decision, version, change) else None

    def count(self, examples: Examples, tenant: str, whom: Sequence[str]) -> None:
        """Outcomes of r pages that were shown to `whom` [r].

        A person is of the arm that the draw says, also where another version has answered: one that stands in for a
        version that failed, or the weighted sum for lists of a kind that a version does not serve. So both arms have
        all kinds of pages.
        """
        rollout, r = self.rollout(), examples.page_count
        if rollout.other is None or self.state.trial != rollout.trial:
            return
        shown = np.bincount(examples.page, minlength=r)
        clicks, purchases = (np.bincount(examples.page, of, r) for of in (examples.click, examples.purchase))
        for row, who in enumerate(whom):
            if who and examples.shown_s[row] >= rollout.since_s:
                arm = self.state.arms.setdefault(rollout.version_for(tenant, who), Arm())
                arm.add(who, int(shown[row]), clicks[row], purchases[row])

    def step(self, decision: Decision, version: str, change: Callable[[Rollout], Rollout]) -> bool:
        """Whether the step was taken."""
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
