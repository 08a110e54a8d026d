"""Protobuf <-> domain for stored rankings and what was shown of them. Raises InvalidArgument with the field's path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kairos.common.v1 import common_pb2, event_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import (
    tensor_from_proto,
    tensor_to_proto,
    time_from_proto,
    time_to_proto,
    vectors_to_proto,
)
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_LIST_ID, text_problem
from services.ranker.convert import MAX_CANDIDATES, candidate_source, check_id, check_ids
from services.ranker.convert_shown_ads import shown_ad_to_proto, shown_ads_from_proto
from services.ranker.convert_shown_prices import shown_prices_from_proto, shown_prices_to_proto
from services.ranker.domain.candidate_features import features_of
from services.ranker.domain.exploration import Explored
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Scores
from services.ranker.domain.stored_ranking import (
    ITEMS_WITH_VECTORS,
    Interleaving,
    ItemColumns,
    LoggedFeatures,
    LoggedPolicy,
    PageAnswer,
    StoredRanking,
)
from services.ranker.times import moment

MAX_SHOWN = 1_000
MAX_POSITIONS = 100
DEFAULT_ROWS = 10
MAX_ROWS = 100
# Of one page.
_MAX_DEGRADATIONS = 64
_LEGS = ("dense", "lexical", "image")


def stored_ranking(
    message: ranker_pb2.RankItemsRequest,
    kept: Sequence[int],
    asked: RankingRequest,
    scores: Scores,
    shown: Explored,
    model_version: str,
) -> StoredRanking:
    """The ranking that answered the message, with the features of all its items. `kept` are their candidates' rows."""
    rows, candidates = list(shown.order), message.candidates
    candidate_rows = [kept[row] for row in rows]
    user, features = scores.features or features_of(asked)
    legs = {leg: getattr(candidates, f"{leg}_scores") for leg in _LEGS} | {"retrieval": candidates.scores}
    return StoredRanking(
        ranking_id=message.ranking_id,
        user_id=message.user_id,
        visitor_id=message.visitor_id,
        session_id=message.session_id,
        query=message.query,
        model_version=model_version,
        item_ids=[asked.item_ids[row] for row in rows],
        scores=scores.total[rows],
        propensities=np.array(shown.propensities, np.float32),
        total_size=message.total_size,
        ranked_s=asked.now_s,
        candidate_source=asked.source,
        experiment_arms=_arms(message),
        leg_scores={leg: np.array(of, np.float32)[candidate_rows] for leg, of in legs.items() if of},
        logged=LoggedFeatures.of(user, features, rows, asked.model_version),
        items=_items(candidates, candidate_rows[:ITEMS_WITH_VECTORS], asked, rows[:ITEMS_WITH_VECTORS]),
        policy=LoggedPolicy(np.array(shown.before, np.int32) + 1, asked.tier_numbers[rows], shown.share),
    )


def ranking_from_proto(message: ranker_pb2.StoreRankingRequest, now_s: float) -> StoredRanking:
    check_id(message.ranking_id, "ranking_id")
    count = len(message.item_ids)
    if count > MAX_CANDIDATES:
        raise InvalidArgument.of("item_ids", f"holds {count}; send at most {MAX_CANDIDATES}")
    check_ids(message.item_ids, "item_ids")
    if len(message.scores) != count:
        raise InvalidArgument.of("scores", f"has {len(message.scores)} rows for {count} item_ids; send one each")
    if not np.isfinite(message.scores).all():
        raise InvalidArgument.of("scores", "holds NaN or infinity; every score must be finite")
    return StoredRanking(
        message.ranking_id, message.user_id, message.visitor_id, message.session_id, message.query,
        message.model_version, list(message.item_ids), np.array(message.scores, np.float32),
        np.ones(count, np.float32), message.total_size, now_s,
        candidate_source(message), _arms(message), interleaving=_interleaving(message),
    )  # fmt: skip


def rows_asked_for(message: ranker_pb2.GetRankingRequest) -> tuple[int, int]:
    """(first row, row behind the last)."""
    check_id(message.ranking_id, "ranking_id")
    for name in ("offset", "limit"):
        if getattr(message, name) < 0:
            raise InvalidArgument.of(name, f"{getattr(message, name)} is negative")
    return message.offset, message.offset + min(message.limit or DEFAULT_ROWS, MAX_ROWS)


