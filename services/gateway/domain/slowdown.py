"""How much slower than without load a request was: the signal of the gateway's own limit. Times are in seconds."""

from __future__ import annotations

from collections.abc import Sequence

# Latency, and base latency; 0: it is not known.
Part = tuple[float, float]

_FAULTY = 4.0


class Work:
    """The stage calls of one request: their parts, and the time in which at least one was in progress."""

    __slots__ = ("_active", "_since_s", "parts", "stages_s")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.stages_s = 0.0
        self._active, self._since_s = 0, 0.0

    def begin(self, now_s: float) -> None:
        if not self._active:
            self._since_s = now_s
        self._active += 1

    def end(self, now_s: float) -> None:
        self._active -= 1
        if not self._active:
            self.stages_s += now_s - self._since_s


def slowdown(own: Part, stages: Sequence[Part]) -> float | None:
    """Latency divided by base latency: of the gateway's own work and of the stage calls.

    The call that lost the most time does not count if it took four times its base latency: a single slow stage has a
    limit of its own and a fallback, and must not lower the limit of everything. In an overload of the machine all parts
    are slow, so leaving one out hides nothing. None if a base latency is not known.
    """
    parts = [own, *stages]
    if len(stages) > 1:
        latency_s, base_s = worst = max(stages, key=lambda part: part[0] - part[1])
        if latency_s >= _FAULTY * base_s:
            parts.remove(worst)
    if not all(base_s > 0 for _, base_s in parts):
        return None
    return sum(latency_s for latency_s, _ in parts) / sum(base_s for _, base_s in parts)
