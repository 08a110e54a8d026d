"""Kairos as a seller in duopolies: its publisher, guardrails and policies, over what it has sold and observed there."""

from __future__ import annotations

from collections import deque
from datetime import date
from decimal import Decimal

import numpy as np

from benchmarks.price_duopoly import COST, Floats, Ints, Markets, Seller
from services.common.money import Money
from services.pricing.domain.competitors import CompetitorPrice
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.offered_product import OfferedProduct
from services.pricing.domain.policies.port import Objective
from services.pricing.domain.policy_set import Policy
from services.pricing.domain.price_war import Damper
from services.pricing.domain.publication import KnownProduct, look_at
from services.pricing.learning.counting import Counts
from services.pricing.learning.facts import ListedProduct, ShownOffer
from services.pricing.learning.periods import DAY_S, PeriodCounts, Periods
from services.pricing.learning.prices import Learned, LearnedPolicy, LearnedPrices, ladder_of

VISITORS = 60
FIRST_DAY = 20_000
# The default of a price policy.
DAMPER = Damper(3, 14 * DAY_S, 14 * DAY_S, Decimal("0.05"))
_DISCOUNT, _INCREASE = Decimal("0.4"), Decimal("0.1")
_KEPT_DAYS = 180
# To save time it learns anew each day for two weeks, and each week then.
_DAILY, _WEEK = 14, 7


class Kairos(Seller):
    """`policy` as in a price policy. The shop's own price is the monopoly price, of which its prices are shares."""

    def __init__(self, markets: Markets, seed: int, policy: str, damper: Damper | None) -> None:
        self._list = [_usd(price) for price in markets.monopoly]
        self._rows = deque[list[PeriodCounts]](maxlen=_KEPT_DAYS)
        self._prices = _Weekly(lambda: self, "benchmark", seed.to_bytes(16))  # type: ignore[arg-type,return-value]
        wanted = LearnedPolicy(policy, Objective.MARGIN, ladder_of(float(_DISCOUNT), float(_INCREASE)), int(DAY_S))
        rails = Guardrails(
            Decimal("0.02"), _DISCOUNT, _INCREASE, Decimal("0.05"), Decimal("0.15"), price_war=damper
        )  # fmt: skip
        self._policy = Policy("", policy, self._prices.pricer(wanted), rails, int(DAY_S))
        self._known: list[KnownProduct | None] = [None] * len(markets)
        self.ended_wars = 0

    def price(self, day: int, own: Floats, other: Floats) -> Floats:
        now_s = float((FIRST_DAY + day) * DAY_S)
        made = []
        for number, listed in enumerate(self._list):
            known = self._known[number]
            seen = {"rival": CompetitorPrice(_usd(other[number]), now_s - 60)}
            product = OfferedProduct(
                f"p{number}", listed, _usd(COST), competitors=seen,
                published=known.product.published if known else {},
                published_ns=known.product.published_ns if known else 0,
            )  # fmt: skip
            look = look_at(product, known, self._policy, now_s)
            self.ended_wars += look.ended_wars
            self._known[number] = look.known
            published = look.known.product.published.get("")
            made.append(float((published.price if published else listed).amount))
        return np.array(made)

    def learn(self, day: int, own: Floats, other: Floats, sold: Ints) -> None:
        self._rows.append(
            [
                PeriodCounts(
                    ListedProduct(f"p{number}", "", ""), FIRST_DAY + day,
                    ShownOffer("", "USD", round(own[number] * 100), int(listed.amount * 100)),
                    Counts(
                        views=VISITORS, stocked_views=VISITORS, visitors=VISITORS, exposure=VISITORS,
                        units=int(sold[number]),
                    ),
                    round(other[number] * 100),
                )
                for number, listed in enumerate(self._list)
            ]
        )  # fmt: skip

    def periods(self, since: date | None = None, product_id: str | None = None) -> Periods:
        """As of a DemandTable."""
        if not self._rows:
            raise ValueError("nothing was counted yet")
        return Periods.of(row for rows in self._rows for row in rows)


class _Weekly(LearnedPrices):
    def learned(self, now_s: float) -> Learned:
        day = int(now_s // DAY_S) - FIRST_DAY
        return super().learned(float((FIRST_DAY + (day if day < _DAILY else day - day % _WEEK)) * DAY_S))


def _usd(amount: float) -> Money:
    return Money("USD", Decimal(f"{amount:.2f}"))
