"""The order of products after boosts, pins and sponsored places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.merchandising import MAX_MULTIPLIER, MIN_MULTIPLIER


@dataclass(frozen=True)
class PinnedProduct:
    """`position` is 1-based. `is_soft`: the product stays where it is before that."""

    product_id: str
    position: int
    is_soft: bool
    rule_id: str


def boosted(ids: Sequence[str], tiers: Sequence[int], multipliers: Mapping[str, float]) -> list[str]:
    """The position of each product divided by its multiplier, within its tier.

    `tiers`: in ascending order, one for each product; empty: one tier. Of equal positions the boosted product is first.
    """
    if multipliers.keys().isdisjoint(ids):
        return list(ids)
    bounded = {id: min(max(one, MIN_MULTIPLIER), MAX_MULTIPLIER) for id, one in multipliers.items()}
    first: dict[int, int] = {}
    keys = list[tuple[int, float, float, int]]()
    for place, (id, tier) in enumerate(zip(ids, tiers or [0] * len(ids), strict=True)):
        multiplier = bounded.get(id, 1.0)
        keys.append((tier, (place - first.setdefault(tier, place) + 1) / multiplier, -multiplier, place))
    return [ids[place] for *_, place in sorted(keys)]


def pinned(ids: Sequence[str], pins: Sequence[PinnedProduct]) -> tuple[list[str], list[PinnedProduct]]:
    """(the order with pins, the pins that have an effect). `pins` by precedence; those of absent products are ignored.

    A smaller position comes first, then precedence. Of several pins of a product the first counts. Of several products
    at a position the first has it, and each other one the next free position. Positions behind the last product are the
    last ones. A product that is not there leaves its place to the next product.
    """
    present, effective = set(ids), dict[str, PinnedProduct]()
    for pin in sorted(pins, key=lambda pin: pin.position):
        if pin.product_id in present:
            effective.setdefault(pin.product_id, pin)
    slots: dict[int, str] = {}
    hard = [pin for pin in effective.values() if not pin.is_soft]
    later = [pin for pin in hard if slots.setdefault(pin.position, pin.product_id) != pin.product_id]
    beyond = [slots.pop(position) for position in sorted(slots) if position > len(ids)]
    for pin in later:
        if pin.position > len(ids):
            beyond.append(pin.product_id)
        else:
            slots[_next_free(slots, pin.position, len(ids))] = pin.product_id
    free = [position for position in range(1, len(ids) + 1) if position not in slots]
    slots.update(zip(free[len(free) - len(beyond) :], beyond, strict=True))
    soft = [pin for pin in effective.values() if pin.is_soft]
    order, moved = at_positions(ids, slots), True
    while moved:
        moved = False
        for pin in soft:
            if pin.product_id not in slots.values() and order.index(pin.product_id) >= pin.position:
                slots[_free_until(slots, pin.position, len(ids))] = pin.product_id
                order, moved = at_positions(ids, slots), True
    return order, list(effective.values())


def at_positions(ids: Sequence[str], slots: Mapping[int, str]) -> list[str]:
    """The products of `slots` at their positions, 1 to the number of `ids`, all others around them in their order."""
    fixed = set(slots.values())
    others = (id for id in ids if id not in fixed)
    return [slots[place] if place in slots else next(others) for place in range(1, len(ids) + 1)]


def _next_free(slots: Mapping[int, str], position: int, count: int) -> int:
    """The first free position behind this one, else the last free one before it."""
    behind = (free for free in range(position, count + 1) if free not in slots)
    before = (free for free in range(position, 0, -1) if free not in slots)
    return next(behind, None) or next(before)


def _free_until(slots: Mapping[int, str], position: int, count: int) -> int:
    """The last free position that is not behind this one, else the first free one behind it."""
    before = (free for free in range(min(position, count), 0, -1) if free not in slots)
    behind = (free for free in range(position, count + 1) if free not in slots)
    return next(before, None) or next(behind)
