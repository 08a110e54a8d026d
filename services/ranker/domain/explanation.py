"""Why an item has its score and its place: groups, the acts behind them, the steps of the slate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.ranker.domain.attribution import GROUPS, masked_of, shapley, unasked
from services.ranker.domain.influential_events import InfluentialEvent, influential_events
from services.ranker.domain.ranking import RankingRequest, ReasonType, Scores
from services.ranker.domain.slate_steps import Slate, SlateSteps


@dataclass(frozen=True)
class Explanation:
    """Of one item: `contributions` of all six groups, which add up to its score less `baseline`."""

    baseline: float
    contributions: Mapping[ReasonType, float]
    events: Sequence[InfluentialEvent]
    slate: SlateSteps | None


def explain(
    request: RankingRequest, scores: Scores, rows: Sequence[int], slate: Slate | None = None
) -> dict[int, Explanation]:
    """By row; nothing where the ranker tells neither parts nor what it would say with less known.

    A slate is for somebody who asked for nothing.
    """
    masked = masked_of(request, scores, rows) if rows else None
    if masked is None:
        return {}
    attribution = shapley(masked.score if slate is None else unasked(masked.score, request))
    loud = masked.acts()
    return {
        row: Explanation(
            float(attribution.baseline[place]),
            dict(zip(GROUPS, attribution.contributions[place].tolist(), strict=True)),
            influential_events(request.vectors[row], loud[place], request.profile, request.user_history),
            slate.steps(row) if slate is not None else None,
        )
        for place, row in enumerate(rows)
    }
