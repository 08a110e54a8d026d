"""A price relative to its category: 400 is little for a sofa and much for a mug."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.common.product import Product, category_ancestry

FEATURES = 4
# The whole shop, for products whose categories are unknown.
_ALL = ""
# Fewer prices than this say little about a category: the one above it is taken.
_ENOUGH = 8
_LEAST_SPREAD = 0.1
_CLIP = 3.0


@dataclass(frozen=True)
class PriceBook:
    """Median and spread of log prices by currency and category, each as JSON has it: {"USD": {"Shoes": [m, s]}}."""

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
        """Shape [FEATURES]: dearness in its category in spreads, its two sides, and dearness in the whole shop.

        None where the price is unknown, zero, or in a currency that the book does not have.
        """
        if product.price is None or product.price.amount <= 0 or product.price.currency not in self.levels:
            return None
        shop = self.levels[product.price.currency]
        known = [category for category in category_ancestry(product.category_path) if category in shop]
        log = math.log(float(product.price.amount))
        here, anywhere = (_dearness(log, shop[category]) for category in (known[-1] if known else _ALL, _ALL))
        return np.array([here, max(here, 0.0), max(-here, 0.0), anywhere], np.float32)


def _level(logs: Sequence[float]) -> tuple[float, float]:
    """(median, half the range between the 16th and 84th percentile)."""
    low, middle, high = np.percentile(logs, [16, 50, 84])
    return float(middle), max(float(high - low) / 2, _LEAST_SPREAD)


def _dearness(log: float, level: tuple[float, float]) -> float:
    return min(max((log - level[0]) / level[1], -_CLIP), _CLIP)
