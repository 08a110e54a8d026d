"""A simulated shop with the demand of the juices: 400 products of 11 categories and 40 brands. A period is a day."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from scipy.stats import poisson

from benchmarks.pricing_data import JUICES, Floats, Ints, Sales, Shelf
from services.common.money import Money
from services.pricing.domain.demand.model import DemandModel, DemandOptions, Likelihood
from services.pricing.domain.demand.observations import DemandUnit
from services.pricing.domain.pricing import PricedItem

CURRENCY = "USD"
DAY_S = 86_400.0
# Of the first day, in seconds since the epoch.
_FIRST_S = 1_000 * DAY_S
_DAYS_A_WEEK, _DAYS_A_YEAR = 7, 365
_BRANDS = 40
# With an elasticity nearer to -1 the best price would have no bound.
_WEAKEST = -1.2
# Of log demand over the year.
_SEASON = 0.1


@dataclass(frozen=True)
class Calibration:
    """What the data say. By juice [11]: mean elasticity, log pieces a week, and noise (standard deviation of log demand
    in a week). `brand`, `own`: standard deviations of elasticities by store, and of a juice in a store; `pieces`: of
    log pieces. `shock`: of a juice in a week, with its `persistence`. `margin`, `margin_spread`: shares of the price.
    """

    elasticity: Floats
    brand: float
    own: float
    log_pieces: Floats
    pieces: float
    noise: Floats
    shock: float
    persistence: float
    margin: float
    margin_spread: float

    @classmethod
    def of(cls, sales: Sales) -> Calibration:
        """Elasticities are those of a log-log regression, pooled: what a price brings with all that comes with it, as
        the figure of -3.14. Noise and shocks are split by a second fit.
        """
        shelf = Shelf.of(sales, sales)
        rows = shelf.observations(sales)
        levels = DemandModel(shelf.units, DemandOptions((), Likelihood.LOG_NORMAL, has_shocks=False))
        levels.fit(rows)
        noises = DemandModel(shelf.units, DemandOptions((), Likelihood.LOG_NORMAL))
        noises.fit(rows)
        units = np.arange(len(shelf.units))
        mean, _ = levels.posterior(units)
        names = np.array([unit.category for unit in shelf.units])
        by_juice = [units[names == f"juice {juice}"] for juice in range(JUICES)]
        spreads, shocks = levels.spreads(), noises.spreads()
        margins = np.array([sales.margin[sales.juice == juice].mean() for juice in range(JUICES)])
        return cls(
            np.array([mean[rows, 1].mean() for rows in by_juice]), float(spreads.brand[1]), float(spreads.product[1]),
            np.array([mean[rows, 0].mean() for rows in by_juice]),
            float(np.hypot(spreads.brand[0], spreads.product[0])),
            np.array([np.sqrt(noises.noise(rows).mean()) for rows in by_juice]),
            shocks.shock, shocks.persistence, float(margins.mean()), float(margins.std()),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Calibration:
        arrays = {name: np.array(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**fields | arrays)


class Shop:
    """The truth of one simulated shop, drawn with a seed. Arrays have the shape [products] or [days, products].

    `has_best_lists`: list prices are the best ones for the mean elasticity of the category, so that only differences
    between products are left to learn; otherwise the margin is that of the data.
    """

    def __init__(self, truth: Calibration, seed: int, days: int, products: int, has_best_lists: bool) -> None:
        random = np.random.default_rng(seed)
        self.days, self.products = days, products
        self.category = np.arange(products) % JUICES
        brand = random.integers(0, _BRANDS, products)
        by_brand = random.normal(0, truth.brand, _BRANDS)
        elasticity = truth.elasticity[self.category] + by_brand[brand] + random.normal(0, truth.own, products)
        self.elasticity = np.minimum(elasticity, _WEAKEST)
        base = truth.log_pieces[self.category] - np.log(_DAYS_A_WEEK) + random.normal(0, truth.pieces, products)
        self.list_price = np.round(random.uniform(2, 20, products)) + 0.99
        margin = np.clip(random.normal(truth.margin, truth.margin_spread, products), 0.05, 0.6)
        if has_best_lists:
            typical = np.minimum(truth.elasticity, _WEAKEST)[self.category]
            margin = np.clip(-1 / typical + margin - truth.margin, 0.05, 0.9)
        self.cost = np.round(self.list_price * (1 - margin), 2)
        # The persistence of a day, so that the seventh day has that of a week.
        daily = max(truth.persistence, 0.01) ** (1 / _DAYS_A_WEEK)
        shocks = np.zeros((days, JUICES))
        shocks[0] = random.normal(0, truth.shock, JUICES)
        for day in range(1, days):
            shocks[day] = daily * shocks[day - 1] + random.normal(0, truth.shock * np.sqrt(1 - daily**2), JUICES)
        phase = random.uniform(0, 1, JUICES)
        self.season = (np.arange(days) % _DAYS_A_YEAR) / _DAYS_A_YEAR
        yearly = _SEASON * np.sin(2 * np.pi * (self.season[:, None] + phase))
        noise_sd = truth.noise[self.category]
        noise = random.normal(0, 1, (days, products)) * noise_sd - noise_sd**2 / 2
        self._log_base = base + (shocks + yearly)[:, self.category] + noise
        self._chance = random.uniform(0, 1, (days, products))
        self.units = [
            DemandUnit(f"p{number}", "", f"category {self.category[number]}", f"brand {brand[number]}", float(price))
            for number, price in enumerate(self.list_price)
        ]
        # Enough for ten days or more, so that stock bounds no day; one in seven is aged on the first day.
        stock = np.ceil(np.exp(base) * random.uniform(10, 60, products)).astype(int)
        age_days = random.uniform(0, 630, products)
        self.items = [
            PricedItem(
                unit.product_id, _money(self.list_price[number]), cost=_money(self.cost[number]),
                stock=int(stock[number]), created_s=float(_FIRST_S - age_days[number] * DAY_S),
            )
            for number, unit in enumerate(self.units)
        ]  # fmt: skip

    def expected(self, day: int, prices: Floats) -> Floats:
        """Pieces at `prices` [products] or [products, m], with the shocks of the day, before the chance of counts."""
        flat = prices.reshape(self.products, -1)
        relative = np.log(flat / self.list_price[:, None])
        made = np.exp(self._log_base[day][:, None] + self.elasticity[:, None] * relative)
        return np.asarray(made.reshape(prices.shape))

    def margin(self, day: int, prices: Floats) -> Floats:
        """Expected margin of each product; shapes as in `expected`."""
        cost = self.cost if prices.ndim == 1 else self.cost[:, None]
        return (prices - cost) * self.expected(day, prices)

    def now_s(self, day: int) -> float:
        """The start of the day, in seconds since the epoch."""
        return _FIRST_S + day * DAY_S

    def sold(self, day: int, prices: Floats) -> Ints:
        """Pieces that are sold: the same chance for every policy."""
        return np.asarray(poisson.ppf(self._chance[day], self.expected(day, prices)), dtype=np.int64)


def _money(amount: float) -> Money:
    return Money(CURRENCY, Decimal(f"{amount:.2f}"))
