"""All offers of one collection in memory, by row of its catalogue."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from services.common.errors import FieldViolation, InvalidArgument
from services.common.offers import Offer, OfferSource
from services.retrieval.domain.catalogue.effective import EffectiveOffers
from services.retrieval.domain.offers.context import OfferContext
from services.retrieval.domain.offers.layer import Layer, LayerKey, Outline, precedence
from services.retrieval.domain.offers.views import Views

MAX_PRICE_LISTS = 20
MAX_PLACES = 2_000
MAX_COMPETITORS = 20
# How long a removed offer, or a computed price that has ended, is kept: an older offer that arrives later is stale.
TOMBSTONE_S = 7 * 86_400
# How long a competitor's price is kept that nobody has observed again.
OBSERVED_S = 60 * 86_400
_US, _NS = 10**6, 10**9
_LIST, _PLACE, _CURRENCY, _COMPETITOR = "price_list_id", "place_id", "price.currency_code", "competitor"
_LIMITS = {_LIST: MAX_PRICE_LISTS, _PLACE: MAX_PLACES, _CURRENCY: 1, _COMPETITOR: MAX_COMPETITORS}
_KINDS = {_LIST: "price lists", _PLACE: "places", _COMPETITOR: "competitors"}
# What is counted: (a key of _LIMITS, the price list of a currency or empty).
Group = tuple[str, str]


class OfferBook:
    """Rows are numbers below 2^31, which the catalogue gives: a product that is written again may move to another.

    Thread-safe. Updates in any order lead to the same state.
    """

    def __init__(self) -> None:
        self._layers: dict[LayerKey, Layer] = {}
        self._views = Views(self._layers)
        # By group and value: the number of offers that are not removed.
        self._counts: defaultdict[Group, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()
        self._revision = 0

    @property
    def revision(self) -> int:
        """A number that grows with each change."""
        return self._revision

    def __len__(self) -> int:
        """Offers, removed ones too."""
        return sum(map(len, self._layers.values()))

    @property
    def price_lists(self) -> frozenset[str]:
        """Those that have offers, without the default list."""
        with self._lock:
            return frozenset(+self._counts[_LIST, ""])

    @property
    def places(self) -> frozenset[str]:
        """Those that have offers."""
        with self._lock:
            return frozenset(+self._counts[_PLACE, ""])

    def newer(self, offers: Mapping[int, tuple[int, Offer]]) -> list[int]:
        """Which of these (row, offer) would be stored if all of them were; the others are stale.

        Each has the number of its place in a batch, which is returned. Raises InvalidArgument, with paths such as
        offers[3].place_id, if the book would then have more price lists, places or currencies than it may.
        """
        with self._lock:
            best: dict[tuple[int, LayerKey], int] = {}
            for place, (row, offer) in offers.items():
                key = _key(offer)
                rival = best.get((row, key))
                if self._is_newer(row, key, offer) if rival is None else _precedes(offers[rival][1], offer):
                    best[row, key] = place
            places = sorted(best.values())
            self._check({place: offers[place] for place in places})
            return places

    def update(self, row: int, offer: Offer) -> bool:
        """False if the offer is stale: nothing was changed. Does not check the bounds, see `newer`."""
        key = _key(offer)
        with self._lock:
            if not self._is_newer(row, key, offer):
                return False
            layer = self._layers.setdefault(key, Layer(key))
            self._count(key, layer.outline(row), -1)
            layer.put(row, offer)
            self._revision += 1
            self._count(key, _outline(offer), 1)
            self._views.has_changed(key[:2], row)
            return True

    def offers_of(self, row: int) -> list[Offer]:
        """Removed ones too."""
        with self._lock:
            return [offer for layer in self._layers.values() if (offer := layer.get(row)) is not None]

    def move(self, rows: Mapping[int, int]) -> None:
        """Old row → new row, of products that were written again. The new rows have no offers."""
        with self._lock:
            for key, layer in self._layers.items():
                for old in rows.keys() & layer.rows():
                    layer.move(old, rows[old])
                    self._views.has_changed(key[:2], old)
                    self._views.has_changed(key[:2], rows[old])

    def drop(self, rows: Iterable[int]) -> None:
        """All offers of these rows."""
        gone = frozenset(rows)
        with self._lock:
            for layer in list(self._layers.values()):
                for row in gone & layer.rows():
                    self._drop(layer, row)

    def remap(self, new_rows: npt.NDArray[np.integer]) -> None:
        """Row i is now new_rows[i]; a negative one is gone, and its offers with it."""
        with self._lock:
            for layer in self._layers.values():
                for row in [row for row in layer.rows() if new_rows[row] < 0]:
                    self._drop(layer, row)
                layer.remap(new_rows)
            self._views.clear()

    def view(self, context: OfferContext, now_s: float, base: EffectiveOffers) -> EffectiveOffers:
        """The effective offer of every row of `base`, the products' own prices and stocks, at `now_s` since 1970.

        A row's element of `base` must not change between two calls; rows may be added at the end. Raises
        InvalidArgument for a price list or place that has no offers.
        """
        with self._lock:
            for path, value in ((_LIST, context.price_list_id), (_PLACE, context.place_id)):
                if value and not self._counts[path, ""][value]:
                    raise InvalidArgument.of(
                        f"offer_context.{path}",
                        f"{value!r} has no offers; send them with UpdateOffers, or leave it out",
                    )
            return self._views.get(context, int(now_s * _US), base)

    def _is_newer(self, row: int, key: LayerKey, offer: Offer) -> bool:
        layer = self._layers.get(key)
        stored = None if layer is None else layer.outline(row)
        if layer is None or stored is None or stored.updated_at_ns < offer.updated_at_ns:
            return True
        same = layer.get(row) if stored.updated_at_ns == offer.updated_at_ns else None
        return same is not None and _precedes(same, offer)

    def _drop(self, layer: Layer, row: int) -> None:
        self._count(layer.key, layer.outline(row), -1)
        layer.pop(row)
        self._views.has_changed(layer.key[:2], row)

    def _count(self, key: LayerKey, outline: Outline | None, number: int) -> None:
        for group, value in _counted(key, outline):
            self._counts[group][value] += number

    def _check(self, offers: Mapping[int, tuple[int, Offer]]) -> None:
        """`offers` are newer than those stored. Of new values only the first ones that fit are allowed."""
        changes: defaultdict[Group, Counter[str]] = defaultdict(Counter)
        for row, offer in offers.values():
            key = _key(offer)
            layer = self._layers.get(key)
            for group, value in _counted(key, None if layer is None else layer.outline(row)):
                changes[group][value] -= 1
            for group, value in _counted(key, _outline(offer)):
                changes[group][value] += 1
        excess = set[tuple[Group, str]]()
        for group, changed in changes.items():
            before = self._counts[group]
            new = [value for value, number in changed.items() if number > 0 and not before[value]]
            if new:
                kept = sum(number + changed[value] > 0 for value, number in before.items() if number)
                excess.update((group, value) for value in new[max(0, _LIMITS[group[0]] - kept) :])
        if excess:
            raise InvalidArgument(
                *(
                    FieldViolation(
                        f"offers[{place}].{_PLACE if group[0] == _COMPETITOR else group[0]}", _problem(group, value)
                    )
                    for place, (_, offer) in offers.items()
                    for group, value in _counted(_key(offer), _outline(offer))
                    if (group, value) in excess
                )
            )


def is_past(offer: Offer, now_s: float) -> bool:
    """Whether it may be forgotten: it was removed, or as a computed price it ended, more than TOMBSTONE_S ago; or a
    competitor's price was observed more than OBSERVED_S ago.
    """
    if offer.is_removed:
        return offer.updated_at_ns < (now_s - TOMBSTONE_S) * _NS
    if offer.source is OfferSource.COMPETITOR:
        return offer.updated_at_ns < (now_s - OBSERVED_S) * _NS
    ends = offer.sale_ends_at
    return offer.source is OfferSource.PRICING and ends is not None and ends.timestamp() < now_s - TOMBSTONE_S


def _key(offer: Offer) -> LayerKey:
    return LayerKey(offer.price_list_id, offer.place_id, offer.source)


def _outline(offer: Offer) -> Outline:
    return Outline(offer.updated_at_ns, offer.currency, offer.is_removed)


def _precedes(one: Offer, other: Offer) -> bool:
    """Whether `other` replaces `one`."""
    if one.updated_at_ns != other.updated_at_ns:
        return one.updated_at_ns < other.updated_at_ns
    return precedence(one) < precedence(other)


def _counted(key: LayerKey, outline: Outline | None) -> Iterator[tuple[Group, str]]:
    """What an offer counts for."""
    if outline is None or outline.is_removed:
        return
    if key.source is OfferSource.COMPETITOR:
        yield (_COMPETITOR, ""), key.place_id
        return
    if key.price_list_id:
        yield (_LIST, ""), key.price_list_id
        # Computed prices follow the shop's: they must not keep a price list from changing its currency.
        if outline.currency and key.source is OfferSource.SHOP:
            yield (_CURRENCY, key.price_list_id), outline.currency
    if key.place_id:
        yield (_PLACE, ""), key.place_id


def _problem(group: Group, value: str) -> str:
    name, price_list = group
    if name == _CURRENCY:
        return (
            f"is {value}, but price list {price_list!r} has prices in another currency; a list has one: remove those "
            "offers first, or use another list"
        )
    kind = _KINDS[name]
    return f"{value!r} is new, and {_LIMITS[name]:,} {kind} have offers; remove all offers of another one first"
