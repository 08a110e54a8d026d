"""Thompson sampling: the price that is best for coefficients drawn from what is known of them.

It tries other prices as long as they may be better. With a pooled model, what is learned of one product tells of the
others of its category and brand; with a model that is not pooled, each product learns alone.

A contextual one knows the period: no more is sold than is in stock, and a stock that must be sold until a date is
priced for what it brings until then. The nearer the date, the less is tried: little time is left to use what is
learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.forecast import Forecast
from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.demand.observations import Floats
from services.pricing.domain.policies.choice import Ladder, choose
from services.pricing.domain.policies.port import Guard, Objective, Situation
from services.pricing.domain.policies.seeds import SeededNormals
from services.pricing.domain.pricing import ProposedPrice

# Before the date exploration fades out over so many days.
_FADING_DAYS = 7.0


class ThompsonPolicy:
    """`exploration`: factor of the standard deviation that is drawn with; 0 is greedy. Raises InvalidArgument beyond 0
    to 2. `sees_competitor`: see choice.choose.
    """

    def __init__(
        self, model: DemandModel, normals: SeededNormals, objective: Objective = Objective.MARGIN,
        ladder: Ladder = Ladder(), exploration: float = 1.0, *, is_contextual: bool = False,  # noqa: B008
        sees_competitor: bool = False,
    ) -> None:  # fmt: skip
        if not 0 <= exploration <= 2:
            raise InvalidArgument.of("exploration", f"is {exploration}; give 0 to 2")
        self._model, self._normals, self._exploration = model, normals, exploration
        self._objective, self._ladder = objective, ladder
        self._is_contextual, self._sees_competitor = is_contextual, sees_competitor

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        return choose(
            self._model, situations, guard, objective=self._objective, ladder=self._ladder, demand=self._drawn,
            uses_stock=self._is_contextual, sees_competitor=self._sees_competitor,
        )  # fmt: skip

    def _drawn(self, forecast: Forecast, situations: Sequence[Situation], prices: Floats) -> Floats:
        scale = np.full(len(situations), self._exploration)
        if self._is_contextual:
            days = [_FADING_DAYS if each.days_to_clear is None else each.days_to_clear for each in situations]
            scale *= np.minimum(np.array(days) / _FADING_DAYS, 1.0)
        return forecast.sampled_units(prices, scale[:, None] * self._normals(situations, forecast.mean.shape[1]))