def ranking_to_proto(ranking: StoredRanking, first: int, last: int) -> ranker_pb2.GetRankingResponse:
    return ranker_pb2.GetRankingResponse(
        item_ids=ranking.item_ids[first:last],
        scores=ranking.scores[first:last].tolist(),
        propensities=ranking.propensities[first:last].tolist(),
        ranked_count=len(ranking.item_ids),
        total_size=ranking.total_size,
        model_version=ranking.model_version,
        user_id=ranking.user_id,
        visitor_id=ranking.visitor_id,
        session_id=ranking.session_id,
    )


def check_shown(message: ranker_pb2.RecordImpressionsRequest) -> None:
    if not 1 <= len(message.shown) <= MAX_SHOWN:
        raise InvalidArgument.of("shown", f"holds {len(message.shown)}; send 1 to {MAX_SHOWN}")
    for index, entry in enumerate(message.shown):
        check_id(entry.ranking_id, f"shown[{index}].ranking_id")
        if len(entry.positions) > MAX_POSITIONS:
            raise InvalidArgument.of(
                f"shown[{index}].positions", f"holds {len(entry.positions)}; send at most {MAX_POSITIONS}"
            )
        if not (math.isfinite(entry.latency_ms) and entry.latency_ms >= 0):
            problem = f"is {entry.latency_ms}; send a number of milliseconds that is not negative"
            raise InvalidArgument.of(f"shown[{index}].latency_ms", problem)
        if wrong := text_problem(entry.placement, MAX_LIST_ID):
            raise InvalidArgument.of(f"shown[{index}].placement", wrong)
        if len(entry.degradations) > _MAX_DEGRADATIONS:
            problem = f"holds {len(entry.degradations)}; send at most {_MAX_DEGRADATIONS}"
            raise InvalidArgument.of(f"shown[{index}].degradations", problem)


def impressions_from_proto(
    entry: ranker_pb2.ShownPositions, ranking: StoredRanking, path: str, now_s: float
) -> Impressions:
    """The shown rows of the stored ranking."""
    count = len(ranking.item_ids)
    wrong = [
        FieldViolation(f"{path}.positions[{index}]", f"is {position}; the ranking has positions 1 to {count}")
        for index, position in enumerate(entry.positions)
        if not 1 <= position <= count
    ]
    if wrong:
        raise InvalidArgument(*wrong)
    if count and not entry.positions:
        raise InvalidArgument.of(f"{path}.positions", "is empty, and the ranking is not; send what was shown")
    shown_s = time_from_proto(entry.shown_at, f"{path}.shown_at").timestamp() if entry.HasField("shown_at") else now_s
    positions = tuple(entry.positions)
    page = ranking.take([position - 1 for position in positions])
    if entry.HasField("prices"):
        page = replace(page, prices=shown_prices_from_proto(entry.prices, len(positions), f"{path}.prices"))
    if entry.sponsored:
        page = replace(page, ads=shown_ads_from_proto(entry.sponsored, set(page.item_ids), f"{path}.sponsored"))
    if entry.HasField("latency_ms"):
        degradations = [(each.stage, each.reason) for each in entry.degradations]
        page = replace(page, answer=PageAnswer(entry.latency_ms, degradations, entry.placement))
    return Impressions(page, positions, shown_s)


def impressions_to_proto(page: Impressions) -> event_pb2.Impressions:
    message = _rows_to_proto(page.ranking, page.positions)
    message.shown_at.CopyFrom(time_to_proto(moment(page.shown_s)))
    return message


def whole_ranking_to_proto(ranking: StoredRanking) -> event_pb2.Impressions:
    message = _rows_to_proto(ranking, range(1, len(ranking.item_ids) + 1))
    message.shown_at.CopyFrom(time_to_proto(moment(ranking.ranked_s)))
    return message


