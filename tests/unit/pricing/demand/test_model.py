"""The demand model finds the demand that made the sales, and knows how well."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.model import DemandModel, DemandOptions, Likelihood
from services.pricing.domain.demand.observations import DemandUnit, Observations
from services.pricing.domain.demand.table import posterior_table

LIST = 10.0
_LADDER = np.log([0.85, 0.9, 0.95, 1.0, 1.05, 1.1])


def units(count: int, categories: int = 4) -> list[DemandUnit]:
    return [DemandUnit(f"p{n}", "", f"c{n % categories}", f"b{n % 3}", LIST) for n in range(count)]


def sales(
    elasticity: NDArray[np.float64], base: float, period: int, random: np.random.Generator, noise: float = 0.2,
    shock: float = 0.0,
) -> Observations:  # fmt: skip
    """Poisson sales of a period at random prices of the ladder, with log-normal noise and a shock for all."""
    relative = random.choice(_LADDER, len(elasticity))
    wobble = random.normal(0, noise, len(elasticity)) - noise**2 / 2
    pieces = random.poisson(np.exp(base + elasticity * relative + wobble + shock))
    return Observations.of(np.arange(len(elasticity)), period, LIST * np.exp(relative), pieces)


def learned(model: DemandModel, elasticity: NDArray[np.float64], periods: int, base: float = 3.0) -> DemandModel:
    random = np.random.default_rng(1)
    for period in range(periods):
        model.observe(sales(elasticity, base, period, random, shock=float(random.normal(0, 0.3))))
        model.pool()
    return model


def test_the_posterior_concentrates_on_the_truth() -> None:
    """With more periods the intervals shrink, and about 90 % of the 90 % intervals contain the true elasticity."""
    truth = np.random.default_rng(0).normal(-2.5, 0.5, 200)
    few, many = (posterior_table(learned(DemandModel(units(200)), truth, periods)) for periods in (10, 120))
    errors = [np.abs(table["elasticity"] - truth).mean() for table in (few, many)]
    widths = [(table["elasticity_high"] - table["elasticity_low"]).mean() for table in (few, many)]
    assert errors[1] < 0.6 * errors[0]
    assert widths[1] < 0.6 * widths[0]
    for table in (few, many):
        held = np.mean((table["elasticity_low"] <= truth) & (truth <= table["elasticity_high"]))
        assert 0.8 <= held <= 0.97


def test_a_fit_agrees_with_the_updates() -> None:
    """All periods at once, and one after the other, give the same elasticities up to a part of their intervals."""
    truth = np.random.default_rng(0).normal(-2.5, 0.5, 60)
    random = np.random.default_rng(3)
    periods = [sales(truth, 3.0, period, random) for period in range(60)]
    online, batch = DemandModel(units(60)), DemandModel(units(60))
    for rows in periods:
        online.observe(rows)
        online.pool()
    columns = {name: np.concatenate([getattr(rows, name) for rows in periods]) for name in vars(periods[0])}
    batch.fit(Observations(**columns))
    one, other = posterior_table(online), posterior_table(batch)
    half = (one["elasticity_high"] - one["elasticity_low"]) / 2
    assert np.mean(np.abs(one["elasticity"] - other["elasticity"]) / half) < 0.35


def test_pooling_shrinks_towards_the_category() -> None:
    """A new product of a category with steep demand is expected to have steep demand; alone it has the start's."""
    truth = np.where(np.arange(80) % 4 == 0, -4.0, -1.5)
    new = [DemandUnit("steep", "", "c0", "new", LIST), DemandUnit("flat", "", "c1", "new", LIST)]
    pooled, alone = DemandModel(units(80)), DemandModel(units(80), DemandOptions(is_pooled=False))
    for model in (pooled, alone):
        learned(model, truth, 60).add(new)
    table, start = posterior_table(pooled), posterior_table(alone)
    steep, flat = table["elasticity"][80:]
    assert steep == pytest.approx(-4.0, abs=0.5)
    assert flat == pytest.approx(-1.5, abs=0.5)
    # An interval of a product that was never sold is wider than those of its category.
    width = table["elasticity_high"] - table["elasticity_low"]
    assert width[80] > width[:80].max()
    assert start["elasticity"][80] == start["elasticity"][81] == pytest.approx(-2.5)


