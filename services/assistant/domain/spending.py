"""What calls of a language model cost, by tenant and day (UTC), and how much of it is left."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_DAY_S = 86_400
# Tenants of a day that are counted. Beyond that, a new tenant has no calls left.
_MAX_TENANTS = 10_000
# Characters of ASCII text that make one token at least, and tokens of any other character at most.
_ASCII_A_TOKEN, _TOKENS_OF_OTHER = 3, 1.5


@dataclass(frozen=True)
class Prices:
    """For a million tokens, in the currency of `SpendingLimits.cost`."""

    prompt: float = 0.0
    completion: float = 0.0

    def cost(self, prompt: int, completion: int) -> float:
        return (prompt * self.prompt + completion * self.completion) / 1e6


@dataclass(frozen=True)
class SpendingLimits:
    """Of one tenant and day. `tokens`: of prompts and completions together."""

    tokens: int
    cost: float


@dataclass
class _Spent:
    tokens: int = 0
    cost: float = 0.0


class Spending:
    """Each replica counts by itself and from its start on. A call is reserved at its most before it is made, and
    settled at what it took.
    """

    def __init__(self, limits: SpendingLimits, prices: Prices, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self._limits, self._prices, self._clock = limits, prices, clock
        self._day, self._spent = -1, OrderedDict[str, _Spent]()

    def reserve(self, tenant: str, prompt: int, completion: int) -> Callable[[int, int], None] | None:
        """None if the call might exceed a limit. Otherwise what to call with the tokens that it took, once."""
        day = int(self._clock() // _DAY_S)
        if day != self._day:
            self._day, self._spent = day, OrderedDict()
        if tenant not in self._spent and len(self._spent) >= _MAX_TENANTS:
            return None
        spent = self._spent.setdefault(tenant, _Spent())
        tokens, cost = prompt + completion, self._prices.cost(prompt, completion)
        if spent.tokens + tokens > self._limits.tokens or spent.cost + cost > self._limits.cost:
            return None
        spent.tokens += tokens
        spent.cost += cost

        def settle(prompt_used: int, completion_used: int) -> None:
            spent.tokens += prompt_used + completion_used - tokens
            spent.cost += self._prices.cost(prompt_used, completion_used) - cost

        return settle


def most_tokens(text: str) -> int:
    """More tokens than a common tokenizer makes of the text."""
    ascii = sum(character.isascii() for character in text)
    return int(ascii / _ASCII_A_TOKEN + (len(text) - ascii) * _TOKENS_OF_OTHER) + 1
