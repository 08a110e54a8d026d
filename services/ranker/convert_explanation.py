"""Protobuf <-> domain for explanations: which rows are explained, and the reasons of each."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.ranker.convert_user import history_event
from services.ranker.domain.explanation import Explanation
from services.ranker.domain.reasons import ReasonType

DEFAULT_PLACES = 10
MAX_PLACES = 100
MAX_EXPLAINED_IDS = 10


def check_explained(message: ranker_pb2.RankItemsRequest) -> None:
    if message.explained_places < 0:
        raise InvalidArgument.of("explained_places", f"{message.explained_places} is negative; send 1 to {MAX_PLACES}")
    if len(message.explained_ids) > MAX_EXPLAINED_IDS:
        raise InvalidArgument.of(
            "explained_ids", f"holds {len(message.explained_ids)}; send at most {MAX_EXPLAINED_IDS}"
        )


def explained_rows(message: ranker_pb2.RankItemsRequest, item_ids: Sequence[str], order: Sequence[int]) -> list[int]:
    """Rows of the ranked items, each once; none if the request asks for no explanation."""
    if not message.explain:
        return []
    first = list(order[: min(message.explained_places or DEFAULT_PLACES, MAX_PLACES)])
    row_of = {item_id: row for row, item_id in enumerate(item_ids)}
    named = [row_of[item_id] for item_id in message.explained_ids if item_id in row_of]
    return list(dict.fromkeys([*first, *named]))


def explanation_to_proto(explanation: Explanation | None) -> ranker_pb2.ItemReasons:
    """Empty for a row that is not explained."""
    if explanation is None:
        return ranker_pb2.ItemReasons()
    message = ranker_pb2.ItemReasons(
        reasons=[
            ranker_pb2.Reason(type=ranker_pb2.ReasonType.Value(f"REASON_TYPE_{group.name}"), contribution=contribution)
            for group, contribution in sorted(explanation.contributions.items(), key=lambda pair: -pair[1])
            if contribution != 0
        ],
        baseline=explanation.baseline,
        events=[
            ranker_pb2.InfluentialEvent(
                event=history_event(event.entry),
                similarity=event.similarity,
                share=event.share,
                basis=ranker_pb2.InfluenceBasis.Value(f"INFLUENCE_BASIS_{event.basis.name}"),
            )
            for event in explanation.events
        ],
        slate=ranker_pb2.SlateSteps(**vars(explanation.slate)) if explanation.slate else None,
    )
    for reason in message.reasons:
        if reason.type == ranker_pb2.ReasonType.Value(f"REASON_TYPE_{ReasonType.RECENT_HISTORY.name}"):
            reason.history_item_ids.extend(event.entry.item_id for event in explanation.events if event.share > 0)
    return message
