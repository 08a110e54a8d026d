"""The effective offer of rows: the rule of offer.proto, for many rows at once.

Price, sale price and stock are each taken from the nearest offer of the chain that has one. A sale price replaces the
price within its dates, if it is in the same currency and not above it. A price of the pricing service replaces the
result

- at the place in the chain where it is offered: a shop's price that is nearer wins;
- while its base price is the shop's effective price, in the chain of its own (price list, place) and in the request's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.offers import OfferSource
from services.retrieval.domain.catalogue.effective import CURRENCY_NUMBERS, EffectiveOffers
from services.retrieval.domain.offers.context import OfferContext, Place, chain_of
from services.retrieval.domain.offers.layer import (
    ALWAYS_US,
    NEVER_US,
    Layer,
    LayerKey,
    RowArray,
    Slots,
    way,
)

FloatColumn = npt.NDArray[np.float64]
CodeColumn = npt.NDArray[np.uint16]
IntColumn = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Shop:
    """What the shop itself asks. `level` [n]: place in the chain that the price is from, or behind it."""

    effective: FloatColumn
    prices: FloatColumn
    currencies: CodeColumn
    level: npt.NDArray[np.int8]


class Resolver:
    """Of some rows, None for all, at one moment in microseconds since 1970. `base`: the products' own."""

    def __init__(
        self, layers: Mapping[LayerKey, Layer], base: EffectiveOffers, rows: RowArray | None, now_us: int
    ) -> None:
        self._layers = layers
        self._base = base
        self._rows = rows
        self._now_us = now_us
        self._found: dict[LayerKey, tuple[RowArray, Slots] | None] = {}

    def resolve(self, context: OfferContext) -> EffectiveOffers:
        chain = context.chain
        shop = self._shop(chain)
        prices, list_prices = shop.effective.copy(), shop.prices
        lowest, guardrails = np.full(len(prices), np.nan), np.zeros(len(prices), np.uint8)
        if not context.list_price_only:
            for places, offers in self._computed(chain, shop):
                prices[places], lowest[places] = offers["price"], offers["lowest"]
                guardrails[places] = offers["guardrail"]
        if context.currency:
            others = shop.currencies != CURRENCY_NUMBERS[context.currency]
            prices = np.where(others, np.nan, prices)
            list_prices = np.where(others, np.nan, list_prices)
            lowest = np.where(others, np.nan, lowest)
        currencies = np.where(np.isnan(prices), np.uint16(0), shop.currencies)
        stocks = self._stocks(chain, 0 if context.fulfilment is None else way(context.fulfilment))
        return EffectiveOffers(prices, list_prices, currencies, stocks, stocks != 0, lowest, guardrails)

    def boundaries(self) -> tuple[int, int]:
        """See the function, of the offers that were read so far."""
        return boundaries((found[1] for found in self._found.values() if found), self._now_us)

    def _shop(self, chain: Sequence[Place]) -> _Shop:
        prices, currencies = self._of_base(self._base.list_prices), self._of_base(self._base.currencies)
        count = len(prices)
        level = np.full(count, len(chain), np.int8)
        sales, sale_currencies = np.full(count, np.nan), np.zeros(count, np.uint16)
        starts, ends = np.full(count, ALWAYS_US), np.full(count, NEVER_US)
        for number, place in reversed(list(enumerate(chain))):
            if (found := self._offers(LayerKey(*place, OfferSource.SHOP))) is None:
                continue
            places, offers = _having(found, ~np.isnan(found[1]["price"]))
            prices[places], currencies[places], level[places] = offers["price"], offers["currency"], number
            places, offers = _having(found, ~np.isnan(found[1]["sale"]))
            sales[places], sale_currencies[places] = offers["sale"], offers["currency"]
            starts[places], ends[places] = offers["starts_us"], offers["ends_us"]
        is_on = (starts <= self._now_us) & (self._now_us < ends) & (sale_currencies == currencies) & (sales <= prices)
        return _Shop(np.where(is_on, sales, prices), prices, currencies, level)

    def _computed(self, chain: Sequence[Place], shop: _Shop) -> Iterator[tuple[RowArray, Slots]]:
        """(places, their offers) of the computed prices that apply. A later one counts."""
        for number, place in reversed(list(enumerate(chain))):
            if (found := self._offers(LayerKey(*place, OfferSource.PRICING))) is None:
                continue
            own_chain = chain_of(*place)
            own = shop if own_chain == chain else self._shop(own_chain)
            places, offers = found
            applies = (
                (offers["starts_us"] <= self._now_us)
                & (self._now_us < offers["ends_us"])
                & (shop.level[places] >= number)
                & (offers["currency"] == shop.currencies[places])
                & (offers["currency"] == own.currencies[places])
                & (offers["base"] == shop.effective[places])
                & (offers["base"] == own.effective[places])
            )
            yield _having(found, applies)

    def _stocks(self, chain: Sequence[Place], wanted: int) -> IntColumn:
        """`wanted`: the bit of a fulfilment, 0 for any."""
        stocks = self._of_base(self._base.stocks)
        for place in reversed(chain):
            if (found := self._offers(LayerKey(*place, OfferSource.SHOP))) is None:
                continue
            places, offers = _having(found, found[1]["stock"] >= 0)
            ways = offers["fulfilments"]
            is_had = (ways == 0) | (ways & wanted != 0) | (wanted == 0)
            stocks[places] = np.where(is_had, offers["stock"], 0)
        return stocks

    def _of_base(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy of the rows of a column of `base`."""
        return column.copy() if self._rows is None else column[self._rows]

    def _offers(self, key: LayerKey) -> tuple[RowArray, Slots] | None:
        """(places of the rows that have an offer of this kind, their offers); None if no row has one."""
        if key not in self._found:
            layer = self._layers.get(key)
            self._found[key] = layer.found(self._rows, len(self._base)) if layer else None
        return self._found[key]


def boundaries(groups: Iterable[Slots], now_us: int) -> tuple[int, int]:
    """(the last time, up to now, at which one of the offers began or ended to apply; the next one). Microseconds."""
    times = [offers[name] for offers in groups for name in ("starts_us", "ends_us")]
    if not times:
        return ALWAYS_US, NEVER_US
    joined = np.concatenate(times)
    is_over = joined <= now_us
    return int(joined[is_over].max(initial=ALWAYS_US)), int(joined[~is_over].min(initial=NEVER_US))


def _having(found: tuple[RowArray, Slots], wanted: npt.NDArray[np.bool_]) -> tuple[RowArray, Slots]:
    places, offers = found
    return (places, offers) if wanted.all() else (places[wanted], offers[wanted])
