"""Pricers that learn: from what the demand store has counted to proposed prices."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from services.common.money import MINOR_UNIT_DECIMALS
from services.pricing.domain.demand.design import COMPETITOR, GAP
from services.pricing.domain.demand.model import DemandModel, DemandOptions
from services.pricing.domain.demand.observations import MAX_ROWS, DemandUnit, Floats, Ints, Observations
from services.pricing.domain.policies.best_response import BestResponsePolicy
from services.pricing.domain.policies.choice import MAX_RELATIVE, Ladder
from services.pricing.domain.policies.clearance import ClearancePolicy
from services.pricing.domain.policies.greedy import GreedyPolicy
from services.pricing.domain.policies.port import Objective, ProposingPolicy, Situation
from services.pricing.domain.policies.seeds import SeededNormals
from services.pricing.domain.policies.thompson import ThompsonPolicy
from services.pricing.domain.pricing import Guard, PricedItem, Pricer, PriceReason, ProposedPrice
from services.pricing.learning.periods import DAY_S, Periods
from services.pricing.learning.sqlite_table import DemandTable

# Periods that are learned from.
_DAYS = 180
# The demand of a coming period is expected to have the exposure of these.
_RECENT_DAYS = 14
_SEED_BYTES = 32
_OTHER_CURRENCY = "The list price applies: the demand was learned from prices in another currency."
_STEPS = 25
_log = structlog.get_logger("kairos.price_learning")


@dataclass(frozen=True)
class Learned:
    """A model, and of each product and price list the exposure that it has had on a recent day, the currency of its
    prices, and what competitors usually ask, as far as that was observed.
    """

    model: DemandModel
    exposure: Mapping[tuple[str, str], float]
    currencies: Mapping[tuple[str, str], str]
    competitors: Mapping[tuple[str, str], float] = field(default_factory=dict)


_NOTHING = Learned(DemandModel(), {}, {})


class LearnedPrices:
    """The demand of one tenant, learned anew when a day begins. One thread uses it.

    `table` raises ValueError while nothing was counted. `seed`: a secret of the tenant, by which explored prices are
    drawn.
    """

    def __init__(self, table: Callable[[], DemandTable], tenant: str, seed: bytes) -> None:
        self._table, self._normals = table, SeededNormals(tenant, seed)
        self._day, self._learned = -1, _NOTHING

    def pricer(self, policy: LearnedPolicy) -> Pricer:
        return _LearnedPricer(self, policy)

    def policy(self, wanted: LearnedPolicy, learned: Learned) -> ProposingPolicy:
        model, objective, ladder = learned.model, wanted.objective, wanted.ladder
        match wanted.name:
            case "greedy":
                return GreedyPolicy(model, objective, ladder)
            case "thompson" | "contextual-thompson":
                is_contextual = wanted.name != "thompson"
                return ThompsonPolicy(model, self._normals, objective, ladder, is_contextual=is_contextual)
            case "best-response":
                return BestResponsePolicy(model, self._normals, objective, ladder)
            case "clearance":
                return ClearancePolicy(model, objective, ladder)
        raise ValueError(f"{wanted.name!r} is no policy that learns")

    def learned(self, now_s: float) -> Learned:
        """Of all periods before the day of `now_s`."""
        day = int(now_s // DAY_S)
        if day != self._day:
            since = datetime.fromtimestamp(now_s, UTC).date() - timedelta(days=_DAYS)
            try:
                self._learned = learned_from(self._table().periods(since))
            except ValueError as error:
                _log.info("nothing is known of the demand yet: list prices apply", reason=str(error))
            else:
                _log.info("demand learned", products=len(self._learned.model.units), day=day)
            # After another error, for example of a busy file, the same step is repeated and learns then.
            self._day = day
        return self._learned


@dataclass(frozen=True)
class LearnedPolicy:
    """`name` as in a price policy. `clear_by_s`: when the stock must be sold, in seconds since the epoch."""

    name: str
    objective: Objective
    ladder: Ladder
    period_s: int
    clear_by_s: float | None = None


def ladder_of(maximum_discount: float, maximum_increase: float) -> Ladder:
    """Candidate prices over all that the guardrails may allow."""
    return Ladder(max(1 - maximum_discount, 0.01), min(1 + maximum_increase, MAX_RELATIVE), _STEPS)


def seed_of(folder: Path) -> bytes:
    """The secret in `folder`; made if there is none."""
    file = folder / "exploration.seed"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), open(file, "xb", opener=_for_owner) as made:
        made.write(secrets.token_bytes(_SEED_BYTES))
    return file.read_bytes()


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def learned_from(periods: Periods) -> Learned:
    """Rows without a price or views are left out, and those in another currency than a product's first."""
    chosen = np.flatnonzero((periods.price > 0) & (periods.list_price > 0) & (periods.exposure > 0))[-MAX_ROWS:]
    units: dict[tuple[str, str], DemandUnit] = {}
    currencies: dict[tuple[str, str], str] = {}
    rows = []
    exposures = defaultdict[tuple[str, str], dict[int, float]](lambda: defaultdict(float))
    days = periods.day.astype(np.int64)
    for row in chosen.tolist():
        key, currency = (periods.product_id[row], periods.price_list_id[row]), periods.currency[row]
        scale = 10.0 ** MINOR_UNIT_DECIMALS[currency]
        if key not in units:
            currencies[key] = currency
            reference = float(periods.list_price[row]) / scale
            units[key] = DemandUnit(*key, periods.category[row], periods.brand[row], reference)
        if currencies[key] != currency:
            continue
        rows.append(row)
        exposures[key][int(days[row])] += float(periods.exposure[row])
    if not rows:
        return _NOTHING
    observed = periods.competitor[rows] > 0
    model = DemandModel(units.values(), DemandOptions((COMPETITOR, GAP) if observed.any() else ()))
    at = np.array(rows)
    scales = np.array([10.0 ** MINOR_UNIT_DECIMALS[periods.currency[row]] for row in rows])
    index = [model.index_of[periods.product_id[row], periods.price_list_id[row]] for row in rows]
    usual = _usual(np.array(index), periods.competitor[at] / scales, observed, len(model.units))
    # Of a product that was observed on other days it is assumed that the competitor asked what it usually does.
    asked = np.where(observed, periods.competitor[at] / scales, usual[index])
    model.fit(
        Observations.of(
            index, days[at], periods.price[at] / scales, periods.units[at], exposure=periods.exposure[at],
            in_stock=np.nan_to_num(periods.in_stock[at], nan=1.0), promotion=periods.is_sale[at],
            competitor=np.where(np.isin(index, np.array(index)[observed]), asked / usual[index], 0.0),
        )
    )  # fmt: skip
    first = int(days[at].max()) - _RECENT_DAYS
    recent = {
        key: float(np.mean([seen for day, seen in by_day.items() if day > first] or [0.0]))
        for key, by_day in exposures.items()
    }
    known = {model.units[each].key: float(usual[each]) for each in np.unique(np.array(index)[observed]).tolist()}
    return Learned(model, recent, currencies, known)


