"""The latency of a kind of call while the suite is not loaded. All times are in seconds."""

from __future__ import annotations

_SAMPLES = 20
_LOW, _MEDIAN = 0.1, 0.5


class BaseLatency:
    """Percentiles of the last 20 samples. The caller passes only samples that were taken without load: in an overload
    the values therefore stay as they were.

    With 20 samples a change of the latency shows after two of them (a fall, in `low_s`) to ten (in `typical_s`).
    """

    __slots__ = ("_samples", "low_s", "typical_s")

    def __init__(self) -> None:
        self._samples: list[float] = []
        # 10th percentile: with less time a call could hardly succeed. 0 without samples.
        self.low_s = 0.0
        # Median: what a call usually takes. 0 without samples.
        self.typical_s = 0.0

    @property
    def is_known(self) -> bool:
        """Whether there are enough samples to compare latencies with."""
        return len(self._samples) >= _SAMPLES // 2

    def observe(self, latency_s: float) -> None:
        self._samples.append(latency_s)
        if len(self._samples) > _SAMPLES:
            del self._samples[0]
        ordered = sorted(self._samples)
        self.low_s, self.typical_s = ordered[int(len(ordered) * _LOW)], ordered[int(len(ordered) * _MEDIAN)]
