"""One order of the orders of two arms: for requests in an experiment that interleaves its arms.

Both arms rank the same candidates, at the same time. What is interleaved is the organic order with boosts. Pins and
sponsored places come afterwards, as in any answer, and count for neither arm. If the second order is late or skipped,
the answer has the order of the control arm, is not interleaved, and its degradations say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol, TypeVar

from kairos.retrieval.v1 import retrieval_pb2
from services.gateway import fallbacks
from services.gateway.domain.budget import Stage
from services.gateway.domain.experiments import Assignment, Interleaving
from services.gateway.domain.team_draft import Draft, team_draft
from services.gateway.domain.viewer import Explained, Viewer
from services.gateway.flows.merchandising import AppliedRules
from services.gateway.flows.rank_items import Turn
from services.gateway.flows.ranking import Ranking, new_ranking_id
from services.gateway.stage_calls import StageCalls

Value = TypeVar("Value")


class Rank(Protocol):
    """The order of the candidates for these arms. None only for Turn.SECOND: there is no second order."""

    def __call__(self, assignment: Assignment, turn: Turn) -> Awaitable[Ranking | None]: ...


async def ranked_and_arranged(
    calls: StageCalls,
    viewer: Viewer,
    candidates: retrieval_pb2.Candidates,
    explained: Explained | None,
    rank: Rank,
    rules_of: Callable[[Assignment], AppliedRules],
    rules: AppliedRules,
) -> Ranking:
    """After ranking, boosts and pins. `rules`: of the request's own arms; `rules_of` gives those of other arms."""
    interleaving = calls.assignment.interleaving
    is_for_one_item = explained is not None and bool(explained.item_id)
    if interleaving is None or is_for_one_item or viewer.is_preview or not candidates.ids:
        ranking = await rank(calls.assignment, Turn.ALONE)
        assert ranking is not None
        return rules.arranged(ranking, candidates)
    first, second = await asyncio.gather(
        rank(calls.assignment, Turn.FIRST), _second(calls, rank, interleaving)
    )  # fmt: skip
    assert first is not None
    if second is None or first.is_fallback:
        return rules.arranged(first, candidates)
    own, others = calls.assignment, interleaving.other
    is_same = (own.rule_ids, own.without_rule_ids) == (others.rule_ids, others.without_rule_ids)
    other_rules = rules if is_same else rules_of(others)
    one, two = rules.boosted(first, candidates), other_rules.boosted(second, candidates)
    coin = viewer.page.coin or first.id
    groups = dict(zip(candidates.ids, candidates.item_group_ids, strict=False)) if viewer.is_collapsed else {}
    order, pairs = team_draft(one.item_ids, two.item_ids, lambda id: groups.get(id) or id, coin)
    draft = Draft(interleaving.experiment, interleaving.arms, coin, pairs)
    if other_rules is not rules:
        rules.take_over(other_rules, {id for _, id in pairs})
    return rules.pinned(_joined(one, two, order, draft), candidates)


async def _second(calls: StageCalls, rank: Rank, interleaving: Interleaving) -> Ranking | None:
    if not calls.has_room_for(Stage.RANKER, fallbacks.NOT_INTERLEAVED):
        return None
    return await rank(interleaving.other, Turn.SECOND)


def _joined(one: Ranking, two: Ranking, order: list[str], draft: Draft) -> Ranking:
    """Products of the second arm with what its own ranking says of them."""
    of_second = {second for _, second in draft.pairs} | (set(order) - set(one.item_ids))
    scores = dict(zip(one.item_ids, one.scores, strict=True))
    others = dict(zip(two.item_ids, two.scores, strict=True))
    scores |= {id: others[id] for id in of_second}
    versions = dict.fromkeys((one.model_version, two.model_version))
    return replace(
        one, id=new_ranking_id(), item_ids=order, scores=[scores[id] for id in order], is_stored=False,
        model_version=" & ".join(versions), reordered_id=one.id if one.is_stored else one.reordered_id, draft=draft,
        click_probabilities=_with(one.click_probabilities, two.click_probabilities, of_second),
        stage_scores=_with(one.stage_scores, two.stage_scores, of_second),
        reasons=_with(one.reasons, two.reasons, of_second),
    )  # fmt: skip


def _with(one: Mapping[str, Value], two: Mapping[str, Value], ids: set[str]) -> dict[str, Value]:
    return {**one, **{id: two[id] for id in ids if id in two}}
