"""What billing is computed from. Each fact has a key: the same fact again changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

# (ranking id, product id): a product is on one place of a ranking.
ImpressionKey: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Impression:
    """An ad that was shown. `price`: of a click, in minor units of `currency`, as the auction set it.
    `expected_clicks`: at its place. `person_id`: the user, or else the visitor.
    """

    ranking_id: str
    item_id: str
    campaign_id: str
    price: int
    expected_clicks: float
    person_id: str
    shown_s: float
    currency: str

    @property
    def key(self) -> ImpressionKey:
        return self.ranking_id, self.item_id


@dataclass(frozen=True)
class Click:
    event_id: str
    ranking_id: str
    item_id: str
    person_id: str
    occurred_s: float

    @property
    def key(self) -> ImpressionKey:
        return self.ranking_id, self.item_id


@dataclass(frozen=True)
class Purchase:
    """`price`: for one piece, in minor units of `currency`. `order_id`: empty if it is not known."""

    event_id: str
    person_id: str
    item_id: str
    price: int
    occurred_s: float
    currency: str
    quantity: int = 1
    order_id: str = ""


@dataclass(frozen=True)
class Refund:
    """Pieces that were given back or cancelled: `quantity` 0 means all. See services/common/refunds.py."""

    event_id: str
    person_id: str
    item_id: str
    occurred_s: float
    quantity: int = 0
    order_id: str = ""


Fact: TypeAlias = Impression | Click | Purchase | Refund


@dataclass
class Facts:
    """Each fact once. Events by their ids; of two with one id the first is kept, as in the event log."""

    impressions: dict[ImpressionKey, Impression] = field(default_factory=dict)
    clicks: dict[str, Click] = field(default_factory=dict)
    purchases: dict[str, Purchase] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)

    def add(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            match fact:
                case Impression():
                    # An ad that a ranking shows again costs the lower price, whichever of the two is read first.
                    other = self.impressions.get(fact.key, fact)
                    self.impressions[fact.key] = min(fact, other, key=lambda one: (one.price, one.shown_s))
                case Click():
                    self.clicks.setdefault(fact.event_id, fact)
                case Purchase():
                    self.purchases.setdefault(fact.event_id, fact)
                case Refund():
                    self.refunds.setdefault(fact.event_id, fact)
