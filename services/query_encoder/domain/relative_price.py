"""The price of a product relative to its category: 400 is low for a sofa and high for a mug."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.common.product import Product, category_ancestry

FEATURES = 4
# The key of the whole shop, for products whose categories are unknown.
_ALL = ""
# A category with fewer prices is not used; the category above it is.
_ENOUGH = 8
_LEAST_SPREAD = 0.1
_CLIP = 3.0


@dataclass(frozen=True)
class PriceBook:
    """(median, spread) of log prices by currency and category, in the form of the JSON {"USD": {"Shoes": [m, s]}}."""

    levels: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, products: Iterable[Product]) -> PriceBook:
        prices: dict[str, dict[str, list[float]]] = {}
        for product in products:
            if product.price is None or product.price.amount <= 0:
                continue
            shop = prices.setdefault(product.price.currency, {})
            for category in (_ALL, *category_ancestry(product.category_path)):
                shop.setdefault(category, []).append(math.log(float(product.price.amount)))
        return cls(
            {
                currency: {
                    category: _level(logs) for category, logs in shop.items() if len(logs) >= _ENOUGH or not category
                }
                for currency, shop in prices.items()
            }
        )

    def features(self, product: Product) -> npt.NDArray[np.float32] | None:
        """Shape [FEATURES], in units of the spread: how far the log price is above the median of the category, the same
        if it is above (else 0), the same with opposite sign if it is below (else 0), and how far it is above the median
        of the whole shop.

        None if the price is unknown or zero, or if there are no prices in its currency.
        """
        if product.price is None or product.price.amount <= 0 or product.price.currency not in self.levels:
            return None
        shop = self.levels[product.price.currency]
        known = [category for category in category_ancestry(product.category_path) if category in shop]
        log = math.log(float(product.price.amount))
        here, anywhere = (_above_median(log, shop[category]) for category in (known[-1] if known else _ALL, _ALL))
        return np.array([here, max(here, 0.0), max(-here, 0.0), anywhere], np.float32)


def _level(logs: Sequence[float]) -> tuple[float, float]:
    """(median, half the range between the 16th and 84th percentile)."""
    low, middle, high = np.percentile(logs, [16, 50, 84])
    return float(middle), max(float(high - low) / 2, _LEAST_SPREAD)


def _above_median(log: float, level: tuple[float, float]) -> float:
    return min(max((log - level[0]) / level[1], -_CLIP), _CLIP)
