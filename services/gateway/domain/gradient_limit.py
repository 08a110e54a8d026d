"""A limit of concurrent calls that follows the gradient of latency. Times are in seconds on a clock that is passed in.

Gradient2 of Netflix' concurrency-limits and Envoy's adaptive concurrency work alike: limit · (base latency / latency)
plus room for a queue. Here the samples are slowdowns, latency divided by the base latency of the same kind of call, so
that one limit serves calls of several kinds.
"""

from __future__ import annotations

import math

# A window ends with the first sample after both.
_WINDOW_S, _WINDOW_SAMPLES = 0.1, 10
# Samples that are older than this say nothing about now.
_STALE_S = 1.0
# One sample counts at most so much, and one window at most halves the limit.
_MOST_SLOWDOWN, _LEAST_GRADIENT = 10.0, 0.5
# Quickly down and slowly up: the limit goes only so far towards a higher one.
_RISE = 0.5


class GradientLimit:
    """Changed once a window, between `minimum` and `maximum`, and raised only if all of it was in use.

    `tolerance`: the mean slowdown that does not lower the limit.
    """

    __slots__ = ("_began_s", "_count", "_peak", "_sum", "limit", "maximum", "minimum", "tolerance")

    def __init__(self, minimum: int, maximum: int, tolerance: float, start: int) -> None:
        self.minimum, self.maximum, self.tolerance = minimum, maximum, tolerance
        self.limit = float(min(max(start, minimum), maximum))
        # The window: its begin, and of its samples the number, the sum, and the most calls in progress.
        self._began_s, self._count, self._sum, self._peak = -math.inf, 0, 0.0, 0

    @property
    def is_lowest(self) -> bool:
        return self.limit < self.minimum + 1

    def sample(self, slowdown: float, in_flight: int, now_s: float) -> None:
        """`in_flight`: calls in progress when this one ended, itself included."""
        if now_s - self._began_s > _STALE_S:
            self._begin(now_s)
        self._sum += min(slowdown, _MOST_SLOWDOWN)
        self._count += 1
        self._peak = max(self._peak, in_flight)
        if self._count >= _WINDOW_SAMPLES and now_s - self._began_s >= _WINDOW_S:
            self._change()
            self._begin(now_s)

    def lower(self, now_s: float) -> None:
        """To a quarter, so that the latency without load can be measured again. The next windows raise it."""
        self.limit = max(self.minimum, self.limit / 4)
        self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        self._began_s, self._count, self._sum, self._peak = now_s, 0, 0.0, 0

    def _change(self) -> None:
        gradient = min(1.0, max(_LEAST_GRADIENT, self.tolerance * self._count / max(self._sum, 1e-9)))
        wanted = gradient * (self.limit + math.sqrt(self.limit))
        if wanted > self.limit:
            wanted = self.limit + (wanted - self.limit) * _RISE if self._peak >= int(self.limit) else self.limit
        self.limit = float(min(self.maximum, max(self.minimum, wanted)))
