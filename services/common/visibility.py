"""Visibility of products after moderation, by market and audience.

One rule for retrieval, which leaves products out, and for the gateway, whose memory holds some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

# Markets of one product, and characters of the name of one.
MAX_MARKETS = 64
MAX_MARKET = 16
_MARKET = re.compile(f"[a-z0-9][a-z0-9-]{{0,{MAX_MARKET - 1}}}")


class Outcome(Enum):
    """In the order of severity. Only BLOCK hides a product."""

    PASS = 1
    REVIEW = 2
    BLOCK = 3


@dataclass(frozen=True)
class Viewing:
    """The market and the audience of a request. `sees_all`: an import, or the shop's own people."""

    market: str = ""
    is_adult: bool = False
    sees_all: bool = False


GENERAL = Viewing()
SEES_ALL = Viewing(sees_all=True)


@dataclass(frozen=True)
class Visibility:
    """`blocked_in`: by market whether the product is blocked there; elsewhere, and without a market, `is_blocked`."""

    is_blocked: bool = False
    adults_only: bool = False
    blocked_in: tuple[tuple[str, bool], ...] = ()

    @classmethod
    def of(cls, outcome: Outcome, adults_only: bool, markets: Mapping[str, Outcome]) -> Visibility:
        """Outcomes that show the product alike give the same visibility."""
        blocked = outcome is Outcome.BLOCK
        others = {market: its is Outcome.BLOCK for market, its in markets.items()}
        return cls(blocked, adults_only, tuple(sorted((m, its) for m, its in others.items() if its is not blocked)))

    def shows_to(self, viewing: Viewing) -> bool:
        if viewing.sees_all:
            return True
        if self.adults_only and not viewing.is_adult:
            return False
        return not dict(self.blocked_in).get(viewing.market, self.is_blocked)


EVERYONE = Visibility()


@dataclass(frozen=True)
class Moderated:
    """What moderation found about a product. `review_id`: whose published decision made the outcome; empty: rules."""

    outcome: Outcome = Outcome.PASS
    adults_only: bool = False
    markets: Mapping[str, Outcome] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    rules_version: str = ""
    evidence: str = ""
    review_id: str = ""

    @property
    def visibility(self) -> Visibility:
        return Visibility.of(self.outcome, self.adults_only, self.markets)

    @property
    def worst(self) -> Outcome:
        """Over all markets."""
        return max([self.outcome, *self.markets.values()], key=lambda outcome: outcome.value)


def market_problem(market: str) -> str | None:
    """What is wrong with the name of a market, for an error's text; None for a valid one, and for none."""
    if market and not _MARKET.fullmatch(market):
        return f"{market[:MAX_MARKET]!r}: use 1 to {MAX_MARKET} of a-z, 0-9 and '-', a letter or digit first"
    return None
