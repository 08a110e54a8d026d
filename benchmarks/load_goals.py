"""What the phases of `benchmarks.load` say together: figures by multiple of saturation, and the goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.load_phases import deadline_name, open_name, recovery_name, saturation, saturation_name
from benchmarks.load_summary import whole_share

# Least whole answers a second, as a part of those at saturation, by multiple of saturation.
LEAST_WHOLE = {1.5: 0.9, 2.0: 0.9, 5.0: 0.9, 10.0: 0.75}
IN_TIME, REFUSAL_P99_MS, TAIL = 0.999, 5.0, 3.0
RECOVERED, RECOVERED_AFTER_S = 0.99, 1.0
DEADLINES_IN_TIME = 0.99


@dataclass(frozen=True)
class Goal:
    """`values`: of each round, or of each phase; `value` is their median, or the worst if every phase must hold."""

    name: str
    wanted: str
    value: float
    values: tuple[float, ...]
    holds: bool


@dataclass(frozen=True)
class Report:
    """The finished phases by name, and the settings that made the plan."""

    parts: dict[str, Any]
    multiples: tuple[float, ...]
    deadlines_ms: tuple[float, ...]
    rounds: int

    @property
    def saturation(self) -> tuple[int, float]:
        """(calls in flight, whole answers a second)."""
        return saturation(self.parts)

    def of(self, multiple: float) -> list[dict[str, Any]]:
        """The phases with that multiple of saturation, one for each round."""
        return [self.parts[open_name(number, multiple)] for number in range(1, self.rounds + 1)]

    def open_loops(self) -> list[dict[str, Any]]:
        return [phase for multiple in self.multiples for phase in self.of(multiple)]

    def whole_ratios(self, multiple: float) -> list[float]:
        """Whole answers a second of each round, as a part of those of the same round's saturation."""
        return [
            phase["whole_per_s"] / max(self.parts[saturation_name(number)]["whole_per_s"], 1e-3)
            for number, phase in enumerate(self.of(multiple), 1)
        ]

    def recoveries(self) -> list[list[list[int]]]:
        """[calls, whole answers] of each 100 ms after the fall of the load, for each round."""
        return [self.parts[recovery_name(number)]["after_overload"] for number in range(1, self.rounds + 1)]

    def deadlines(self) -> dict[float, dict[str, Any]]:
        return {budget_ms: self.parts[deadline_name(budget_ms)] for budget_ms in self.deadlines_ms}

    def goals(self) -> list[Goal]:
        return list(self._goals())

    def _goals(self) -> Iterator[Goal]:
        for multiple in self.multiples:
            if least := LEAST_WHOLE.get(multiple):
                yield _at_least(f"whole at {multiple:g} × / at saturation", self.whole_ratios(multiple), least)
        if 0.5 in self.multiples:
            tails = [phase["latency"]["p99"] / max(phase["latency"]["p50"], 1e-3) for phase in self.of(0.5)]
            yield _at_most("p99 / p50 at half of saturation", tails, TAIL, statistics.median)
        loops = self.open_loops()
        in_time = [phase["in_time_share"] for phase in loops if phase["in_time_share"] is not None]
        yield _at_least("admitted answered in time, every phase", in_time, IN_TIME, min)
        refusals = [phase["refusal_latency"]["p99"] for phase in loops if phase["refused"]]
        yield _at_most("p99 of refusals, ms, every phase", refusals or [0.0], REFUSAL_P99_MS, max)
        bare = [float(phase["refused_without_retry_info"]) for phase in loops]
        yield _at_most("refusals without RetryInfo", [sum(bare)], 0, sum)
        errors = [float(sum(phase["errors"].values())) for phase in loops]
        yield _at_most("other errors", [sum(errors)], 0, sum)
        recovered = [whole_share(bins, RECOVERED_AFTER_S) or 0.0 for bins in self.recoveries()]
        yield _at_least("whole later than 1 s after the overload", recovered, RECOVERED)
        for budget_ms, phase in self.deadlines().items():
            share = phase["in_time_share"] or 0.0
            yield _at_least(f"in time with {budget_ms:g} ms", [share], DEADLINES_IN_TIME)


def _at_least(
    name: str, values: list[float], least: float, of: Callable[[Iterable[float]], float] = statistics.median
) -> Goal:
    value = of(values)
    return Goal(name, f"≥ {least:g}", value, tuple(values), value >= least)


def _at_most(name: str, values: list[float], most: float, of: Callable[[Iterable[float]], float]) -> Goal:
    value = of(values)
    return Goal(name, f"≤ {most:g}", value, tuple(values), value <= most)
