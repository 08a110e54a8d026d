"""Protobuf <-> domain for RankItems, and checks of ids. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kairos.common.v1 import product_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import FloatArray
from services.common.convert import unit_vectors_from_proto, vectors_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_ID, MAX_QUERY, id_problem, text_problem
from services.ranker.convert_options import score_offsets
from services.ranker.domain.candidate_source import CandidateSource
from services.ranker.domain.collapse import VariantPreference, best_variants
from services.ranker.domain.exploration import Explored
from services.ranker.domain.person import person_key
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Scores
from services.ranker.domain.session import SessionMove
from services.ranker.domain.slate.slate import Slate
from services.ranker.domain.user_history import UserHistory

MAX_CANDIDATES = 1_000
# Of retrieval scores that are nearly equal. Above 1 a gain puts a product before all without one, whatever it is.
_LEAST_SPREAD, _MOST_TYPE_MATCH = 1e-6, 2.0
# Characters of a model version that an experiment names.
_MAX_VERSION = 64
# Characters of a key that seals tokens.
_MIN_KEY = 32
_MAY_BE_ABSENT = (
    "categories", "brands", "created_at_seconds", "item_group_ids", "identifier_matches", "match_counts", "costs",
    "dense_scores", "lexical_scores", "attributes", "tiers", "type_gains",
    "review_sentiments",
)  # fmt: skip
_SCORES = ("scores", "dense_scores", "lexical_scores", "type_gains", "review_sentiments")
_SOURCES = {
    number: CandidateSource[name.removeprefix("CANDIDATE_SOURCE_")]
    for name, number in ranker_pb2.CandidateSource.items()
}
# Ids that any request may have, and its query: they bound what is stored.
_IDS = ("user_id", "visitor_id", "session_id", "ranking_id", "reordered_ranking_id")


def check_candidates(candidates: retrieval_pb2.Candidates) -> None:
    count = len(candidates.ids)
    if not 1 <= count <= MAX_CANDIDATES:
        raise InvalidArgument.of("candidates.ids", f"holds {count}; send 1 to {MAX_CANDIDATES}")
    check_ids(candidates.ids, "candidates.ids")
    check_ids(candidates.item_group_ids, "candidates.item_group_ids")
    for name in ("scores", "prices", "stocks", *_MAY_BE_ABSENT):
        # Some columns may be left out as a whole.
        if len(getattr(candidates, name)) not in ((count, 0) if name in _MAY_BE_ABSENT else (count,)):
            raise InvalidArgument.of(
                f"candidates.{name}", f"has {len(getattr(candidates, name))} rows for {count} ids; send one each"
            )
    for name in _SCORES:
        if not np.isfinite(getattr(candidates, name)).all():
            raise InvalidArgument.of(f"candidates.{name}", "holds NaN or infinity; every score must be finite")


def candidate_vectors(candidates: retrieval_pb2.Candidates) -> FloatArray:
    """Shape [n, dimensions], unit rows or zero ones; [n, 1] of zeros where there are none."""
    if not candidates.HasField("vectors"):
        return np.zeros((len(candidates.ids), 1), np.float32)
    vectors = unit_vectors_from_proto(candidates.vectors, "candidates.vectors")
    if len(vectors) != len(candidates.ids):
        raise InvalidArgument.of("candidates.vectors", f"has {len(vectors)} rows for {len(candidates.ids)} ids")
    return vectors


def query_vector(message: ranker_pb2.RankItemsRequest, dimensions: int) -> FloatArray | None:
    """Shape [dimensions]. None without one, and where it is of another model version than the candidates'."""
    if not message.HasField("query_vector"):
        return None
    if message.query_vector.model_version != message.candidates.vectors.model_version:
        return None
    vectors = vectors_from_proto(message.query_vector, "query_vector")
    if vectors.shape != (1, dimensions):
        raise InvalidArgument.of("query_vector.values", f"has shape {vectors.shape}; send [1, {dimensions}]")
    row: FloatArray = vectors[0]
    return row


def ranking_request(
    message: ranker_pb2.RankItemsRequest,
    vectors: FloatArray,
    popularity: Sequence[float],
    profile: Profile,
    user_history: UserHistory,
    now_s: float,
) -> RankingRequest:
    candidates = message.candidates
    scores, type_match = scores_and_type(candidates)
    return RankingRequest(
        # As lists: a repeated field makes a string at each access.
        item_ids=list(candidates.ids),
        retrieval_scores=scores,
        vectors=vectors,
        prices=np.array(candidates.prices, np.float32),
        stocks=np.array(candidates.stocks, np.float32),
        popularity=np.array(popularity, np.float32),
        query=query_vector(message, vectors.shape[1]),
        profile=profile,
        categories=list(candidates.categories) or [""] * len(candidates.ids),
        brands=list(candidates.brands) or [""] * len(candidates.ids),
        user_history=user_history,
        model_version=candidates.vectors.model_version,
        now_s=now_s,
        created_s=np.array(candidates.created_at_seconds, np.float64) if candidates.created_at_seconds else None,
        identifier_rows=tuple(row for row, matches in enumerate(candidates.identifier_matches) if matches),
        tiers=np.array(candidates.tiers, np.int64) if candidates.tiers else None,
        costs=np.array(candidates.costs, np.float64) if candidates.costs else None,
        is_search=not message.as_slate,
        source=candidate_source(message),
        dense_scores=np.array(candidates.dense_scores, np.float32) if candidates.dense_scores else None,
        lexical_scores=np.array(candidates.lexical_scores, np.float32) if candidates.lexical_scores else None,
        type_match=type_match,
        review_sentiments=np.array(candidates.review_sentiments, np.float32) if candidates.review_sentiments else None,
        offsets=score_offsets(message),
    )


