"""Rows of candidate columns."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import tensor_from_proto, vectors_to_proto


def take_rows(candidates: retrieval_pb2.Candidates, rows: Sequence[int]) -> retrieval_pb2.Candidates:
    """These rows of all columns, in this order."""
    if list(rows) == list(range(len(candidates.ids))):
        return candidates
    chosen = retrieval_pb2.Candidates()
    for field, column in candidates.ListFields():
        if field.name == "vectors":
            vectors = tensor_from_proto(column.values, "vectors")[list(rows)]
            chosen.vectors.CopyFrom(vectors_to_proto(vectors, column.model_version))
        else:
            getattr(chosen, field.name).extend(column[row] for row in rows)
    return chosen


def one_of_each_group(candidates: retrieval_pb2.Candidates) -> retrieval_pb2.Candidates:
    """Of each item group its first candidate that is in stock, else its first one, at the place of its first one."""
    best: dict[str, int] = {}
    for row, group in enumerate(candidates.item_group_ids):
        kept = best.setdefault(group, row)
        if candidates.stocks[kept] == 0 and candidates.stocks[row] != 0:
            best[group] = row
    return take_rows(candidates, list(best.values())) if candidates.item_group_ids else candidates