def _usual(index: Ints, asked: Floats, observed: NDArray[np.bool_], units: int) -> Floats:
    """[units]: what competitors have asked, as geometric mean over the rows with an observation; 1 without one."""
    count = np.bincount(index[observed], minlength=units)
    total = np.bincount(index[observed], np.log(asked[observed]), minlength=units)
    return np.asarray(np.exp(total / np.maximum(count, 1)))


def _relative(item: PricedItem, usual: float | None) -> float:
    """A competitor's price as a share of the usual one, which is assumed without an observation; 0: there was none."""
    if usual is None:
        return 0.0
    observed = item.competitor
    if observed is None or observed.currency != item.list_price.currency:
        return 1.0
    return float(observed.amount) / usual


class _LearnedPricer:
    """See pricing.Pricer. What it proposes changes when a period of the policy begins."""

    def __init__(self, prices: LearnedPrices, policy: LearnedPolicy) -> None:
        self._prices, self._policy = prices, policy

    def __call__(self, item: PricedItem, now_s: float, guard: Guard) -> ProposedPrice:
        wanted, learned = self._policy, self._prices.learned(now_s)
        key = item.item_id, item.price_list_id
        if learned.currencies.get(key, item.list_price.currency) != item.list_price.currency:
            return ProposedPrice(item.list_price.amount, PriceReason.LIST_PRICE, _OTHER_CURRENCY)
        left_s = None if wanted.clear_by_s is None else max(wanted.clear_by_s - now_s, 0.0)
        situation = Situation(
            item, int(now_s // wanted.period_s), now_s, wanted.period_s / DAY_S,
            None if left_s is None else left_s / DAY_S,
            exposure=max(learned.exposure.get(key, 0.0), 1e-3) * wanted.period_s / DAY_S,
            competitor=_relative(item, learned.competitors.get(key)),
        )  # fmt: skip
        (made,) = self._prices.policy(wanted, learned).propose([situation], guard)
        return made

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        return (now_s // self._policy.period_s + 1) * self._policy.period_s