def scores_and_type(candidates: retrieval_pb2.Candidates) -> tuple[FloatArray, FloatArray | None]:
    """(retrieval's scores [n] without what the type adds, that in spreads of these scores [n] or None)."""
    scores: FloatArray = np.array(candidates.scores, np.float32)
    if not candidates.type_gains:
        return scores, None
    gains: FloatArray = np.array(candidates.type_gains, np.float32)
    scores = scores - gains
    spread = np.float32(max(float(np.ptp(scores)), _LEAST_SPREAD))
    return scores, np.minimum(gains / spread, np.float32(_MOST_TYPE_MATCH))


def candidate_source(message: ranker_pb2.RankItemsRequest | ranker_pb2.StoreRankingRequest) -> CandidateSource:
    """A source that a newer gateway knows is UNSPECIFIED."""
    return _SOURCES.get(message.candidate_source, CandidateSource.UNSPECIFIED)


def kept_rows(message: ranker_pb2.RankItemsRequest, scores: Scores) -> Sequence[int]:
    """The rows of the candidates that the answer holds: all, or one of each item group."""
    candidates = message.candidates
    count = len(candidates.ids)
    if message.collapse != product_pb2.COLLAPSE_MODE_GROUP or not candidates.item_group_ids:
        return range(count)
    explained = frozenset(message.explained_ids)
    preference = VariantPreference(
        groups=list(candidates.item_group_ids),
        is_explained=np.array([item_id in explained for item_id in candidates.ids], bool),
        has_identifier=np.array(candidates.identifier_matches or [False] * count, bool),
        tiers=np.array(candidates.tiers or [0] * count, np.int64),
        match_counts=np.array(candidates.match_counts or [0] * count, np.int64),
        is_in_stock=np.array(candidates.stocks, np.int64) != 0,
    )
    return best_variants(preference, scores.total)


def order_of(asked: RankingRequest, scores: Scores, slate: Slate | None) -> Sequence[int]:
    """The slate's; without one best first, products that the query identifies first, then tier by tier. Equal scores
    keep their order.
    """
    if slate is not None:
        return slate.order
    total = scores.total
    if asked.offsets is not None:
        total = total + asked.offsets * np.ptp(total)
    keys = (-total, *(() if asked.tiers is None else (asked.tiers,)), ~asked.has_identifier)
    order: list[int] = np.lexsort(keys).tolist()
    return order


def ranking_to_proto(
    request: RankingRequest, scores: Scores, shown: Explored, model_version: str
) -> ranker_pb2.RankItemsResponse:
    """Everything but the reasons."""
    rows = list(shown.order)
    ranked = scores.total[rows].tolist()
    return ranker_pb2.RankItemsResponse(
        item_ids=[request.item_ids[row] for row in rows],
        scores=ranked,
        task_scores=[
            ranker_pb2.TaskScores(task="relevance", values=ranked),
            *(ranker_pb2.TaskScores(task=task, values=values[rows].tolist()) for task, values in scores.tasks.items()),
        ],
        propensities=shown.propensities,
        model_version=model_version,
        history_size=request.profile.size,
    )


def check_texts(message: Any) -> None:
    """The ids and the query of the message, as far as it has them."""
    problems = {name: id_problem(getattr(message, name, ""), required=False) for name in _IDS}
    problems["query"] = text_problem(getattr(message, "query", ""), MAX_QUERY)
    problems["ranking_version"] = text_problem(getattr(message, "ranking_version", ""), _MAX_VERSION)
    if wrong := [FieldViolation(name, problem) for name, problem in problems.items() if problem]:
        raise InvalidArgument(*wrong)


def check_id(value: str, path: str) -> None:
    if problem := id_problem(value):
        raise InvalidArgument.of(path, problem)


def check_ids(values: Sequence[str], path: str) -> None:
    """The items of a request: they become keys of the stores."""
    for index, value in enumerate(values):
        if problem := id_problem(value):
            raise InvalidArgument.of(f"{path}[{index}]", problem)


def person_of(message: Any) -> str:
    """Whose request it is: the key of the user, else of the visitor, else empty."""
    return person_key(message.user_id, message.visitor_id)


def one_person(message: Any) -> str:
    """The key of the one user or visitor that the message names. Raises InvalidArgument for none or both."""
    check_texts(message)
    if message.user_id and message.visitor_id:
        raise InvalidArgument.of("visitor_id", "is set, and so is user_id; send exactly one of them")
    if not (person := person_of(message)):
        raise InvalidArgument.of("user_id", "is empty, and so is visitor_id; send exactly one of them")
    return person


def proposed_key(message: ranker_pb2.EnsureTokenKeyRequest) -> str:
    key = message.proposed_key
    if not (_MIN_KEY <= len(key) <= MAX_ID and key.isascii() and key.isprintable()):
        raise InvalidArgument.of("proposed_key", f"send {_MIN_KEY} to {MAX_ID} printable characters of ASCII")
    return key


def session_move(tenant: str, message: ranker_pb2.RankItemsRequest, now_s: float) -> SessionMove | None:
    """What the query does to the session; None without a session, a query vector or a ranking id."""
    if not (message.session_id and message.ranking_id and message.HasField("query_vector")):
        return None
    vectors = vectors_from_proto(message.query_vector, "query_vector")
    version = message.query_vector.model_version
    return SessionMove(tenant, message.session_id, person_of(message), version, vectors, now_s)