def _rows_to_proto(ranking: StoredRanking, positions: Sequence[int]) -> event_pb2.Impressions:
    message = event_pb2.Impressions(
        ranking_id=ranking.ranking_id, user_id=ranking.user_id, visitor_id=ranking.visitor_id,
        session_id=ranking.session_id, query=ranking.query, model_version=ranking.model_version,
        item_ids=ranking.item_ids, positions=positions, propensities=ranking.propensities.tolist(),
        candidate_source=ranking.candidate_source.value,
    )  # fmt: skip
    for experiment, arm in ranking.experiment_arms.items():
        message.experiment_arms.add(experiment=experiment, arm=arm)
    if ranking.prices is not None:
        message.prices.CopyFrom(shown_prices_to_proto(ranking.prices))
    message.sponsored.extend(map(shown_ad_to_proto, ranking.ads))
    if (policy := ranking.policy) is not None:
        message.policy_positions.extend(policy.positions.tolist())
        message.tiers.extend(policy.tiers.tolist())
        message.exploration_share = policy.share
    if (answer := ranking.answer) is not None:
        message.latency_ms, message.placement = answer.latency_ms, answer.placement
        for stage, reason in answer.degradations:
            message.degradations.add(
                stage=common_pb2.Stage.ValueType(stage), reason=common_pb2.DegradationReason.ValueType(reason)
            )
    if (interleaving := ranking.interleaving) is not None:
        message.interleaving.CopyFrom(
            event_pb2.Interleaving(
                experiment=interleaving.experiment, arms=interleaving.arms, teams=interleaving.teams
            )
        )  # fmt: skip
    if (logged := ranking.logged) is not None:
        message.feature_names.extend(logged.names)
        message.features.CopyFrom(tensor_to_proto(logged.numbers))
        if logged.query.any():
            query = logged.query.astype(np.float16)[np.newaxis]
            message.query_vector.CopyFrom(vectors_to_proto(query, logged.vector_version))
        message.person_features.CopyFrom(_person_features(logged))
    return message


def _person_features(logged: LoggedFeatures) -> event_pb2.PersonFeatures:
    return event_pb2.PersonFeatures(
        features_version=logged.version,
        event_item_ids=logged.event_item_ids,
        event_types=tensor_to_proto(logged.event_types),
        event_numbers=tensor_to_proto(logged.event_numbers),
        long_term=vectors_to_proto(logged.long_term.astype(np.float16)[np.newaxis], logged.vector_version),
        context=tensor_to_proto(logged.context),
    )


def _arms(message: ranker_pb2.RankItemsRequest | ranker_pb2.StoreRankingRequest) -> dict[str, str]:
    return {arm.experiment: arm.arm for arm in message.context.experiment_arms}


def _interleaving(message: ranker_pb2.StoreRankingRequest) -> Interleaving | None:
    if not message.HasField("interleaving"):
        return None
    given, count = message.interleaving, len(message.item_ids)
    check_id(given.experiment, "interleaving.experiment")
    if len(given.arms) != 2:
        raise InvalidArgument.of("interleaving.arms", f"holds {len(given.arms)}; send the names of two arms")
    for index, arm in enumerate(given.arms):
        check_id(arm, f"interleaving.arms[{index}]")
    if len(given.teams) != count or not set(given.teams) <= {0, 1, 2}:
        raise InvalidArgument.of("interleaving.teams", f"needs 0, 1 or 2 for each of {count} item_ids; send one each")
    first, second = given.arms
    return Interleaving(given.experiment, (first, second), list(given.teams))


def _items(
    candidates: retrieval_pb2.Candidates, candidate_rows: Sequence[int], asked: RankingRequest, rows: Sequence[int]
) -> ItemColumns:
    """With their vectors as they came: few of them are ever read. Rows of the candidates, and of `asked`."""
    if not candidates.HasField("vectors"):
        return ItemColumns()
    return ItemColumns(
        [asked.item_ids[row] for row in rows],
        tensor_from_proto(candidates.vectors.values, "candidates.vectors.values")[candidate_rows],
        candidates.vectors.model_version,
        np.array(candidates.prices, np.float64)[candidate_rows],
        [asked.categories[row] for row in rows],
        [asked.brands[row] for row in rows],
    )
