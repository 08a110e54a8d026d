"""Protobuf <-> domain for the ranker. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import FloatArray
from services.common.convert import time_from_proto, vectors_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.ranker.domain.event import Circumstances, Event, EventType, Impressions, ItemFeatures
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Scores
from services.ranker.domain.slate.slate import Slate
from services.ranker.domain.user_history import UserHistory

MAX_CANDIDATES = 1_000
MAX_EVENTS = 1_000
MAX_ID = 128
MAX_QUERY = 512
MAX_TOKEN = 1_024
_DAY_S = 86_400.0

EVENT_TYPES = {
    event_pb2.EVENT_TYPE_CLICK: EventType.CLICK,
    event_pb2.EVENT_TYPE_CART: EventType.CART,
    event_pb2.EVENT_TYPE_PURCHASE: EventType.PURCHASE,
    event_pb2.EVENT_TYPE_REMOVE: EventType.REMOVE,
    event_pb2.EVENT_TYPE_DWELL: EventType.DWELL,
    event_pb2.EVENT_TYPE_SEARCH: EventType.SEARCH,
    event_pb2.EVENT_TYPE_IMPRESSION: EventType.IMPRESSION,
}
# A profile's size is bounded because its parts are.
_AT_MOST = {"session_id": MAX_ID, "item_id": MAX_ID, "query": MAX_QUERY, "attribution_token": MAX_TOKEN}
_MAY_BE_ABSENT = ("categories", "brands", "created_at_seconds")


def check_candidates(candidates: retrieval_pb2.Candidates) -> None:
    count = len(candidates.ids)
    if not 1 <= count <= MAX_CANDIDATES:
        raise InvalidArgument.of("candidates.ids", f"holds {count}; send 1 to {MAX_CANDIDATES}")
    for name in ("scores", "prices", "stocks", *_MAY_BE_ABSENT):
        # Who sends none of some is answered without them.
        if len(getattr(candidates, name)) not in ((count, 0) if name in _MAY_BE_ABSENT else (count,)):
            raise InvalidArgument.of(
                f"candidates.{name}", f"has {len(getattr(candidates, name))} rows for {count} ids; send one each"
            )
    if not np.isfinite(candidates.scores).all():
        raise InvalidArgument.of("candidates.scores", "holds NaN or infinity; every score must be finite")


def candidate_vectors(candidates: retrieval_pb2.Candidates) -> FloatArray:
    """Shape [n, dimensions], unit rows or zero ones; [n, 1] of zeros where there are none."""
    if not candidates.HasField("vectors"):
        return np.zeros((len(candidates.ids), 1), np.float32)
    vectors = vectors_from_proto(candidates.vectors, "candidates.vectors")
    if len(vectors) != len(candidates.ids):
        raise InvalidArgument.of("candidates.vectors", f"has {len(vectors)} rows for {len(candidates.ids)} ids")
    unit: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


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
    return RankingRequest(
        item_ids=candidates.ids,
        retrieval_scores=np.array(candidates.scores, np.float32),
        vectors=vectors,
        prices=np.array(candidates.prices, np.float32),
        stocks=np.array(candidates.stocks, np.float32),
        popularity=np.array(popularity, np.float32),
        query=query_vector(message, vectors.shape[1]),
        profile=profile,
        categories=candidates.categories or [""] * len(candidates.ids),
        brands=candidates.brands or [""] * len(candidates.ids),
        user_history=user_history,
        model_version=candidates.vectors.model_version,
        now_s=now_s,
        created_s=np.array(candidates.created_at_seconds, np.float64) if candidates.created_at_seconds else None,
    )


def order_of(scores: Scores, slate: Slate | None) -> Sequence[int]:
    """The slate's; without one best first, equal scores in retrieval's order."""
    if slate is not None:
        return slate.order
    order: list[int] = np.argsort(-scores.total, kind="stable").tolist()
    return order


def ranking_to_proto(
    request: RankingRequest, scores: Scores, order: Sequence[int], slate: Slate | None, model_version: str
) -> ranker_pb2.RankItemsResponse:
    """All but the reasons."""
    rows = list(order)
    ranked = scores.total[rows].tolist()
    return ranker_pb2.RankItemsResponse(
        item_ids=[request.item_ids[row] for row in order],
        scores=ranked,
        task_scores=[
            ranker_pb2.TaskScores(task="relevance", values=ranked),
            *(ranker_pb2.TaskScores(task=task, values=values[rows].tolist()) for task, values in scores.tasks.items()),
        ],
        propensities=slate.propensities if slate is not None else [1.0] * len(order),
        model_version=model_version,
        history_size=request.profile.size,
    )


def events_from_proto(message: ranker_pb2.RecordEventsRequest) -> list[Event]:
    """Raises InvalidArgument that names every wrong field; one wrong event refuses them all."""
    if not 1 <= len(message.events) <= MAX_EVENTS:
        raise InvalidArgument.of("events", f"holds {len(message.events)}; send 1 to {MAX_EVENTS}")
    wrong: list[FieldViolation] = []
    events = []
    for index, entry in enumerate(message.events):
        path, kind = f"events[{index}]", EVENT_TYPES.get(entry.type)
        occurred_s = time_from_proto(entry.occurred_at, f"{path}.occurred_at").timestamp()
        if not entry.HasField("occurred_at"):
            occurred_s = time.time()
        if kind is None:
            wrong.append(FieldViolation(f"{path}.type", "is unknown; send a value of EventType"))
        elif kind is not EventType.SEARCH and not entry.item_id:
            wrong.append(FieldViolation(f"{path}.item_id", "is empty; only SEARCH has none"))
        wrong.extend(
            FieldViolation(f"{path}.{name}", f"send 1 to {MAX_ID} characters")
            for name in ("event_id", "user_id")
            if not 1 <= len(getattr(entry, name)) <= MAX_ID
        )
        wrong.extend(
            FieldViolation(f"{path}.{name}", f"send at most {most} characters")
            for name, most in _AT_MOST.items()
            if len(getattr(entry, name)) > most
        )
        wrong.extend(
            FieldViolation(f"{path}.{name}", f"{getattr(entry, name)} is negative")
            for name in ("quantity", "dwell_ms")
            if getattr(entry, name) < 0
        )
        if occurred_s > time.time() + _DAY_S:
            wrong.append(FieldViolation(f"{path}.occurred_at", "lies more than a day ahead"))
        if kind is not None:
            events.append(
                Event(
                    entry.event_id, entry.user_id, entry.session_id, entry.item_id, kind, occurred_s,
                    entry.attribution_token, entry.query, entry.quantity or 1, entry.dwell_ms,
                )
            )  # fmt: skip
    if wrong:
        raise InvalidArgument(*wrong)
    return events


def items_from_proto(items: retrieval_pb2.Candidates) -> list[ItemFeatures]:
    if not items.ids:
        return []
    for name in ("prices", "categories", "brands"):
        if len(getattr(items, name)) != len(items.ids):
            raise InvalidArgument.of(f"items.{name}", f"has {len(getattr(items, name))} rows for {len(items.ids)} ids")
    vectors = vectors_from_proto(items.vectors, "items.vectors") if items.HasField("vectors") else None
    if vectors is not None and len(vectors) != len(items.ids):
        raise InvalidArgument.of("items.vectors", f"has {len(vectors)} rows for {len(items.ids)} ids")
    return [
        ItemFeatures(
            item_id=item_id,
            vector=vectors[row] if vectors is not None and vectors[row].any() else None,
            model_version=items.vectors.model_version,
            price=items.prices[row],
            category=items.categories[row],
            brand=items.brands[row],
        )
        for row, item_id in enumerate(items.ids)
    ]


def check_user_id(user_id: str) -> None:
    if not 1 <= len(user_id) <= MAX_ID:
        raise InvalidArgument.of("user_id", f"has {len(user_id)} characters; send 1 to {MAX_ID}")


def impressions_from_proto(entry: event_pb2.Impressions, path: str) -> Impressions:
    count = len(entry.item_ids)
    if not entry.ranking_id or not count:
        raise InvalidArgument.of(path, "has no ranking_id or no item_ids")
    for name in ("positions", "propensities"):
        if len(getattr(entry, name)) != count:
            raise InvalidArgument.of(f"{path}.{name}", f"has {len(getattr(entry, name))} rows for {count} items")
    for name in ("retrieval_matches", "prices", "stocks", "created_at_seconds"):
        if len(getattr(entry, name)) not in (0, count):
            raise InvalidArgument.of(f"{path}.{name}", f"has {len(getattr(entry, name))} rows for {count} items")
    query = np.zeros((1, 0), np.float32)
    if entry.HasField("query_vector"):
        query = vectors_from_proto(entry.query_vector, f"{path}.query_vector")
    if len(query) != 1:
        raise InvalidArgument.of(f"{path}.query_vector", f"has {len(query)} rows; send one")
    around = Circumstances(
        tuple(entry.retrieval_matches), tuple(entry.prices), tuple(entry.stocks), tuple(entry.created_at_seconds),
        query.astype("<f2").tobytes(), entry.query_vector.model_version,
    )  # fmt: skip
    shown = time_from_proto(entry.shown_at, f"{path}.shown_at") if entry.HasField("shown_at") else datetime.now(UTC)
    return Impressions(
        entry.ranking_id, entry.user_id, entry.session_id, entry.query, shown.timestamp(), entry.model_version,
        tuple(entry.item_ids), tuple(entry.positions), tuple(entry.propensities), around,
    )  # fmt: skip