def test_pooling_learns_more_from_the_same_sales() -> None:
    """After few periods the error of pooled elasticities is at most 0.7 of that of each product alone."""
    truth = np.random.default_rng(2).normal(-3.0, 0.3, 120)
    tables = [
        posterior_table(learned(DemandModel(units(120), DemandOptions(is_pooled=is_pooled)), truth, 15))
        for is_pooled in (True, False)
    ]
    pooled, alone = (np.sqrt(np.mean((table["elasticity"] - truth) ** 2)) for table in tables)
    assert pooled < 0.7 * alone


def test_a_shock_of_the_category_is_no_effect_of_the_price() -> None:
    """When all prices fall in periods of low demand, the other products of the category show the low demand."""
    random, truth = np.random.default_rng(4), np.full(60, -2.0)
    models = [DemandModel(units(60, 1), DemandOptions(has_shocks=has_shocks)) for has_shocks in (True, False)]
    for period in range(40):
        shock = float(random.normal(0, 0.5))
        # Each price follows the shock, and differs a little.
        relative = 0.2 * shock + random.normal(0, 0.05, 60)
        pieces = random.poisson(np.exp(3.0 + truth * relative + shock))
        rows = Observations.of(np.arange(60), period, LIST * np.exp(relative), pieces)
        for model in models:
            model.observe(rows)
            model.pool()
    errors = [np.abs(posterior_table(model)["elasticity"] + 2.0).mean() for model in models]
    assert errors[0] < 0.4
    assert errors[1] > 3 * errors[0]


def test_periods_without_stock_say_nothing() -> None:
    """No sale in a period without stock is no sign of low demand, and half a period counts as half."""
    truth = np.full(20, -2.0)
    models = [DemandModel(units(20)) for _ in range(2)]
    for model, has_gaps in zip(models, (False, True), strict=True):
        random = np.random.default_rng(5)
        for period in range(60):
            rows = sales(truth, 3.0, period, random)
            if has_gaps and period % 3 == 0:
                rows = replace(rows, in_stock=np.zeros(20), units=np.zeros(20))
            elif has_gaps and period % 3 == 1:
                rows = replace(rows, in_stock=np.full(20, 0.5), units=random.poisson(rows.units / 2).astype(float))
            model.observe(rows)
            model.pool()
    full, gaps = (posterior_table(model)["base_units"].mean() for model in models)
    assert gaps == pytest.approx(full, rel=0.06)


def test_an_update_changes_only_the_units_of_its_rows() -> None:
    """What sales of one product say of the others waits for `pool`."""
    model = learned(DemandModel(units(30)), np.full(30, -2.0), 5)
    before = posterior_table(model)["mean"]
    model.observe(Observations.of([7], 5, LIST * 0.9, 90.0))
    changed = np.flatnonzero(np.any(posterior_table(model)["mean"] != before, axis=1))
    assert changed.tolist() == [7]


def test_the_forecast_falls_with_the_price_and_follows_exposure() -> None:
    """Expected pieces fall from price to price, and double with twice the views."""
    model = learned(DemandModel(units(10)), np.full(10, -2.0), 30)
    once, twice = (
        model.forecast(Observations.of([0], 30, 1.0, 0.0, exposure=views)).units(np.array([[8.0, 9.0, 10.0]]))[0]
        for views in (1.0, 2.0)
    )
    assert np.all(np.diff(once) < 0)
    assert twice == pytest.approx(2 * once)


