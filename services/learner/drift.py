"""Drift detection: ADWIN over the log loss of pages before training on them, and over their click rate."""

from __future__ import annotations

from collections.abc import Iterable

from river.drift import ADWIN

from services.learner.metrics import LearnerMetrics
from services.learner.settings import DriftSettings

LOSS, CLICKS = "log_loss", "click_rate"


class DriftWatch:
    """Its windows are in memory only: they start empty when the learner starts."""

    def __init__(self, settings: DriftSettings, metrics: LearnerMetrics) -> None:
        self._watched = {name: ADWIN(delta=settings.delta) for name in (LOSS, CLICKS)} if settings.delta else {}
        self._drifts, self._means = metrics.drifts, metrics.window_mean
        for name in self._watched:
            # The series starts at 0.
            self._drifts.labels(name)

    def update(self, losses: Iterable[float], click_rates: Iterable[float]) -> set[str]:
        """One value for each page, in order. Gives the names of what drifted."""
        drifted = set()
        for name, values in ((LOSS, losses), (CLICKS, click_rates)):
            detector = self._watched.get(name)
            if detector is None:
                continue
            for value in values:
                width, total = detector.width, detector.total
                detector.update(value)
                if detector.drift_detected:
                    drifted.add(name)
                    self._drifts.labels(name).inc()
                    # The mean of what ADWIN has just dropped from its window.
                    cut = (total + value - detector.total) / (width + 1 - detector.width)
                    self._means.labels(name, "before").set(cut)
            self._means.labels(name, "now").set(detector.estimation)
        return drifted
