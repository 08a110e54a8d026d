"""What a product has cost in a price list: for the limits of changes, and for the lowest price of the last 30 days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from services.common.money import Money
from services.pricing.domain.price_war import PriceWar

DAY_S = 86_400.0
# Of the days before a reduction (Directive 98/6/EC, article 6a).
LOWEST_S = 30 * DAY_S
# How long past prices are kept, and how many of a product and price list: beyond it the two oldest become one.
KEPT_S = 60 * DAY_S
MOST_PAST = 200


@dataclass(frozen=True)
class PastPrice:
    """A price that was in force until `until_s`, or several: the lowest of them. Shares are of the shop's price."""

    until_s: float
    lowest: Decimal
    low_share: Decimal
    high_share: Decimal


@dataclass(frozen=True)
class WaitingReview:
    """A price that a person is asked about, and what the shop asked when it was proposed."""

    review_id: str
    price: Decimal
    base: Decimal


@dataclass(frozen=True)
class Rejection:
    """A person has rejected a price, as a share of the shop's price. It counts until `until_s`."""

    share: Decimal
    until_s: float


@dataclass(frozen=True)
class PriceRecord:
    """`price` is in force since `since_s`, in seconds since the epoch; `base`: what the shop asked then.

    `lowest_before`: of the 30 days before `since_s`; None: not known. `past`: the oldest first. `period`: in which a
    price was computed last. `decision_id`: of the last decision that is on record; empty: none is.
    """

    price: Money
    base: Decimal
    since_s: float
    lowest_before: Decimal | None = None
    past: tuple[PastPrice, ...] = ()
    period: int | None = None
    waiting: WaitingReview | None = None
    rejection: Rejection | None = None
    decision_id: str = ""
    war: PriceWar | None = None

    @property
    def share(self) -> Decimal:
        return share_of(self.price.amount, self.base)

    def then(self, price: Money, base: Decimal, since_s: float) -> PriceRecord:
        """With the price that is in force since `since_s`. A price in another currency begins a new record."""
        if (price, base) == (self.price, self.base):
            return self
        if price.currency != self.price.currency:
            return PriceRecord(price, base, since_s, period=self.period, waiting=self.waiting)
        share, recent_s = self.share, since_s - LOWEST_S
        lowest = min([self.price.amount, *(past.lowest for past in self.past if past.until_s >= recent_s)])
        past = [past for past in self.past if past.until_s >= since_s - KEPT_S]
        past.append(PastPrice(since_s, self.price.amount, share, share))
        return replace(self, price=price, base=base, since_s=since_s, lowest_before=lowest, past=_bounded(past))

    def shares_since(self, time_s: float) -> tuple[Decimal, Decimal]:
        """(lowest, highest) share of the shop's price that was in force after `time_s`, the present one too."""
        recent = [past for past in self.past if past.until_s > time_s]
        share = self.share
        return (
            min([share, *(past.low_share for past in recent)]),
            max([share, *(past.high_share for past in recent)]),
        )


def share_of(price: Decimal, base: Decimal) -> Decimal:
    return price / base if base else Decimal(1)


def _bounded(past: Sequence[PastPrice]) -> tuple[PastPrice, ...]:
    if len(past) <= MOST_PAST:
        return tuple(past)
    one, two, *rest = past
    both = PastPrice(
        two.until_s, min(one.lowest, two.lowest), min(one.low_share, two.low_share),
        max(one.high_share, two.high_share),
    )  # fmt: skip
    return (both, *rest)
