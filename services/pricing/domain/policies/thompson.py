"""Thompson sampling: the price that is best for coefficients drawn from what is known of them.

It tries other prices as long as they may be better. With a pooled model, what is learned of one product tells of the
others of its category and brand; with a model that is not pooled, each product learns alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.forecast import Forecast
from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.demand.observations import Floats
from services.pricing.domain.policies.choice import Ladder, choose
from services.pricing.domain.policies.port import Guard, Objective, Proposal, Situation
from services.pricing.domain.policies.seeds import SeededNormals


class ThompsonPolicy:
    """`exploration`: factor of the standard deviation that is drawn with; 0 is greedy."""

    name = "thompson"

    def __init__(
        self, model: DemandModel, normals: SeededNormals, objective: Objective = Objective.MARGIN,
        ladder: Ladder = Ladder(), exploration: float = 1.0,  # noqa: B008
    ) -> None:  # fmt: skip
        check_exploration(exploration)
        self._model, self._normals, self._exploration = model, normals, exploration
        self._objective, self._ladder = objective, ladder

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[Proposal]:
        return choose(
            self._model, situations, guard, objective=self._objective, ladder=self._ladder, demand=self._drawn
        )  # fmt: skip

    def _drawn(self, forecast: Forecast, situations: Sequence[Situation], prices: Floats) -> Floats:
        normals = self._normals(situations, forecast.mean.shape[1])
        return forecast.sampled_units(prices, self._exploration * normals)


def check_exploration(exploration: float) -> None:
    """Raises InvalidArgument beyond 0 to 2."""
    if not 0 <= exploration <= 2:
        raise InvalidArgument.of("exploration", f"is {exploration}; give 0 to 2")
