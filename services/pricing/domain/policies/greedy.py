"""The price that is best by what is expected. It tries nothing, so it may never learn that it is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.policies.choice import Ladder, choose
from services.pricing.domain.policies.port import Guard, Objective, Situation
from services.pricing.domain.pricing import ProposedPrice


class GreedyPolicy:
    def __init__(
        self, model: DemandModel, objective: Objective = Objective.MARGIN, ladder: Ladder = Ladder()  # noqa: B008
    ) -> None:  # fmt: skip
        self._model, self._objective, self._ladder = model, objective, ladder

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        return choose(self._model, situations, guard, objective=self._objective, ladder=self._ladder)
