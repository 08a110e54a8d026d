"""Counts of one product: what was shown and bought in each period at each price.

A person counts once for a period and price, however often the person looked, clicked or put the product into the cart:
the rule of the ranker's counts over all persons, by which a few fake visitors change nothing. Pieces and revenue count
in full. What was given back is left out (services/common/refunds.py), in the period of its purchase.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

from services.common.refunds import pieces_left
from services.pricing.learning.facts import Act, Facts, Impression, Interaction, Join, ShownOffer


class Cell(NamedTuple):
    """A period and the offer in it. `day`: days since the epoch, by the calendar of the time zone. `offer` None: the
    price is not known.
    """

    day: int
    offer: ShownOffer | None


@dataclass
class Counts:
    """Of one product and cell. `views` and `stocked_views` count impressions, in all and in stock. `visitors`,
    `clicks`, `carts` and `buyers` count persons.

    `exposure` adds up 1 / log2(1 + best position) of the visitors: a prior for how many of them saw the product.
    `units`, and `revenue` in minor units, are of what was bought and kept; `returned_units` of what was given back;
    `unjoined_units` are those of `units` of which no impression is known. `is_sale`: the shop itself had reduced it.
    """

    views: int = 0
    stocked_views: int = 0
    visitors: int = 0
    exposure: float = 0.0
    clicks: int = 0
    carts: int = 0
    buyers: int = 0
    units: int = 0
    revenue: int = 0
    returned_units: int = 0
    unjoined_units: int = 0
    is_sale: bool = False

    def add(self, other: Counts) -> None:
        for each in fields(self):
            total = getattr(self, each.name) + getattr(other, each.name)
            setattr(self, each.name, bool(total) if each.name == "is_sale" else total)


def counts_of(
    impressions: Iterable[Impression],
    interactions: Iterable[Interaction],
    joins: Mapping[int, Join],
    left: Mapping[int, int],
    day_of: Callable[[float], int],
) -> dict[Cell, Counts]:
    """Of some facts of a product. `joins` and `left` (see `units_left`) are by key of the interaction."""
    counts: defaultdict[Cell, Counts] = defaultdict(Counts)
    best: dict[tuple[Cell, int], float] = {}
    for one in impressions:
        cell = Cell(day_of(one.shown_s), one.offer)
        own = counts[cell]
        own.views += 1
        own.stocked_views += one.in_stock
        own.is_sale = own.is_sale or one.is_sale
        seen = 1 / math.log2(1 + one.position) if one.position else 0.0
        best[cell, one.person] = max(seen, best.get((cell, one.person), 0.0))
    # In an order that does not depend on the order of the facts: sums of floats do.
    for (cell, _), seen in sorted(best.items(), key=lambda each: (each[1], each[0][1])):
        counts[cell].visitors += 1
        counts[cell].exposure += seen
    persons: set[tuple[Cell, Act, int]] = set()
    for event in interactions:
        if event.act is Act.REFUND:
            continue
        join = joins[event.key]
        cell = Cell(day_of(event.occurred_s), join.offer)
        own = counts[cell]
        if event.act is Act.PURCHASE:
            kept = left[event.key]
            own.units += kept
            own.revenue += kept * paid_for_one(event, join.offer)
            own.returned_units += event.quantity - kept
            own.unjoined_units += 0 if join.is_shown else kept
            if not kept:
                continue
        persons.add((cell, event.act, event.person))
    for cell, act, _ in persons:
        match act:
            case Act.CLICK:
                counts[cell].clicks += 1
            case Act.CART:
                counts[cell].carts += 1
            case _:
                counts[cell].buyers += 1
    return dict(counts)


def units_left(facts: Facts) -> dict[int, int]:
    """By key of each purchase: the pieces that were not given back.

    A refund with an order's id is of that order, for any person: between purchase and refund a visitor may sign in.
    """
    left = {each.key: each.quantity for each in facts.interactions if each.act is Act.PURCHASE}
    # Refunds with an order come first, as in `pieces_left`.
    for group in ("order", "person"):
        groups: defaultdict[int, tuple[list[_Trade], list[_Trade]]] = defaultdict(lambda: ([], []))
        for each in facts.interactions:
            whose = getattr(each, group)
            if each.act is Act.PURCHASE and whose is not None:
                groups[whose][0].append(_Trade(each, left[each.key]))
            elif each.act is Act.REFUND and (each.order is not None) == (group == "order"):
                groups[whose][1].append(_Trade(each, each.quantity))
        for bought, refunds in groups.values():
            if refunds:
                found = pieces_left(bought, refunds)
                left |= {trade.key: found[trade.event_id] for trade in bought}
    return left


class _Trade:
    """An interaction as services/common/refunds.py reads it."""

    def __init__(self, event: Interaction, quantity: int) -> None:
        self.key, self.event_id, self.item_id = event.key, str(event.key), event.product_id
        self.order_id = "" if event.order is None else str(event.order)
        self.quantity, self.occurred_s = quantity, event.occurred_s


def paid_for_one(event: Interaction, offer: ShownOffer | None) -> int:
    """In minor units; the price of the offer if nothing was said, or in another currency. 0: nothing is known."""
    if offer is None:
        return event.paid.amount if event.paid else 0
    return event.paid.amount if event.paid and event.paid.currency == offer.currency else offer.price
