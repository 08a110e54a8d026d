"""The trial of a version of one kind of model: counts the outcomes of its users, and takes the step that is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import structlog

from services.common.models.registry import ModelRegistry, refusal_of
from services.common.models.rollout import Rollout, StepKind
from services.learner.metrics import LearnerMetrics
from services.learner.online import Arm
from services.learner.settings import TrialSettings
from services.learner.trial import Decision, decide
from training.ranking.examples import Examples

_log = structlog.get_logger("kairos.learner")


class ShownPage(NamedTuple):
    """Items that were shown to `who`, as versions are drawn, and how many of them were clicked and bought."""

    who: str
    shown_s: float
    items: int
    clicks: float
    purchases: float


def shown_pages(examples: Examples, whom: Sequence[str]) -> list[ShownPage]:
    """Of r pages that were shown to `whom` [r]."""
    r = examples.page_count
    items = np.bincount(examples.page, minlength=r).tolist()
    clicks, purchases = (np.bincount(examples.page, of, r).tolist() for of in (examples.click, examples.purchase))
    return list(map(ShownPage, whom, examples.shown_s.tolist(), items, clicks, purchases))


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
        if not self._is_watched(seen):
            return None
        if self.state.trial != seen.trial:
            self.state.trial, self.state.arms = seen.trial, {}
        decision = decide(seen, self._counts(seen.trial), self.state.arms, self._settings)
        if decision.kind is None:
            return None
        if decision.kind.gives_users and (why := refusal_of(self._registry.steps(), seen.challenger or seen.current)):
            decision = Decision(StepKind.ROLLED_BACK, f"its evaluation on the log refused it: {why}", decision.figures)

        def change(now: Rollout) -> Rollout:
            if now.trial != seen.trial:
                raise ValueError("another process has taken a step meanwhile")
            if decision.kind is StepKind.SHARE:
                return now.with_share(version, self._settings.share)
            if decision.kind is StepKind.PROMOTED:
                return self._promoted(now, version)
            return now.alone() if decision.kind is StepKind.SETTLED else now.rolled_back()

        version = seen.current if seen.challenger is None else seen.challenger
        if not self._is_prepared(decision, version):
            return None
        return decision.kind if self.step(decision, version, change) else None

    def count(self, pages: Sequence[ShownPage], tenant: str) -> None:
        """A person is of the arm that the draw says, also where another version has answered: one that stands in for a
        version that failed, or the weighted sum for lists of a kind that a version does not serve. So both arms have
        all kinds of pages.
        """
        rollout = self.rollout()
        if rollout.other is None or self.state.trial != rollout.trial:
            return
        for page in pages:
            if page.who and page.shown_s >= rollout.since_s:
                arm = self.state.arms.setdefault(rollout.version_for(tenant, page.who), Arm())
                arm.add(page.who, page.items, page.clicks, page.purchases)

    def _is_watched(self, rollout: Rollout) -> bool:
        return rollout.other is not None

    def _is_prepared(self, decision: Decision, version: str) -> bool:
        """Does what must precede the step; False: it could not be done now."""
        return True

    def _promoted(self, now: Rollout, version: str) -> Rollout:
        return now.promoted(version, self._settings.holdback)

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
