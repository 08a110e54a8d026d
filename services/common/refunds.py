"""Which purchases are undone by refunds and cancellations.

The result depends on the set of events only, not on the order in which they arrived.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol


class Trade(Protocol):
    """A purchase, refund or cancellation of one person. A refund's `quantity` of 0 means all pieces."""

    @property
    def event_id(self) -> str: ...

    @property
    def item_id(self) -> str: ...

    @property
    def order_id(self) -> str: ...

    @property
    def quantity(self) -> int: ...

    @property
    def occurred_s(self) -> float: ...


def pieces_left(purchases: Iterable[Trade], refunds: Iterable[Trade]) -> dict[str, int]:
    """By event id of the person's `purchases`: the pieces that were not given back.

    A refund with an order id gives back pieces of the item in that order, the latest purchase first, whenever these
    purchases happened. One without gives back pieces of the latest purchase of the item that happened before it and
    has pieces left.
    """
    of_item: defaultdict[str, list[Trade]] = defaultdict(list)
    for purchase in sorted(purchases, key=lambda each: (each.occurred_s, each.event_id), reverse=True):
        of_item[purchase.item_id].append(purchase)
    left = {purchase.event_id: purchase.quantity for known in of_item.values() for purchase in known}
    for refund in sorted(refunds, key=lambda each: (not each.order_id, each.occurred_s, each.event_id)):
        pieces = refund.quantity or math.inf
        for purchase in of_item.get(refund.item_id, ()):
            if not left[purchase.event_id] or not _is_of(refund, purchase):
                continue
            given_back = int(min(pieces, left[purchase.event_id]))
            left[purchase.event_id] -= given_back
            pieces -= given_back
            if not pieces or not refund.order_id:
                break
    return left


def undone(purchases: Iterable[Trade], refunds: Iterable[Trade]) -> frozenset[str]:
    """The event ids of those purchases of which all pieces are given back; see `pieces_left`."""
    return frozenset(event_id for event_id, pieces in pieces_left(purchases, refunds).items() if not pieces)


def _is_of(refund: Trade, purchase: Trade) -> bool:
    if refund.order_id:
        return purchase.order_id == refund.order_id
    return purchase.occurred_s <= refund.occurred_s
