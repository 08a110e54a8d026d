"""What is known of products from the log: what was shown of them at which price, and what persons did.

Persons, rankings, events, quotes and orders are keys of 64 bits: digests with a secret that is made for the store.
Times are in seconds since the epoch, amounts in minor units of their currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Act(Enum):
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    # Cancellations too.
    REFUND = "refund"

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class ShownOffer:
    """What was asked for a product. `list_price`: without sale and markdown. The id of the default list is empty."""

    price_list_id: str
    currency: str
    price: int
    list_price: int


@dataclass(frozen=True, slots=True)
class Impression:
    """One product on a page of the ranking `page`.

    `person`: the user, else the visitor, else the session, else the page. `visitor`: the visitor of a user's page.
    `position` from 1; 0: not known. `offer` None: no price was logged.
    """

    page: int
    product_id: str
    person: int
    visitor: int | None
    shown_s: float
    position: int
    offer: ShownOffer | None
    quote: int | None = None
    in_stock: bool = True
    is_sale: bool = False

    @property
    def persons(self) -> list[int]:
        """The keys by which an event of the same person is found."""
        return [self.person] if self.visitor is None else [self.person, self.visitor]


@dataclass(frozen=True, slots=True)
class Join:
    """The offer that an interaction answers. `is_shown`: it was shown to this person; otherwise it is that of the time.

    None: nothing is known.
    """

    offer: ShownOffer | None
    is_shown: bool


@dataclass(frozen=True, slots=True)
class Paid:
    """For one piece."""

    currency: str
    amount: int


@dataclass(frozen=True, slots=True)
class Interaction:
    """One event. `person` and `visitor` as of an Impression; `page`: the ranking that its token names.

    A refund's `quantity` of 0 means all pieces. `kept`: the join that was stored when its impression was removed.
    """

    key: int
    act: Act
    product_id: str
    person: int
    visitor: int | None
    occurred_s: float
    page: int | None = None
    quote: int | None = None
    order: int | None = None
    quantity: int = 1
    paid: Paid | None = None
    kept: Join | None = None

    @property
    def persons(self) -> list[int]:
        return [self.person] if self.visitor is None else [self.person, self.visitor]


@dataclass(frozen=True)
class ListedProduct:
    """`category`: the path, for example "Shoes > Boots"."""

    product_id: str
    category: str
    brand: str


@dataclass(frozen=True)
class Facts:
    """Of one product."""

    impressions: Sequence[Impression] = field(default_factory=list)
    interactions: Sequence[Interaction] = field(default_factory=list)
