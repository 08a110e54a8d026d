"""Which pairs of items one person adds to the counts of BOUGHT and VIEWED, and all that is kept of a person.

A person counts once for a pair, with the newest day: a thousand events of one person are one count. What the person has
added is kept, bounded, so that it can be replaced by a newer day and taken back after a refund.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from services.ranker.domain.item_counts.followed import newest
from services.ranker.domain.item_counts.relations import Change, Pair, Relation, log_mass, pair_of
from services.ranker.domain.repurchase import day_of

# The longest time between two events that make a pair.
WINDOW_S = {Relation.BOUGHT: 86_400.0, Relation.VIEWED: 1_800.0}
# Newest events of a person and a relation that later ones make pairs with.
ACTS = 50
# Items that one event makes pairs with: those nearest in time.
PARTNERS = 10
# New counts of a person, a relation and a day. With COUNTED, a person who fills every day counts once a month for a
# pair, which adds up to less than two persons at a half-life of a month.
DAILY = 100
# Counts of a person and a relation that are kept, those of the newest days.
COUNTED = 3_000
# Undone orders that are remembered, for purchases that arrive after their refund.
UNDONE = 50
# More pieces than any order has.
_ALL = 1 << 40
# A person who has done nothing for so long is not kept: about as long as events are.
PERSON_S = 400 * 86_400.0


class Act(NamedTuple):
    """A purchase of `quantity` pieces, or a click. `time_s` in seconds since the epoch."""

    relation: Relation
    item_id: str
    time_s: float
    order_id: str = ""
    quantity: int = 1


@dataclass
class PersonCounts:
    """What one person has done lately, and has added to the counts. `acts` are in the order of their time."""

    acts: list[Act] = field(default_factory=list)
    counted: dict[Pair, int] = field(default_factory=dict)
    # By order id and item id: the pieces that were given back, the earliest refund first.
    undone: dict[tuple[str, str], int] = field(default_factory=dict)
    # Items of each of the newest days, for domain/item_counts/trending.py.
    active: dict[int, list[str]] = field(default_factory=dict)
    # Of the newest items, for domain/item_counts/followed.py.
    followed: dict[str, float] = field(default_factory=dict)

    def newest_s(self, otherwise: float) -> float:
        """The time of the person's newest event that counts."""
        return max((*(act.time_s for act in self.acts), *self.followed.values()), default=otherwise)

    def may_have_bought_before(self, item_id: str) -> bool:
        """Whether an act before the last one may have been a purchase of the item."""
        bought = [act.item_id for act in self.acts if act.relation is Relation.BOUGHT]
        return len(bought) >= ACTS or bought.count(item_id) > 1

    def add(self, act: Act) -> Iterator[Change]:
        """The act's item, and its pairs with the items of acts within the window."""
        if act.order_id and self._is_undone(act.order_id, act.item_id, act.quantity):
            return
        if act not in self.acts:
            self.acts.append(act)
            self.acts.sort(key=lambda each: (each.time_s, each.item_id))
        newer = {pair: day for pair, day in self._made_by(act) if day > self.counted.get(pair, -1)}
        full = {
            day: sum(pair.relation == act.relation and on == day for pair, on in self.counted.items())
            for day in (set(newer.values()) if len(self.counted) + len(newer) > DAILY else ())
        }
        for pair, day in newer.items():
            if full.get(day, 0) < DAILY:
                full[day] = full.get(day, 0) + 1
                known = self.counted.get(pair)
                self.counted[pair] = day
                yield _change(pair, known, day)
        self._bound()

    def undo(self, item_id: str, order_id: str, quantity: int = 0, refunded_s: float = math.inf) -> Iterator[Change]:
        """Takes back the purchases of the item in this order; without an order id, the latest one before `refunded_s`.

        `quantity` pieces were given back, 0: all. A purchase of which pieces are left stays. One that is no longer
        among the acts stays counted, and fades.
        """
        bought = [act for act in self.acts if act.relation is Relation.BOUGHT and act.item_id == item_id]
        if order_id:
            pieces = self.undone.pop((order_id, item_id), 0)
            self.undone[order_id, item_id] = pieces + (quantity or _ALL)
            if len(self.undone) > UNDONE:
                del self.undone[next(iter(self.undone))]
            gone = [act for act in bought if act.order_id == order_id] if self._is_undone(order_id, item_id, 0) else []
        else:
            before = [act for act in bought if act.time_s <= refunded_s]
            gone = [act for act in before[-1:] if not 0 < quantity < act.quantity]
        # Before the acts go: what they have made.
        made = {(pair, day) for act in gone for pair, day in self._made_by(act, most=ACTS)}
        self.acts = [act for act in self.acts if act not in gone]
        left: dict[Pair, int] = {}
        for act in self.acts:
            if act.relation is Relation.BOUGHT:
                for pair, day in self._made_by(act, most=ACTS):
                    left[pair] = max(day, left.get(pair, day))
        for pair, day in made:
            if self.counted.get(pair) != day or left.get(pair) == day:
                continue
            if (after := left.get(pair)) is None:
                del self.counted[pair]
            else:
                self.counted[pair] = after
            yield _change(pair, day, after)

    def absorb(self, other: PersonCounts) -> Iterator[Change]:
        """The two were one person: what both have counted counts once. The changes are those of BOUGHT and VIEWED."""
        for pair, day in other.counted.items():
            known = self.counted.get(pair)
            self.counted[pair] = day if known is None else max(known, day)
            if known is not None:
                yield _change(pair, min(known, day), None)
        self.undone = dict(list((other.undone | self.undone).items())[-UNDONE:])
        for active, items in other.active.items():
            self.active[active] = list(dict.fromkeys([*self.active.get(active, []), *items]))
        times = other.followed.items()
        joined = self.followed | {id: max(time_s, self.followed.get(id, time_s)) for id, time_s in times}
        self.followed = newest(joined)
        for act in other.acts:
            yield from self.add(act)

    def withdraw(self) -> Iterator[Change]:
        """Takes back all that the person has counted for BOUGHT and VIEWED, as far as it is kept."""
        for pair, day in self.counted.items():
            yield _change(pair, day, None)
        self.counted = {}

    def _is_undone(self, order_id: str, item_id: str, more: int) -> bool:
        """Whether all pieces of the item in the order were given back, `more` pieces counted beside the acts."""
        own = (act.quantity for act in self.acts if (act.order_id, act.item_id) == (order_id, item_id))
        return self.undone.get((order_id, item_id), 0) >= max(sum(own) + more, 1)

    def _made_by(self, act: Act, most: int = PARTNERS) -> Iterator[tuple[Pair, int]]:
        """(pair, day) of the item itself and of its pairs; the day is that of the later act."""
        yield Pair(act.relation, act.item_id, act.item_id), day_of(act.time_s)
        near = [
            other
            for other in self.acts
            if other.relation is act.relation
            and other.item_id != act.item_id
            and abs(other.time_s - act.time_s) <= WINDOW_S[act.relation]
        ]
        near.sort(key=lambda other: (abs(other.time_s - act.time_s), other.item_id))
        partners: dict[str, int] = {}
        for other in near:
            day = day_of(max(other.time_s, act.time_s))
            partners[other.item_id] = max(day, partners.get(other.item_id, day))
        for item_id, day in list(partners.items())[:most]:
            yield pair_of(act.relation, act.item_id, item_id), day

    def _bound(self) -> None:
        for relation in Relation:
            own = [act for act in self.acts if act.relation is relation]
            if len(own) > ACTS:
                old = set(own[:-ACTS])
                self.acts = [act for act in self.acts if act not in old]
            # Looked at only when there may be too many: each event comes here.
            if len(self.counted) > COUNTED:
                counted = [(day, pair.first, pair.second) for pair, day in self.counted.items() if pair[0] is relation]
                for _, *items in sorted(counted)[: max(0, len(counted) - COUNTED)]:
                    del self.counted[Pair(relation, *items)]


def _change(pair: Pair, before: int | None, after: int | None) -> Change:
    """Of a count of one person that moves from one day to another."""
    masses = (None if day is None else log_mass(pair.relation, day) for day in (before, after))
    return Change(pair, *masses)
