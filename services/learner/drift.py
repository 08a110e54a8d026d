"""Has the world changed: ADWIN over the log loss of showings that are not learned yet, and over their click rate."""

from __future__ import annotations

from collections.abc import Iterable

from river.drift import ADWIN

from services.learner.metrics import LearnerMetrics
from services.learner.settings import DriftSettings

LOSS, CLICKS = "log_loss", "click_rate"


class DriftWatch:
    """Lives in memory: a learner that starts anew begins to watch anew."""

    def __init__(self, settings: DriftSettings, metrics: LearnerMetrics) -> None:
        self._watched = {name: ADWIN(delta=settings.delta) for name in (LOSS, CLICKS)} if settings.delta else {}
        self._drifts, self._means = metrics.drifts, metrics.window_mean
        for name in self._watched:
            # Counted from 0 on.
            self._drifts.labels(name)

    def update(self, losses: Iterable[float], click_rates: Iterable[float]) -> set[str]:
        """One value for each showing, in order. The names of what drifted."""
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
                    # What ADWIN has just cut off its window, as a mean.
                    cut = (total + value - detector.total) / (width + 1 - detector.width)
                    self._means.labels(name, "before").set(cut)
            self._means.labels(name, "now").set(detector.estimation)
        return drifted
