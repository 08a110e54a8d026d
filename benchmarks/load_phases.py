"""The phases of `benchmarks.load`, and how each is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np

from benchmarks.load_calls import Offer
from benchmarks.load_client import Client
from benchmarks.load_suite import Measured
from benchmarks.load_summary import summarise, whole_by_bin
from benchmarks.load_traffic import WITH_FALLBACKS, Traffic, Visit, poisson

IN_FLIGHT = (1, 2, 4, 8, 16, 32)
OVERLOAD, HALF = 5.0, 0.5
_WARM_UP_S = 5.0
# A closed loop draws its requests from so many, again and again.
_REQUESTS = 4_000
# The suite is left alone for so long, so that a phase does not see the queues of the one before it.
_REST_S = 2.0


@dataclass(frozen=True)
class Phase:
    """A closed loop with `in_flight` calls, or an open loop with `rates` [(multiple of saturation, seconds), …].

    `best`: as many calls in flight as gave the highest rate of whole answers.
    """

    name: str
    seconds: float
    in_flight: int = 0
    best: bool = False
    rates: tuple[tuple[float, float], ...] = ()
    # 0: the deadline of the run.
    budget_ms: float = 0.0


def plan(seconds: float, multiples: Sequence[float], deadlines_ms: Sequence[float], rounds: int) -> Iterator[Phase]:
    """First the saturation; then the rounds, every other one in the opposite order; at last the short deadlines."""
    for in_flight in IN_FLIGHT:
        yield Phase(closed_name(in_flight), seconds / 2, in_flight)
    for number in range(1, rounds + 1):
        yield Phase(saturation_name(number), seconds / 2, best=True)
        for multiple in multiples if number % 2 else reversed(multiples):
            yield Phase(open_name(number, multiple), seconds, rates=((multiple, seconds),))
        yield Phase(recovery_name(number), seconds, rates=((OVERLOAD, seconds / 2), (HALF, seconds)))
    for budget_ms in deadlines_ms:
        yield Phase(deadline_name(budget_ms), seconds / 2, in_flight=1, budget_ms=budget_ms)


# Of the calls of a closed loop that measures saturation.
_MOST_REFUSED = 0.01


def closed_name(in_flight: int) -> str:
    return f"{in_flight} in flight"


def saturation_name(number: int) -> str:
    return f"round {number}: saturation"


def open_name(number: int, multiple: float) -> str:
    return f"round {number}: {multiple:g} × saturation"


def recovery_name(number: int) -> str:
    return f"round {number}: {OVERLOAD:g} × then {HALF:g} × saturation"


def deadline_name(budget_ms: float) -> str:
    return f"deadline {budget_ms:g} ms"


def saturation(parts: dict[str, Any]) -> tuple[int, float]:
    """(calls in flight, whole answers a second) of the closed loop with the highest rate of whole answers.

    Loops with more than a hundredth of refusals do not count: a loop that calls again at once after a refusal gets
    mostly answers of kinds that are never refused, and so another mix.
    """
    found = {in_flight: parts[closed_name(in_flight)] for in_flight in IN_FLIGHT}
    rates = {
        in_flight: float(part["whole_per_s"])
        for in_flight, part in found.items()
        if part["refused"] <= _MOST_REFUSED * part["sent"]
    }
    best = max(rates, key=rates.__getitem__)
    if not rates[best]:
        raise SystemExit("no closed loop got a whole answer; `degradations` in the JSON file says which stage failed")
    return best, rates[best]


class Bench:
    """Measures phases of `visits` against one suite. Every phase has random numbers of its own, from seed and name."""

    def __init__(
        self, suite: Measured, visits: list[Visit], kinds: Traffic, client: Client, budget_s: float,
        seed: int,
    ) -> None:  # fmt: skip
        self._suite, self._traffic, self._client = suite, kinds, client
        self._with_fallbacks = Traffic(visits, WITH_FALLBACKS)
        self._budget_s, self._seed = budget_s, seed

    def warm_up(self) -> None:
        self._closed(Phase("warm up", _WARM_UP_S, in_flight=4))

    def measure(self, phase: Phase, parts: dict[str, Any]) -> dict[str, Any]:
        """The figures of a phase; `parts` has those of the phases before it."""
        time.sleep(_REST_S)
        if phase.best:
            phase = replace(phase, in_flight=saturation(parts)[0])
        return self._closed(phase) if phase.in_flight else self._open(phase, saturation(parts)[1])

    def _closed(self, phase: Phase) -> dict[str, Any]:
        traffic = self._with_fallbacks if phase.budget_ms else self._traffic
        return self._run(phase, traffic, np.zeros(_REQUESTS), phase.seconds)

    def _open(self, phase: Phase, rate: float) -> dict[str, Any]:
        rates = [(multiple * rate, seconds) for multiple, seconds in phase.rates]
        due_s = poisson(rates, np.random.default_rng([self._seed, *phase.name.encode()]))
        return self._run(phase, self._traffic, due_s, sum(seconds for _, seconds in rates))

    def _run(self, phase: Phase, traffic: Traffic, due_s: Any, seconds: float) -> dict[str, Any]:
        random, budget_s = Random(f"{self._seed}/{phase.name}"), phase.budget_ms / 1e3 or self._budget_s
        traffic.refresh(self._suite.connection, random)
        arrivals, target = traffic.arrivals(due_s, random), self._suite.connection.target
        before = self._suite.cpu_seconds()
        offer = Offer(target, traffic.kinds, arrivals, budget_s, phase.in_flight, phase.seconds)
        calls = self._client.make(offer)
        after = self._suite.cpu_seconds()
        figures = summarise(calls, traffic.kinds, seconds)
        figures["offered_per_s"] = None if phase.in_flight else round(len(due_s) / seconds, 2)
        figures["suite_cpu_s"] = {name: round(value - before.get(name, 0.0), 3) for name, value in after.items()}
        if len(phase.rates) > 1:
            figures["after_overload"] = whole_by_bin(calls, phase.rates[0][1], seconds)
        return figures
