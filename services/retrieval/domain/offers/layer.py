"""The offers of one price list, place and source, as columns."""

from __future__ import annotations

from collections.abc import KeysView
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from services.common.money import Money, in_minor_units
from services.common.offers import Fulfilment, Offer, OfferSource
from services.retrieval.domain.catalogue.effective import CURRENCIES, CURRENCY_NUMBERS

RowArray = npt.NDArray[np.int64]
Slots = npt.NDArray[Any]

# One offer. Amounts are in units of the currency: a float64 holds every amount that an offer may have to half a minor
# unit, so that rounding gives the decimal back. NaN: none. Sale times in microseconds since 1970.
_SLOT = np.dtype(
    [
        ("updated_at_ns", np.int64),
        ("price", np.float64),
        ("sale", np.float64),
        ("base", np.float64),
        ("lowest", np.float64),
        ("starts_us", np.int64),
        ("ends_us", np.int64),
        ("stock", np.int64),
        ("row", np.int32),
        ("currency", np.uint16),
        # Bit 1 << Fulfilment for each way; 0: every way.
        ("fulfilments", np.uint8),
        ("is_removed", np.bool_),
        ("guardrail", np.uint8),
    ],
    align=True,
)
_NO_STOCK = -1
ALWAYS_US, NEVER_US = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_CAPACITY = 16
_NONE = float("nan")


class LayerKey(NamedTuple):
    """Empty texts: the default list, any place."""

    price_list_id: str
    place_id: str
    source: OfferSource


class Outline(NamedTuple):
    """What decides whether an offer is replaced, and what it counts for."""

    updated_at_ns: int
    currency: str
    is_removed: bool


class Layer:
    """At most one offer for each row of the catalogue."""

    def __init__(self, key: LayerKey) -> None:
        self.key = key
        self._slots: Slots = np.empty(_FIRST_CAPACITY, _SLOT)
        self._slot_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def used(self) -> Slots:
        """All offers, each in a slot with the fields of `_SLOT`. A view: the next change may write it."""
        return self._slots[: len(self._slot_of)]

    def rows(self) -> KeysView[int]:
        """The rows that have an offer. A view."""
        return self._slot_of.keys()

    def put(self, row: int, offer: Offer) -> None:
        """Replaces the offer of the row."""
        slot = self._slot_of.get(row)
        if slot is None:
            slot = len(self._slot_of)
            if slot == len(self._slots):
                self._slots = np.resize(self._slots, slot + slot // 2)
            self._slot_of[row] = slot
        self._slots[slot] = _packed(row, offer)

    def get(self, row: int) -> Offer | None:
        slot = self._slot_of.get(row)
        return None if slot is None else _unpacked(self.key, self._slots[slot])

    def outline(self, row: int) -> Outline | None:
        """Of the row's offer; quicker than `get`."""
        slot = self._slot_of.get(row)
        if slot is None:
            return None
        values = self._slots[slot].item()
        return Outline(values[0], CURRENCIES[values[9]], values[11])

    def pop(self, row: int) -> None:
        slot = self._slot_of.pop(row, None)
        last = len(self._slot_of)
        if slot is not None and slot != last:
            self._slots[slot] = self._slots[last]
            self._slot_of[int(self._slots[slot]["row"])] = slot

    def move(self, old: int, new: int) -> None:
        """The offer of the row `old`, if there is one, is that of `new`, which has none."""
        slot = self._slot_of.pop(old, None)
        if slot is not None:
            self._slots[slot]["row"] = new
            self._slot_of[new] = slot

    def remap(self, new_rows: npt.NDArray[np.integer]) -> None:
        """Row i is now new_rows[i]; negative: it is gone."""
        used = self.used
        rows = new_rows[used["row"]]
        self._slots = np.concatenate([used[rows >= 0], np.empty(_FIRST_CAPACITY, _SLOT)])
        rows = rows[rows >= 0]
        self._slots["row"][: len(rows)] = rows
        self._slot_of = {row: slot for slot, row in enumerate(rows.tolist())}

    def found(self, rows: RowArray | None, count: int) -> tuple[RowArray, Slots]:
        """(places in `rows` of those that have an offer, their offers). `rows` None: all rows below `count`."""
        if rows is None:
            used = self.used
            places = used["row"].astype(np.int64)
            below = places < count
            return (places, used) if below.all() else (places[below], used[below])
        slots = np.fromiter((self._slot_of.get(row, -1) for row in rows.tolist()), np.int64, len(rows))
        places = np.flatnonzero(slots >= 0)
        return places, self._slots[slots[places]]


def way(fulfilment: Fulfilment) -> int:
    """Its bit in the field `fulfilments` of a slot."""
    return 1 << fulfilment


def microseconds(moment: datetime) -> int:
    """Since 1970, from a time with a zone."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(us: int) -> datetime:
    return _EPOCH + us * _MICROSECOND


def precedence(offer: Offer) -> tuple[Any, ...]:
    """Of two offers for one row and layer the greater one counts: the later one, and at the same time any fixed one."""
    return tuple(-1 if value != value else value for value in _packed(0, offer))


def _packed(row: int, offer: Offer) -> tuple[Any, ...]:
    if offer.is_removed:
        return offer.updated_at_ns, _NONE, _NONE, _NONE, _NONE, ALWAYS_US, NEVER_US, _NO_STOCK, row, 0, 0, True, 0
    starts, ends = offer.sale_starts_at, offer.sale_ends_at
    return (
        offer.updated_at_ns,
        _amount(offer.price),
        _amount(offer.sale_price),
        _amount(offer.base_price),
        _amount(offer.lowest_30_days),
        ALWAYS_US if starts is None else microseconds(starts),
        NEVER_US if ends is None else microseconds(ends),
        _NO_STOCK if offer.stock is None else offer.stock,
        row,
        CURRENCY_NUMBERS[offer.currency],
        sum(map(way, offer.fulfilments)),
        False,
        offer.guardrail,
    )


def _amount(money: Money | None) -> float:
    return _NONE if money is None else float(money.amount)


def _unpacked(key: LayerKey, slot: Any) -> Offer:
    updated_at_ns, price, sale, base, lowest, starts, ends, stock, _, code, fulfilments, is_removed, guardrail = (
        slot.item()
    )
    currency = CURRENCIES[code]
    return Offer(
        updated_at_ns=updated_at_ns,
        price_list_id=key.price_list_id,
        place_id=key.place_id,
        source=key.source,
        price=_money(price, currency),
        sale_price=_money(sale, currency),
        sale_starts_at=None if starts == ALWAYS_US else moment_of(starts),
        sale_ends_at=None if ends == NEVER_US else moment_of(ends),
        stock=None if stock == _NO_STOCK else stock,
        fulfilments=frozenset(entry for entry in Fulfilment if fulfilments & way(entry)),
        is_removed=is_removed,
        # Not of whole minor units where the product's price is not.
        base_price=None if base != base else Money(currency, Decimal(repr(base))),
        lowest_30_days=_money(lowest, currency),
        guardrail=guardrail,
    )


def _money(amount: float, currency: str) -> Money | None:
    return None if amount != amount else Money(currency, in_minor_units(Decimal(amount), currency))
