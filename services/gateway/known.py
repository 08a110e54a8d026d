"""What the ranker knew of the candidates when it made an order: logged with what was shown, to be learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kairos.common.v1 import common_pb2, event_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto

# With 768 dimensions, half of what a message may hold.
_MOST_ITEMS = 1_000
_OF_ITEM = ("ids", "prices", "categories", "brands")
_COLUMNS = ("prices", "stocks", "created_at_seconds")


@dataclass(frozen=True)
class Known:
    """`rows` are the candidates' by id, `matches` retrieval's scores by id, scaled to [0, 1] over all candidates."""

    candidates: retrieval_pb2.Candidates
    rows: Mapping[str, int]
    matches: Mapping[str, float]
    query_vector: common_pb2.Vectors | None

    @classmethod
    def of(
        cls,
        candidates: retrieval_pb2.Candidates,
        query_vector: common_pb2.Vectors | None,
        matches: Mapping[str, float] | None = None,
    ) -> Known:
        if matches is None:
            matches = dict(zip(candidates.ids, scaled(candidates.scores), strict=True))
        return cls(candidates, {id: row for row, id in enumerate(candidates.ids)}, matches, query_vector)

    def tell(self, impressions: event_pb2.Impressions) -> None:
        """Fills the columns, where all of the items are known."""
        ids = impressions.item_ids
        if not all(id in self.rows and id in self.matches for id in ids):
            return
        impressions.retrieval_matches.extend(self.matches[id] for id in ids)
        for name in _COLUMNS:
            column = getattr(self.candidates, name)
            # Retrieval gives every column; another one may give fewer.
            if len(column) == len(self.rows):
                getattr(impressions, name).extend(column[self.rows[id]] for id in ids)
        if self.query_vector is not None:
            impressions.query_vector.CopyFrom(self.query_vector)

    def items(self, ids: Sequence[str]) -> retrieval_pb2.Candidates:
        """Those of the candidates, with vectors, as RecordImpressions takes them; empty without vectors."""
        if not self.candidates.HasField("vectors"):
            return retrieval_pb2.Candidates()
        return _rows_of(self.candidates, [self.rows[id] for id in ids if id in self.rows])


def scaled(scores: Sequence[float]) -> list[float]:
    """To [0, 1]; all 1 where they are equal."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def joined(parts: Sequence[retrieval_pb2.Candidates]) -> retrieval_pb2.Candidates:
    """Items of one model version, each once, at most _MOST_ITEMS: what is left out is shown again some time."""
    parts = [part for part in parts if part.ids]
    if not parts:
        return retrieval_pb2.Candidates()
    whole = retrieval_pb2.Candidates()
    for name in _OF_ITEM:
        getattr(whole, name).extend(value for part in parts for value in getattr(part, name))
    vectors = np.concatenate([vectors_from_proto(part.vectors, "vectors") for part in parts])
    whole.vectors.CopyFrom(vectors_to_proto(vectors.astype(np.float16), parts[0].vectors.model_version))
    return _rows_of(whole, list({id: row for row, id in enumerate(whole.ids)}.values())[:_MOST_ITEMS])


def _rows_of(candidates: retrieval_pb2.Candidates, rows: Sequence[int]) -> retrieval_pb2.Candidates:
    """Bytes are cut, not read: this is done while someone waits."""
    values = candidates.vectors.values
    width = len(values.data) // max(1, len(candidates.ids))
    data = b"".join(values.data[row * width : (row + 1) * width] for row in rows)
    chosen = retrieval_pb2.Candidates(
        vectors=common_pb2.Vectors(
            values=common_pb2.Tensor(dtype=values.dtype, shape=[len(rows), *values.shape[1:]], data=data),
            model_version=candidates.vectors.model_version,
        )
    )
    for name in _OF_ITEM:
        column = getattr(candidates, name)
        getattr(chosen, name).extend(column[row] for row in rows)
    return chosen
