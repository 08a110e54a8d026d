"""Contextual Thompson sampling: Thompson sampling that knows the period.

Season, promotions and the demand for the category in past periods are in the forecast (`DemandOptions`). No more is
sold than is in stock, and a stock that must be sold until a date is priced for what it brings until then. The nearer
the date, the less is tried: little time is left to use what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.pricing.domain.demand.forecast import Forecast
from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.demand.observations import Floats
from services.pricing.domain.policies.choice import Ladder, choose
from services.pricing.domain.policies.port import Guard, Objective, Proposal, Situation
from services.pricing.domain.policies.seeds import SeededNormals
from services.pricing.domain.policies.thompson import check_exploration

# Before the date exploration fades out over so many days.
_FADING_DAYS = 7.0


class ContextualThompsonPolicy:
    """`exploration`: factor of the standard deviation that is drawn with; 0 tries nothing."""

    name = "contextual-thompson"

    def __init__(
        self, model: DemandModel, normals: SeededNormals, objective: Objective = Objective.MARGIN,
        ladder: Ladder = Ladder(), exploration: float = 1.0,  # noqa: B008
    ) -> None:  # fmt: skip
        check_exploration(exploration)
        self._model, self._normals, self._exploration = model, normals, exploration
        self._objective, self._ladder = objective, ladder

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[Proposal]:
        return choose(
            self._model, situations, guard, objective=self._objective, ladder=self._ladder, demand=self._drawn,
            uses_stock=True,
        )  # fmt: skip

    def _drawn(self, forecast: Forecast, situations: Sequence[Situation], prices: Floats) -> Floats:
        days = [_FADING_DAYS if each.days_to_clear is None else each.days_to_clear for each in situations]
        scale = self._exploration * np.minimum(np.array(days) / _FADING_DAYS, 1.0)
        normals = self._normals(situations, forecast.mean.shape[1])
        return forecast.sampled_units(prices, scale[:, None] * normals)
