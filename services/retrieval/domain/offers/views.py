"""Effective offers of the contexts that searches use, kept up to date with the offers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from services.common.offers import OfferSource
from services.retrieval.domain.catalogue.effective import EffectiveOffers
from services.retrieval.domain.offers.context import OfferContext, Place
from services.retrieval.domain.offers.layer import (
    Layer,
    LayerKey,
    RowArray,
)
from services.retrieval.domain.offers.resolution import Resolver, boundaries

# Contexts that are kept, and the bytes of their columns together.
MAX_VIEWS = 32
MAX_BYTES = 256 << 20
_ROW_BYTES = 36
# Rows that are resolved one by one; if more have changed, resolving all of them takes less time.
_MOST_CHANGED = 2_000


@dataclass
class _View:
    """`changed`: rows to resolve again; None: all of them."""

    columns: EffectiveOffers
    # In microseconds since 1970: no offer begins or ends to apply between the two.
    valid_from_us: int
    valid_until_us: int
    changed: set[int] | None = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.columns.prices)


class Views:
    """The least recently used view goes first. Not thread-safe: OfferBook locks."""

    def __init__(self, layers: Mapping[LayerKey, Layer]) -> None:
        self._layers = layers
        self._views: OrderedDict[OfferContext, _View] = OrderedDict()
        self._watching: dict[Place, list[_View]] = {}

    def has_changed(self, place: Place, row: int) -> None:
        """An offer of this (price list, place) and row was written, moved or dropped."""
        for view in self._watching.get(place, ()):
            if view.changed is not None:
                view.changed.add(row)
                if len(view.changed) > _MOST_CHANGED:
                    view.changed = None

    def clear(self) -> None:
        self._views.clear()
        self._watching.clear()

    def get(self, context: OfferContext, now_us: int, base: EffectiveOffers) -> EffectiveOffers:
        view = self._views.get(context)
        if view is None:
            view = self._views[context] = self._built(context, now_us, base)
            self._evict(len(base))
        else:
            self._views.move_to_end(context)
            self._refresh(view, context, now_us, base)
        return view.columns

    def _built(self, context: OfferContext, now_us: int, base: EffectiveOffers) -> _View:
        resolver = Resolver(self._layers, base, None, now_us)
        return _View(resolver.resolve(context), *resolver.boundaries())

    def _refresh(self, view: _View, context: OfferContext, now_us: int, base: EffectiveOffers) -> None:
        rows = self._outdated(view, context, now_us, len(base))
        if rows is None:
            new = self._built(context, now_us, base)
            view.columns, view.valid_from_us, view.valid_until_us = new.columns, new.valid_from_us, new.valid_until_us
        else:
            resolver = Resolver(self._layers, base, rows, now_us)
            if len(rows):
                view.columns = _patched(view.columns, rows, resolver.resolve(context), len(base))
            if now_us < view.valid_until_us:
                last, following = resolver.boundaries()
                view.valid_from_us = max(view.valid_from_us, last)
                view.valid_until_us = min(view.valid_until_us, following)
            else:
                used = (layer.used for layer in self._of(context))
                view.valid_from_us, view.valid_until_us = boundaries(used, now_us)
        view.changed = set()

    def _outdated(self, view: _View, context: OfferContext, now_us: int, count: int) -> RowArray | None:
        """Rows to resolve again; None for all."""
        added = count - len(view)
        if view.changed is None or now_us < view.valid_from_us or not 0 <= added <= _MOST_CHANGED:
            return None
        rows = view.changed.union(range(len(view), count))
        if now_us >= view.valid_until_us:
            for layer in self._of(context):
                for name in ("starts_us", "ends_us"):
                    times = layer.used[name]
                    passed = (times > view.valid_from_us) & (times <= now_us)
                    rows.update(layer.used["row"][passed].tolist())
        if len(rows) > _MOST_CHANGED:
            return None
        # A row beyond the columns is that of a product which is being written.
        return np.array([row for row in rows if row < count], np.int64)

    def _of(self, context: OfferContext) -> Iterator[Layer]:
        for place in context.chain:
            for source in OfferSource:
                if layer := self._layers.get(LayerKey(*place, source)):
                    yield layer

    def _evict(self, count: int) -> None:
        size = max(1, _ROW_BYTES * count)
        while len(self._views) > max(1, min(MAX_VIEWS, MAX_BYTES // size)):
            self._views.popitem(last=False)
        self._watching = {}
        for context, view in self._views.items():
            for place in context.chain:
                self._watching.setdefault(place, []).append(view)


def _patched(columns: EffectiveOffers, rows: RowArray, resolved: EffectiveOffers, count: int) -> EffectiveOffers:
    """Copies of the columns that change: a search that began before goes on with those it has."""
    patched = {}
    for column in fields(EffectiveOffers):
        old, changed = getattr(columns, column.name), getattr(resolved, column.name)
        if len(old) == count and np.array_equal(old[rows], changed, equal_nan=True):
            patched[column.name] = old
            continue
        new = patched[column.name] = np.empty(count, old.dtype)
        new[: len(old)] = old
        new[rows] = changed
    return EffectiveOffers(**patched)
