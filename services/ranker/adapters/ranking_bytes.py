"""A stored ranking as bytes, as both ranking stores and both logs keep it.

A JSON header of known length, with the texts and the shapes of the arrays, and then the arrays, little-endian.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.ranker.adapters.price_arrays import prices_from_arrays, prices_to_arrays
from services.ranker.domain.candidate_source import CandidateSource
from services.ranker.domain.shown_ad import ShownAd
from services.ranker.domain.stored_ranking import (
    Interleaving,
    ItemColumns,
    LoggedFeatures,
    LoggedPolicy,
    PageAnswer,
    StoredRanking,
)

_LENGTH = struct.Struct("<I")
_TEXTS = ("ranking_id", "user_id", "visitor_id", "session_id", "query", "model_version")
_NUMBERS, _VECTOR, _TYPES, _PRICES, _PLACES = "<f4", "<f2", "|i1", "<f8", "<i4"


def to_bytes(ranking: StoredRanking) -> bytes:
    header: dict[str, Any] = {name: getattr(ranking, name) for name in _TEXTS}
    header |= {
        "item_ids": list(ranking.item_ids), "total_size": ranking.total_size, "ranked_s": ranking.ranked_s,
        "source": ranking.candidate_source.value, "arms": dict(ranking.experiment_arms),
        "legs": list(ranking.leg_scores),
    }  # fmt: skip
    arrays: list[tuple[str, npt.NDArray[Any]]] = [(_NUMBERS, ranking.scores), (_NUMBERS, ranking.propensities)]
    arrays += [(_NUMBERS, scores) for scores in ranking.leg_scores.values()]
    if (logged := ranking.logged) is not None:
        header["logged"] = {
            "version": logged.version, "vector_version": logged.vector_version, "names": list(logged.names),
            "event_item_ids": list(logged.event_item_ids),
        }  # fmt: skip
        arrays += [
            (_NUMBERS, logged.numbers), (_TYPES, logged.event_types), (_NUMBERS, logged.event_numbers),
            (_VECTOR, logged.long_term), (_VECTOR, logged.query), (_NUMBERS, logged.context),
        ]  # fmt: skip
    if (items := ranking.items).item_ids:
        header["columns"] = {
            "item_ids": list(items.item_ids), "model_version": items.model_version,
            "categories": list(items.categories), "brands": list(items.brands),
        }  # fmt: skip
        arrays += [(items.vectors.dtype.str, items.vectors), (_PRICES, items.prices)]
    if ranking.prices is not None:
        header["prices"], of_prices = prices_to_arrays(ranking.prices)
        arrays += [(array.dtype.str, array) for array in of_prices]
    if ranking.ads:
        header["ads"] = [[ad.item_id, ad.campaign_id, ad.price, ad.currency, ad.expected_clicks] for ad in ranking.ads]
    if (interleaving := ranking.interleaving) is not None:
        header["interleaving"] = [interleaving.experiment, *interleaving.arms, list(interleaving.teams)]
    if (policy := ranking.policy) is not None:
        header["explored"] = policy.share
        arrays += [(_PLACES, policy.positions), (_PLACES, policy.tiers)]
    if (answer := ranking.answer) is not None:
        degradations = [list(one) for one in answer.degradations]
        header["answer"] = [round(answer.latency_ms, 2), degradations, answer.placement]
    header["arrays"] = [[dtype, list(array.shape)] for dtype, array in arrays]
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join(
        [_LENGTH.pack(len(text)), text, *(array.astype(dtype, copy=False).tobytes() for dtype, array in arrays)]
    )


def from_bytes(data: bytes) -> StoredRanking:
    (length,) = _LENGTH.unpack_from(data)
    header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    arrays = _arrays(data, _LENGTH.size + length, header["arrays"])
    scores, propensities = next(arrays), next(arrays)
    leg_scores = {leg: next(arrays) for leg in header["legs"]}
    logged = None
    if (about := header.get("logged")) is not None:
        numbers, types, event_numbers, long_term, query, context = (next(arrays) for _ in range(6))
        logged = LoggedFeatures(
            about["version"], about["vector_version"], about["names"], numbers, about["event_item_ids"],
            types.astype(np.int64), event_numbers, long_term.astype(np.float32), query.astype(np.float32), context,
        )  # fmt: skip
    items = ItemColumns()
    if (columns := header.get("columns")) is not None:
        items = ItemColumns(**columns, vectors=next(arrays), prices=next(arrays))
    prices = prices_from_arrays(header["prices"], arrays) if "prices" in header else None
    policy = LoggedPolicy(next(arrays), next(arrays), header["explored"]) if "explored" in header else None
    interleaving = None
    if "interleaving" in header:
        experiment, control_arm, other_arm, teams = header["interleaving"]
        interleaving = Interleaving(experiment, (control_arm, other_arm), teams)
    answer = None
    if "answer" in header:
        # A log from before placements has two entries.
        latency_ms, degradations, placement = [*header["answer"], ""][:3]
        answer = PageAnswer(latency_ms, [(stage, reason) for stage, reason in degradations], placement)
    return StoredRanking(
        **{name: header[name] for name in _TEXTS}, item_ids=header["item_ids"], scores=scores,
        propensities=propensities, total_size=header["total_size"], ranked_s=header["ranked_s"],
        candidate_source=CandidateSource(header["source"]), experiment_arms=header["arms"], leg_scores=leg_scores,
        logged=logged, items=items, prices=prices, ads=tuple(ShownAd(*ad) for ad in header.get("ads", ())),
        policy=policy, answer=answer, interleaving=interleaving,
    )  # fmt: skip


def _arrays(data: bytes, offset: int, shapes: Sequence[tuple[str, list[int]]]) -> Iterator[npt.NDArray[Any]]:
    for dtype, shape in shapes:
        count = math.prod(shape)
        yield np.frombuffer(data, dtype, count, offset).reshape(shape)
        offset += count * np.dtype(dtype).itemsize
