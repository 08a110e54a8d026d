"""Elasticities of the data, and how well log sales of other stores and later weeks are predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pricing_data import JUICES, Floats, Sales, Shelf
from services.pricing.domain.demand.model import DemandModel, DemandOptions, Likelihood
from services.pricing.domain.demand.table import posterior_table

Mask = NDArray[np.bool_]
# Juices in packages of 64 ounces, for which the elasticity is known (numbers from 0).
_KNOWN_JUICES = (0, 4, 9)
KNOWN_ELASTICITY = -3.14

# What a regression may use beside the price. Each method takes the set that is best for it on the development weeks.
_COVARIATES: tuple[tuple[str, ...], ...] = (
    ("promotion",),
    ("promotion", "substitutes"),
    ("promotion", "substitutes", "season_sin", "season_cos"),
    ("promotion", "substitutes", "season_sin", "season_cos", "age"),
)
_FOLDS = 3
# Weeks that are known of a new store.
_FIRST_WEEKS = 8
_BOOTSTRAPS = 2_000
# The last quarter of the weeks is predicted; the quarter before it is for choices.
_DEVELOPMENT, _TEST = 0.5, 0.75


def measure_elasticity(sales: Sales) -> dict[str, Any]:
    """Of the pooled regression on three juices, and by juice of the demand model."""
    rows = sales.rows(np.isin(sales.juice, _KNOWN_JUICES))
    columns = np.concatenate([np.log(rows.price)[:, None], np.eye(JUICES)[rows.juice][:, list(_KNOWN_JUICES)]], axis=1)
    pooled = float(np.linalg.lstsq(columns, rows.log_ounces, rcond=None)[0][0])
    found: dict[str, Any] = {"pooled": pooled, "error": abs(pooled / KNOWN_ELASTICITY - 1)}
    shelf = Shelf.of(sales, sales)
    observed = shelf.observations(sales)
    for name, covariates, has_shocks in (("price", (), False), ("price_promotion_week", ("promotion",), True)):
        options = DemandOptions(covariates, Likelihood.LOG_NORMAL, has_shocks=has_shocks)
        model = DemandModel(shelf.units, options)
        model.fit(observed)
        table = posterior_table(model)
        juices = np.array([unit.category for unit in model.units])
        found[name] = {
            f"juice {juice}": {
                part: float(table[part][juices == f"juice {juice}"].mean())
                for part in ("elasticity", "elasticity_low", "elasticity_high")
            }
            for juice in range(JUICES)
        }
        known = np.isin(juices, [f"juice {juice}" for juice in _KNOWN_JUICES])
        found[name]["known juices"] = float(table["elasticity"][known].mean())
    return found


# Predicts the log of pieces of each row from the rows of the mask, with the covariates.
Method = Callable[[Sales, Mask, tuple[str, ...]], Floats]


def _columns(sales: Sales, train: Mask, covariates: tuple[str, ...]) -> Floats:
    shelf = Shelf.of(sales, sales.rows(train))
    model = DemandModel(shelf.units, DemandOptions(covariates))
    rows = shelf.observations(sales)
    return model.design.matrix(rows, np.log(rows.price / shelf.reference[sales.juice]))


def _least_squares(columns: Floats, target: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(columns, target, rcond=None)[0])


def pooled_regression(sales: Sales, train: Mask, covariates: tuple[str, ...]) -> Floats:
    """One regression with a level for each juice."""
    columns = _columns(sales, train, covariates)
    columns = np.concatenate([np.eye(JUICES)[sales.juice], columns[:, 1:]], axis=1)
    return columns @ _least_squares(columns[train], sales.log_pieces[train])


def juice_regressions(sales: Sales, train: Mask, covariates: tuple[str, ...]) -> Floats:
    """One regression for each juice."""
    columns, made = _columns(sales, train, covariates), np.zeros(len(sales.juice))
    for juice in range(JUICES):
        own = sales.juice == juice
        made[own] = columns[own] @ _least_squares(columns[train & own], sales.log_pieces[train & own])
    return made


def store_regressions(sales: Sales, train: Mask, covariates: tuple[str, ...]) -> Floats:
    """One regression for each juice in each store, that of the juice where there are too few rows."""
    columns, made = _columns(sales, train, covariates), juice_regressions(sales, train, covariates)
    for store in np.unique(sales.store[train]):
        in_store = sales.store == store
        for juice in range(JUICES):
            own = in_store & (sales.juice == juice)
            if np.count_nonzero(train & own) > 2 * columns.shape[1]:
                made[own] = columns[own] @ _least_squares(columns[train & own], sales.log_pieces[train & own])
    return made


def demand_model(sales: Sales, train: Mask, covariates: tuple[str, ...]) -> Floats:
    """Pooled over juices and stores. Prices of the chain move together by week, so that a shock of the week would take
    up what they explain: for predictions there are none.
    """
    shelf = Shelf.of(sales, sales.rows(train))
    rows = shelf.observations(sales)
    model = DemandModel(shelf.units, DemandOptions(covariates, Likelihood.LOG_NORMAL, has_shocks=False))
    model.fit(rows.rows(train))
    forecast = model.forecast(rows)
    # The model expects the mean of the pieces, the regressions that of their logs.
    return forecast.log_units(rows.price[:, None])[0][:, 0] - forecast.noise / 2


METHODS: dict[str, Method] = {
    "pooled regression": pooled_regression, "per juice": juice_regressions, "per juice and store": store_regressions,
    "ours": demand_model,
}  # fmt: skip


def _splits(sales: Sales, new_store: Mask, start: float, end: float) -> Iterator[tuple[str, Mask, Mask]]:
    """Name, rows to learn from, rows to predict. Weeks before `start` (a share of all) are past."""
    weeks = np.unique(sales.week)
    begin, until = np.quantile(weeks, [start, end])
    past, later = sales.week <= begin, (sales.week > begin) & (sales.week <= until)
    first = sales.week < weeks[0] + _FIRST_WEEKS
    yield "known stores", past & ~new_store, later & ~new_store
    yield "new stores after 8 weeks", (past & ~new_store) | (first & new_store), later & new_store
    yield "new stores", past & ~new_store, later & new_store


def _fold(sales: Sales, seed: int) -> NDArray[np.int64]:
    stores = np.random.default_rng(seed).permutation(np.unique(sales.store))
    return np.array([np.flatnonzero(stores == store)[0] % _FOLDS for store in sales.store], dtype=np.int64)


def _rmse(errors: Floats) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def measure_prediction(sales: Sales, seed: int, progress: Callable[[], object]) -> dict[str, Any]:
    """Root mean squared errors of log pieces in the last quarter of the weeks, each store once among the new ones."""
    folds = _fold(sales, seed)
    chosen = dict[tuple[str, str], tuple[str, ...]]()
    for name, train, test in _splits(sales, folds == 0, _DEVELOPMENT, _TEST):
        for method, predict in METHODS.items():
            tried = {
                covariates: _rmse((predict(sales, train, covariates) - sales.log_pieces)[test])
                for covariates in _COVARIATES
            }
            chosen[name, method] = min(tried, key=lambda covariates: tried[covariates])
            progress()
    errors_of = dict[str, dict[str, list[Floats]]]()
    stores_of = dict[str, list[NDArray[np.int64]]]()
    for fold in range(_FOLDS):
        for name, train, test in _splits(sales, folds == fold, _TEST, 1.0):
            stores_of.setdefault(name, []).append(sales.store[test])
            for method, predict in METHODS.items():
                errors = (predict(sales, train, chosen[name, method]) - sales.log_pieces)[test]
                errors_of.setdefault(name, {}).setdefault(method, []).append(errors)
                progress()
    random = np.random.default_rng(seed)
    return {
        name: _compared({method: np.concatenate(parts) for method, parts in by_method.items()},
                        np.concatenate(stores_of[name]), random)
        | {"covariates": {method: list(chosen[name, method]) for method in METHODS}}
        for name, by_method in errors_of.items()
    }  # fmt: skip


def steps() -> int:
    """Calls of `progress`."""
    return 3 * len(METHODS) * (1 + _FOLDS)


def _compared(errors: dict[str, Floats], stores: NDArray[np.int64], random: np.random.Generator) -> dict[str, Any]:
    """RMSE of each method, and ours minus it with a 95 % interval by a bootstrap over stores."""
    _, code = np.unique(stores, return_inverse=True)
    rows = np.bincount(code)
    squares = {method: np.bincount(code, values**2) for method, values in errors.items()}
    drawn = random.integers(0, len(rows), (_BOOTSTRAPS, len(rows)))
    total = rows[drawn].sum(axis=1)
    booted = {method: np.sqrt(values[drawn].sum(axis=1) / total) for method, values in squares.items()}
    return {
        method: {
            "rmse": _rmse(values),
            "ours_minus": _rmse(errors["ours"]) - _rmse(values),
            "interval": np.quantile(booted["ours"] - booted[method], [0.025, 0.975]).tolist(),
        }
        for method, values in errors.items()
    } | {"rows": len(stores)}
