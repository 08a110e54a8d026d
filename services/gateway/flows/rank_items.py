"""Asks the ranker for the order of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from kairos.common.v1 import common_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway import fallbacks
from services.gateway.convert import collapse_mode
from services.gateway.domain.budget import Stage
from services.gateway.domain.experiments import NOT_ASSIGNED, Assignment
from services.gateway.domain.viewer import Explained, Viewer
from services.gateway.flows.effective_offers import offers_of
from services.gateway.flows.explanation import add_ranker_scores, retrieval_scores
from services.gateway.flows.exposure import score_offsets
from services.gateway.flows.ranking import Ranking, new_ranking_id
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


class Turn(Enum):
    """Of an order: the only one of an answer, or the first or second of an interleaving, which explore nothing."""

    ALONE = "alone"
    FIRST = "first"
    SECOND = "second"


async def rank_items(
    calls: StageCalls,
    parts: Parts,
    candidates: retrieval_pb2.Candidates,
    viewer: Viewer,
    query_vector: common_pb2.Vectors | None,
    source: ranker_pb2.CandidateSource.ValueType,
    total_size: int,
    explained: Explained | None,
    as_slate: bool = False,
    options: ranker_pb2.RankingOptions | None = None,
    assignment: Assignment = NOT_ASSIGNED,
    turn: Turn = Turn.ALONE,
) -> Ranking | None:
    """The ranker stores its order under the ranking's id, unless a single product is explained, it is a preview, or the
    second order of an interleaving. None for the latter if the ranker does not answer; else retrieval's order.
    """
    if not candidates.ids:
        return Ranking.in_retrieval_order(candidates, source, total_size, explained is not None)
    is_for_one_item = explained is not None and bool(explained.item_id)
    leaves_no_trace = is_for_one_item or viewer.is_preview or turn is Turn.SECOND
    if explained and not is_for_one_item and not calls.has_room_for(Stage.RANKER, fallbacks.NO_EXPLANATIONS):
        explained = None
    message = ranker_pb2.RankItemsRequest(
        user_id=viewer.user_id, visitor_id=viewer.visitor_id, session_id=viewer.session_id, query=viewer.query,
        query_vector=query_vector, candidate_source=source, total_size=total_size,
        ranking_id="" if leaves_no_trace else new_ranking_id(), explain=explained is not None, as_slate=as_slate,
        collapse=collapse_mode(viewer),
        options=options, ranking_version=assignment.ranking_version, without_exploration=turn is Turn.FIRST,
    )  # fmt: skip
    configuration = parts.serving.of(calls.info.tenant, assignment.configuration_ids)
    if configuration.exposure is not None:
        message.options.score_offsets.extend(score_offsets(configuration.exposure, candidates))
    # In its place at once: as an argument of the message it would be copied twice.
    message.candidates.CopyFrom(candidates)
    message.candidates.ClearField("products")
    if explained is not None:
        message.explained_places = explained.places
        message.explained_ids.extend([explained.item_id] if explained.item_id else [])
    answer = await calls.call_or_degrade(
        Stage.RANKER, parts.stubs.ranker.RankItems, message, [Stage.PRICING],
        fallbacks.NOT_INTERLEAVED if turn is Turn.SECOND else fallbacks.RETRIEVAL_ORDER,
        is_valid=lambda order: _is_of(order, candidates, viewer),
    )  # fmt: skip
    if answer is None and turn is Turn.SECOND:
        return None
    if answer is None:
        return fallbacks.ranker_late(candidates, source, total_size, explained is not None, viewer.is_collapsed)
    ranking = Ranking(
        message.ranking_id, answer.item_ids, answer.scores, answer.model_version, source,
        dict(zip(candidates.ids, candidates.products, strict=True)), total_size, offers=offers_of(candidates),
        is_stored=not leaves_no_trace,
        click_probabilities=dict(zip(answer.item_ids, _click_probabilities(answer), strict=False)),
    )  # fmt: skip
    if explained is not None:
        # One message for each candidate: only for requests that ask for explanations.
        ranking.stage_scores = add_ranker_scores(retrieval_scores(candidates), answer)
        rows = zip(answer.item_ids, answer.reasons, strict=False)
        ranking.reasons = {id: reasons for id, reasons in rows if reasons.ByteSize()}
    return ranking


def _click_probabilities(answer: ranker_pb2.RankItemsResponse) -> Sequence[float]:
    return next((task.values for task in answer.task_scores if task.task == "click"), ())


def _is_of(order: ranker_pb2.RankItemsResponse, candidates: retrieval_pb2.Candidates, viewer: Viewer) -> bool:
    """Whether the order has all candidates, or one of each group, and each with a score."""
    ids = set(order.item_ids)
    if len(order.scores) != len(order.item_ids) or len(ids) != len(order.item_ids) or not ids <= set(candidates.ids):
        return False
    expected = {len(candidates.ids)}
    if viewer.is_collapsed and candidates.item_group_ids:
        expected.add(len(set(candidates.item_group_ids)))
    return len(ids) in expected
