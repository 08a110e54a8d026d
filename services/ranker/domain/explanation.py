"""Why an item has its score and its position: contributions of groups, influential events, the steps of the slate."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from services.ranker.domain.attribution import masked_of, shapley, unasked
from services.ranker.domain.event_shares import Basis, EventShares, influences_on
from services.ranker.domain.influential_events import InfluentialEvent, influential_events
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import GROUPS, ReasonType
from services.ranker.domain.scores import Scores
from services.ranker.domain.slate.slate import Slate, SlateSteps, position_by_score


@dataclass(frozen=True)
class Explanation:
    """Of one item: `contributions` of all six groups, which add up to its score less `baseline`.

    `slate` is None in a search, unless a draw put the item at its place.
    """

    baseline: float
    contributions: Mapping[ReasonType, float]
    events: Sequence[InfluentialEvent]
    slate: SlateSteps | None


def explain(
    request: RankingRequest,
    scores: Scores,
    rows: Sequence[int],
    slate: Slate | None = None,
    is_by_history: bool = True,
    event_shares: Mapping[Basis, EventShares] | None = None,
    drawn: Container[int] = (),
) -> dict[int, Explanation]:
    """By row; empty for a ranker that has neither parts nor masked scores. A slate answers a request without query.

    `is_by_history`: the candidates of a slate were found by the history, or are popular; otherwise their own score
    says how they relate to the products of a page, and counts as query match. `event_shares`: what the shopper model
    and the counts say of the events, with values for each of `rows`; a ranker that is no sum has its own influences.
    `drawn`: the rows that exploration put at their places.
    """
    masked = masked_of(request, scores, rows) if rows else None
    if masked is None:
        return {}
    attribution = shapley(unasked(masked.score, request) if slate is not None and is_by_history else masked.score)
    shares, parts = {Basis.SIMILAR: EventShares(request.profile.item_ids, masked.influences())}, masked.of_history()
    if parts:
        shares |= event_shares or {}
    return {
        row: Explanation(
            float(attribution.baseline[place]),
            dict(zip(GROUPS, attribution.contributions[place].tolist(), strict=True)),
            influential_events(
                request.vectors[row],
                influences_on(place, shares, {b: float(part[place]) for b, part in parts.items()} or None),
                request.profile,
                request.user_history,
            ),
            _steps(scores, row, slate, row in drawn),
        )
        for place, row in enumerate(rows)
    }


def _steps(scores: Scores, row: int, slate: Slate | None, is_explored: bool) -> SlateSteps | None:
    if slate is not None:
        return replace(slate.steps(row), is_explored=is_explored)
    return SlateSteps(position_by_score(scores.total, row), is_explored=True) if is_explored else None