def test_a_competitors_price() -> None:
    """It moves demand and elasticity; without an observation it does nothing. Curves give what the forecast expects."""
    model = learned(DemandModel(units(3), DemandOptions(("competitor", "gap"))), np.full(3, -2.0), 20)
    rows = Observations.of([0, 0, 0], 21, LIST, 0.0, competitor=[0.0, 0.8, 1.2])
    forecast, prices = model.forecast(rows), np.array([[8.0, 10.0, 11.5]] * 3)
    unknown, low, high = curves = forecast.curves()
    assert low.elasticity.mean < unknown.elasticity.mean < high.elasticity.mean
    assert low.units(LIST).mean < high.units(LIST).mean
    mean, variance = forecast.log_units(prices)
    for row, curve in enumerate(curves):
        expected = [curve.units(price).mean for price in (8.0, 10.0, 11.5)]
        # The curve's variance leaves out what is unknown of its bend.
        assert np.log(expected) == pytest.approx(mean[row] + variance[row] / 2, abs=0.03)


def test_old_sales_are_forgotten() -> None:
    """When the elasticity of all products changes, a half-life follows it; without one the old sales count on."""
    errors = []
    for half_life in (None, 15.0):
        model = DemandModel(units(40), DemandOptions(half_life_periods=half_life))
        for elasticity in (-1.5, -4.0):
            learned(model, np.full(40, elasticity), 60)
        errors.append(np.abs(posterior_table(model)["elasticity"] + 4.0).mean())
    assert errors[0] > 0.7
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("half_life", [0.0, -1.0, float("nan"), float("inf")])
def test_a_half_life_is_a_positive_number(half_life: float) -> None:
    """The error names the option."""
    with pytest.raises(InvalidArgument, match=r"^half_life_periods: is"):
        DemandOptions(half_life_periods=half_life)


def test_large_sales_in_logs() -> None:
    """The log-normal likelihood finds season, promotion and substitutes, and leaves periods without a sale out."""
    random = np.random.default_rng(6)
    count, names = 40 * 150, ("promotion", "season_sin", "substitutes")
    relative, promotion = random.choice(_LADDER, count), random.integers(0, 2, count)
    season, substitutes = random.uniform(0, 1, count), np.exp(random.normal(0, 0.1, count))
    log_units = 6 - 2 * relative + 0.8 * promotion + 0.3 * np.sin(2 * np.pi * season) + 1.5 * np.log(substitutes)
    pieces = np.exp(log_units + random.normal(0, 0.3, count))
    pieces[:5] = 0
    model = DemandModel(units(40), DemandOptions(names, Likelihood.LOG_NORMAL))
    model.fit(
        Observations.of(
            np.arange(count) % 40, np.arange(count) // 40, LIST * np.exp(relative), pieces, promotion=promotion,
            season=season, substitutes=substitutes,
        )
    )  # fmt: skip
    mean = dict(zip(model.design.names, posterior_table(model)["mean"].mean(axis=0), strict=True))
    assert mean["price"] == pytest.approx(-2.0, abs=0.1)
    assert mean["promotion"] == pytest.approx(0.8, abs=0.05)
    assert mean["season_sin"] == pytest.approx(0.3, abs=0.05)
    assert mean["substitutes"] == pytest.approx(1.5, abs=0.1)
    assert posterior_table(model)["noise"].mean() == pytest.approx(0.3, abs=0.03)


def test_a_model_survives_a_file() -> None:
    """The arrays of a model, written and read, make a model that forecasts and learns the same."""
    truth = np.full(12, -2.0)
    model = learned(DemandModel(units(12), DemandOptions(("age",))), truth, 5)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **model.arrays())
    file.seek(0)
    again = DemandModel.from_arrays(np.load(file, allow_pickle=False))
    rows = sales(truth, 3.0, 5, np.random.default_rng(9))
    for each in (model, again):
        each.observe(rows)
        each.pool()
    one, other = posterior_table(model), posterior_table(again)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert np.array_equal(model.forecast(rows).offset, again.forecast(rows).offset)


def test_a_file_of_another_version_is_refused() -> None:
    """The error says to learn the model again."""
    arrays = DemandModel(units(2)).arrays()
    arrays["options"] = np.array(str(arrays["options"]).replace('"version": 1', '"version": 0'))
    with pytest.raises(InvalidArgument, match="learn it from the log again"):
        DemandModel.from_arrays(arrays)
