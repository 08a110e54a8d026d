"""The attacker of benchmarks.adversary: searches the parameters of an attack for the best gain per cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

# What an attacker pays, in cents. A purchase is sent back: what is lost is the fee and the postage.
CENTS_OF_CALL, CENTS_OF_WORD, CENTS_OF_VISITOR, CENTS_OF_EVENT, CENTS_OF_PURCHASE = 0.1, 0.05, 1.0, 0.02, 500.0
# Attempts that are drawn freely before the best one is varied, as a share of all.
_FREE = 0.4

Parameters = Mapping[str, Any]
Space = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Outcome:
    """`gain`: of what the attack wants; `cents` and `calls` of the gateway: what it took."""

    gain: float
    cents: float
    calls: int = 0

    @property
    def gain_per_cent(self) -> float:
        return self.gain / max(self.cents, CENTS_OF_CALL)


@dataclass(frozen=True)
class Trial:
    parameters: Parameters
    outcome: Outcome

    def document(self) -> dict[str, Any]:
        return {"parameters": dict(self.parameters), **asdict(self.outcome)}


def search(
    space: Space, attempt: Callable[[Parameters], Outcome], cents: float, attempts: int, random: Random
) -> list[Trial]:
    """At most `attempts`, each different, that cost at most `cents` together.

    Free draws first; then one parameter of the attempt with the best gain, or of that with the best gain per cent, in
    turn. An attempt that costs more than what is left of the budget does not count.
    """
    trials, tried, spent = list[Trial](), set[str](), 0.0
    size = 1
    for values in space.values():
        size *= len(values)
    while len(tried) < min(attempts, size):
        parameters = _next(space, trials, len(tried) < _FREE * attempts, random)
        if (key := repr(parameters)) in tried:
            # Around an optimum few neighbours are new.
            parameters = {name: random.choice(values) for name, values in space.items()}
            if (key := repr(parameters)) in tried:
                continue
        tried.add(key)
        outcome = attempt(parameters)
        if spent + outcome.cents <= cents:
            spent += outcome.cents
            trials.append(Trial(parameters, outcome))
    return trials


def _next(space: Space, trials: Sequence[Trial], is_free: bool, random: Random) -> dict[str, Any]:
    if is_free or not trials:
        return {name: random.choice(values) for name, values in space.items()}
    start = best(trials) if len(trials) % 2 else cheapest(trials)
    parameters = dict(start.parameters)
    name = random.choice([name for name, values in space.items() if len(values) > 1])
    parameters[name] = random.choice([value for value in space[name] if value != parameters[name]])
    return parameters


def best(trials: Sequence[Trial]) -> Trial:
    """The greatest gain; of equal ones the cheapest."""
    return max(trials, key=lambda trial: (trial.outcome.gain, -trial.outcome.cents))


def cheapest(trials: Sequence[Trial]) -> Trial:
    """The greatest gain per cent."""
    return max(trials, key=lambda trial: (trial.outcome.gain_per_cent, trial.outcome.gain))
