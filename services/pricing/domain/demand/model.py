"""The demand model: log demand is linear in the log price and in season, promotion and trend, product by product.

    log E[pieces] = log(exposure · in_stock) + x · coefficients + shock of (category, period)

What sales say of a unit is kept as a Gaussian in natural parameters, so that new periods cost O(changed units). Pieces
are negative binomial: each row is linearised at the posterior mode (Laplace). Coefficients are pooled over category and
brand, see `pooling`. The shock of a category and period is estimated from the other products of the category and
removed; what remains unknown of it is added to the noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.design import GAP, Design, log_competitor
from services.pricing.domain.demand.forecast import Forecast
from services.pricing.domain.demand.observations import MIN_IN_STOCK, DemandUnit, Floats, Ints, Observations
from services.pricing.domain.demand.pooling import Evidence, Pooling
from services.pricing.domain.demand.shocks import Shocks

# Units of one model: with seven coefficients about 0.5 GB.
MAX_UNITS = 1_000_000
# Of the format of `arrays`.
_VERSION = 1
_COLUMNS = ("product_id", "price_list_id", "category", "brand", "reference_price")
# Of the log of demand at the reference price, for a forecast to say something.
_MAX_BASE_VARIANCE = 9.0
# Passes over new rows, until their linearisation agrees with the posterior.
_PASSES = 3
# Start of the variance of log demand, its weight in periods, and its least value.
_NOISE, _NOISE_PERIODS, _LEAST_NOISE = 0.1, 20.0, 1e-3
# The largest step of a linearisation, in multiples of the expected pieces.
_MAX_STEP = 5.0


class Likelihood(Enum):
    """COUNTS: negative binomial; a period may have no sale. LOG_NORMAL: least squares in logs, for large numbers of
    pieces; periods without a sale are left out.
    """

    COUNTS = "counts"
    LOG_NORMAL = "log_normal"


@dataclass(frozen=True)
class Spreads:
    """Standard deviations. `category`, `brand`, `product`: of each coefficient [k] among the groups, and of a product
    around its groups. `shock`: of a category and period, with the correlation `persistence` to the next period.
    """

    category: Floats
    brand: Floats
    product: Floats
    shock: float
    persistence: float


@dataclass(frozen=True)
class DemandOptions:
    """`coefficients`: beside base and price. `is_pooled`: False learns each unit alone, from the same wide start.
    `has_shocks`: whether the products of a category share a shock in each period. `elasticity`: mean and standard
    deviation of the shop's mean elasticity before any sale is seen, for example from an estimate free of confounding.
    `half_life_periods`: after so many calls of `observe` with a unit its sales count half; None: always in full.
    """

    coefficients: tuple[str, ...] = ()
    likelihood: Likelihood = Likelihood.COUNTS
    is_pooled: bool = True
    has_shocks: bool = True
    elasticity: tuple[float, float] | None = None
    half_life_periods: float | None = None

    def __post_init__(self) -> None:
        if self.half_life_periods is not None and not 0 < self.half_life_periods < float("inf"):
            raise InvalidArgument.of("half_life_periods", f"is {self.half_life_periods}; give a positive number")


class DemandModel:
    """Not safe for use by several threads. `Observations.unit` is the position in `units`."""

    def __init__(self, units: Iterable[DemandUnit] = (), options: DemandOptions | None = None) -> None:
        self.options = options or DemandOptions()
        self.design = Design(self.options.coefficients, self.options.elasticity)
        self.units: list[DemandUnit] = []
        self.index_of: dict[tuple[str, str], int] = {}
        k = len(self.design.names)
        self._categories: dict[str, int] = {}
        self._brands: dict[str, int] = {}
        self._category, self._brand = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._reference = np.zeros(0)
        self._evidence = Evidence(np.zeros((0, k, k)), np.zeros((0, k)))
        # By unit: squared residuals beyond what is explained, and their weights.
        self._noise_sum, self._noise_count = np.zeros(0), np.zeros(0)
        self._noise_mean = _NOISE
        mean, mean_variance, spread = self.design.mean, self.design.mean_variance, self.design.spread
        if self.options.is_pooled:
            self._pooling = Pooling.unknown(mean, mean_variance, spread, 2)
        else:
            self._pooling = Pooling.none(mean, mean_variance + spread)
        self._shocks = Shocks()
        self.add(units)

    def add(self, units: Iterable[DemandUnit]) -> None:
        """Adds products; what is known of their category and brand applies at once. Refuses a key that is there."""
        made = list(units)
        if len(self.units) + len(made) > MAX_UNITS:
            raise InvalidArgument.of("units", f"would be more than {MAX_UNITS:,}; make a model for each price list")
        for unit in made:
            if unit.key in self.index_of:
                raise InvalidArgument.of("units", f"has {unit.key} twice; give each product and price list once")
            self.index_of[unit.key] = len(self.units)
            self.units.append(unit)
        self._category = np.append(self._category, _codes(self._categories, [unit.category for unit in made]))
        self._brand = np.append(self._brand, _codes(self._brands, [unit.brand for unit in made]))
        for effects, levels in zip(self._pooling.groups, (self._categories, self._brands), strict=False):
            effects.extend(len(levels))
        self._shocks.add(len(self._categories))
        self._reference = np.append(self._reference, [unit.reference_price for unit in made])
        k, count = len(self.design.names), len(made)
        self._evidence = Evidence(
            np.concatenate([self._evidence.precision, np.zeros((count, k, k))]),
            np.concatenate([self._evidence.shift, np.zeros((count, k))]),
        )
        self._noise_sum = np.append(self._noise_sum, np.zeros(count))
        self._noise_count = np.append(self._noise_count, np.zeros(count))

    def posterior(self, units: Ints) -> tuple[Floats, Floats]:
        """Mean [n, k] and covariance [n, k, k] of the coefficients of the units at these positions."""
        return self._posterior(units, Evidence(self._evidence.precision[units], self._evidence.shift[units]))

    def is_known(self, units: Ints) -> NDArray[np.bool_]:
        """Whether the demand at the reference price is known to about a factor of 20, from own sales or from those of
        category and brand. Otherwise a forecast says nothing.
        """
        covariance = self.posterior(units)[1]
        return np.asarray(covariance[:, 0, 0] <= _MAX_BASE_VARIANCE)

    def noise(self, units: Ints) -> Floats:
        """Variance of log demand from period to period, beside the chance of counts."""
        total = _NOISE_PERIODS * self._noise_mean + self._noise_sum[units]
        return np.asarray(np.maximum(total / (_NOISE_PERIODS + self._noise_count[units]), _LEAST_NOISE))

    def spreads(self) -> Spreads:
        """What a pooled model has learned of the differences between products."""
        category, brand = (np.sqrt(np.diag(effects.spread)) for effects in self._pooling.groups)
        own = np.sqrt(np.diag(self._pooling.own))
        return Spreads(category, brand, own, float(np.sqrt(self._shocks.variance)), self._shocks.persistence)

    def forecast(self, rows: Observations) -> Forecast:
        """What is expected of each row at any price. Pieces and price of the rows are ignored."""
        self._check(rows)
        mean, covariance = self.posterior(rows.unit)
        offset = _offset(rows)
        if self.options.has_shocks:
            offset = offset + self._shocks.expected(self._category[rows.unit], rows.period)
        design = self.design.matrix(rows, np.zeros(rows.unit.size))
        names = self.design.names
        gap = (names.index(GAP), log_competitor(rows)) if GAP in names else None
        return Forecast(design, mean, covariance, offset, self.noise(rows.unit), self._reference[rows.unit], gap)

    def observe(self, rows: Observations) -> None:
        """Learns from new periods, each row once, all products of a category and period together. Costs O(rows)."""
        rows = self._used(rows)
        if not rows.unit.size:
            return
        units, position = np.unique(rows.unit, return_inverse=True)
        kept = 1.0 if self.options.half_life_periods is None else 0.5 ** (1 / self.options.half_life_periods)
        known = Evidence(kept * self._evidence.precision[units], kept * self._evidence.shift[units])
        self._noise_sum[units] *= kept
        self._noise_count[units] *= kept
        expected, variance = self._fitted(rows, position, *self._posterior(units, known))
        # Linearised first between what was expected and what was sold, by their precisions.
        sold, doubt = np.log(rows.units + 0.5) - _offset(rows), self.noise(rows.unit) + 1 / (rows.units + 0.5)
        point = (expected * doubt + sold * variance) / (doubt + variance)
        for _ in range(_PASSES):
            sites = self._sites(rows, position, point, expected, variance)
            found = Evidence(known.precision + sites.evidence.precision, known.shift + sites.evidence.shift)
            point = self._fitted(rows, position, *self._posterior(units, found))[0] + sites.shock
        self._evidence.precision[units], self._evidence.shift[units] = found.precision, found.shift
        # The residuals are those of a forecast: they contain what was unknown of the coefficients.
        self._learn_noise(rows, sites, expected, variance, is_anew=False)

    def fit(self, rows: Observations, rounds: int = 8) -> None:
        """Learns everything from `rows` alone, groups and noise included; what was observed before is forgotten.

        Where no row can be learned from, because nothing was in stock, nothing changes.
        """
        rows = self._used(rows)
        if not rows.unit.size:
            return
        units, position = np.unique(rows.unit, return_inverse=True)
        point = np.log(rows.units + 0.5) - _offset(rows)
        fitted, variance = point, np.zeros(rows.unit.size)
        for _ in range(rounds):
            sites = self._sites(rows, position, point, fitted, variance)
            self._evidence.precision[:], self._evidence.shift[:] = 0, 0
            self._evidence.precision[units] = sites.evidence.precision
            self._evidence.shift[units] = sites.evidence.shift
            self.pool()
            fitted, variance = self._fitted(rows, position, *self.posterior(units))
            point = fitted + sites.shock
            # The residuals are those of a fit: they lack what the coefficients have taken up.
            self._learn_noise(rows, sites, fitted, -variance, is_anew=True)

    def pool(self, rounds: int = 5) -> None:
        """Learns categories, brands and the typical noise from the units. Costs O(units)."""
        seen = self._noise_count > 0
        if seen.any():
            own = self._noise_sum[seen] / self._noise_count[seen]
            weight = np.minimum(self._noise_count[seen], _NOISE_PERIODS)
            self._noise_mean = max(float(np.average(own, weights=weight)), _LEAST_NOISE)
        if self.options.is_pooled and self.units:
            self._pooling.learn(self._evidence, (self._category, self._brand), rounds)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that the model is, as arrays without objects: numpy.savez writes them. `from_arrays` takes them."""
        options = {
            "coefficients": self.options.coefficients, "likelihood": self.options.likelihood.value,
            "is_pooled": self.options.is_pooled, "has_shocks": self.options.has_shocks,
            "elasticity": self.options.elasticity, "half_life_periods": self.options.half_life_periods,
            "version": _VERSION,
        }  # fmt: skip
        made: dict[str, NDArray[Any]] = {
            "options": np.array(json.dumps(options)),
            "product_id": np.array([unit.product_id for unit in self.units], dtype=np.str_),
            "price_list_id": np.array([unit.price_list_id for unit in self.units], dtype=np.str_),
            "category": np.array([unit.category for unit in self.units], dtype=np.str_),
            "brand": np.array([unit.brand for unit in self.units], dtype=np.str_),
            "reference_price": self._reference, "precision": self._evidence.precision, "shift": self._evidence.shift,
            "noise_sum": self._noise_sum, "noise_count": self._noise_count, "noise_mean": np.array(self._noise_mean),
        }  # fmt: skip
        made |= {f"pooling_{name}": values for name, values in self._pooling.arrays().items()}
        return made | {f"shocks_{name}": values for name, values in self._shocks.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DemandModel:
        """Raises InvalidArgument for another version of the format."""
        options = json.loads(str(arrays["options"]))
        if options.pop("version") != _VERSION:
            raise InvalidArgument.of("options", "is of another version of the model; learn it from the log again")
        options["coefficients"] = tuple(options["coefficients"])
        options["elasticity"] = options["elasticity"] and tuple(options["elasticity"])
        options["likelihood"] = Likelihood(options["likelihood"])
        columns = [arrays[name].tolist() for name in _COLUMNS]
        model = cls((DemandUnit(*values) for values in zip(*columns, strict=True)), DemandOptions(**options))
        model._evidence = Evidence(np.array(arrays["precision"]), np.array(arrays["shift"]))
        model._noise_sum, model._noise_count = np.array(arrays["noise_sum"]), np.array(arrays["noise_count"])
        model._noise_mean = float(arrays["noise_mean"])
        model._pooling.restore(_without(arrays, "pooling_"))
        model._shocks.restore(_without(arrays, "shocks_"))
        return model

    def _posterior(self, units: Ints, evidence: Evidence) -> tuple[Floats, Floats]:
        codes = (self._category[units], self._brand[units]) if self.options.is_pooled else ()
        return self._pooling.posterior(evidence, codes)

    def _check(self, rows: Observations) -> None:
        if rows.unit.size and rows.unit.max() >= len(self.units):
            raise InvalidArgument.of("unit", f"{rows.unit.max()} is beyond the {len(self.units)} units; add it first")

    def _used(self, rows: Observations) -> Observations:
        self._check(rows)
        used = rows.in_stock >= MIN_IN_STOCK
        if self.options.likelihood is Likelihood.LOG_NORMAL:
            used &= rows.units > 0
        return rows.rows(used)

    def _fitted(self, rows: Observations, position: Ints, mean: Floats, covariance: Floats) -> tuple[Floats, Floats]:
        """Log demand of each row without exposure and shock, and its variance."""
        design = self.design.matrix(rows, np.log(rows.price / self._reference[rows.unit]))
        found = np.einsum("rk,rk->r", design, mean[position])
        return found, np.einsum("rj,rjk,rk->r", design, covariance[position], design)

    def _sites(
        self, rows: Observations, position: Ints, point: Floats, fitted: Floats, variance: Floats
    ) -> _Sites:  # fmt: skip
        """The rows as Gaussian evidence of the coefficients, linearised at `point`, given what is `fitted` so far."""
        noise = self.noise(rows.unit)
        if self.options.likelihood is Likelihood.LOG_NORMAL:
            # The coefficients are of the mean, not of the median.
            response, chance = np.log(rows.units) - _offset(rows) + noise / 2, np.zeros(rows.unit.size)
        else:
            pieces = np.exp(np.clip(point + _offset(rows), -10.0, 40.0))
            response, chance = point + np.minimum(rows.units / pieces - 1, _MAX_STEP), 1 / pieces
        category, shock, doubt = self._category[rows.unit], np.zeros(rows.unit.size), np.zeros(rows.unit.size)
        if self.options.has_shocks:
            weight = 1 / (noise + chance + np.maximum(variance, 0))
            shock, doubt = self._shocks.estimate(category, rows.period, response - fitted, weight)
        weight = 1 / (noise + chance + doubt)
        design = self.design.matrix(rows, np.log(rows.price / self._reference[rows.unit]))
        count, k = int(position.max()) + 1, len(self.design.names)
        precision, shift = np.zeros((count, k, k)), np.zeros((count, k))
        np.add.at(precision, position, np.einsum("r,rj,rk->rjk", weight, design, design))
        np.add.at(shift, position, design * (weight * (response - shock))[:, None])
        return _Sites(Evidence(precision, shift), response, chance, shock, doubt)

    def _learn_noise(
        self, rows: Observations, sites: _Sites, expected: Floats, variance: Floats, is_anew: bool
    ) -> None:  # fmt: skip
        """From the residuals around `expected`, whose square is larger by `variance` than that of the noise.

        `is_anew`: from these rows alone.
        """
        if is_anew:
            self._noise_sum[:], self._noise_count[:] = 0, 0
        residual = sites.response - expected
        excess = (residual - sites.shock) ** 2 - sites.chance - sites.doubt - variance
        # Rows with few pieces, or of units that little is known of, say little about the noise.
        weight = 1 / (1 + sites.chance + np.abs(variance)) ** 2
        self._noise_sum += np.bincount(rows.unit, weight * excess, minlength=len(self.units))
        self._noise_count += np.bincount(rows.unit, weight, minlength=len(self.units))
        if self.options.has_shocks:
            precision = 1 / (self.noise(rows.unit) + sites.chance + np.maximum(variance, 0))
            self._shocks.remember(self._category[rows.unit], rows.period, residual, precision, is_anew)


@dataclass(frozen=True)
class _Sites:
    """By row: the linearised `response` and the variance of its `chance`; the `shock` that the other rows show, and the
    variance that remains as `doubt`.
    """

    evidence: Evidence
    response: Floats
    chance: Floats
    shock: Floats
    doubt: Floats


def _without(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): np.array(arrays[name]) for name in arrays if name.startswith(prefix)}


def _offset(rows: Observations) -> Floats:
    return np.asarray(np.log(rows.exposure * np.maximum(rows.in_stock, MIN_IN_STOCK)))


def _codes(levels: dict[str, int], names: Sequence[str]) -> Ints:
    return np.array([levels.setdefault(name, len(levels)) for name in names], np.int64)
