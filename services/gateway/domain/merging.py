"""The products of several sources as one list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.common.serving_configuration import Source

# Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009). Smaller than its 60: the lists are short.
_RANK = 20.0


class SourceList(NamedTuple):
    """What one source found, best first."""

    source: Source
    weight: float
    item_ids: Sequence[str]


class Merged(NamedTuple):
    """`sources` in the order of the lists."""

    item_id: str
    score: float
    sources: tuple[Source, ...]


def merged(lists: Sequence[SourceList]) -> list[Merged]:
    """Best first: the sum of weight / (20 + rank) over the lists that have the product; ties in the order of lists."""
    scores: dict[str, float] = {}
    sources: dict[str, list[Source]] = {}
    for source, weight, item_ids in lists:
        for rank, item_id in enumerate(dict.fromkeys(item_ids), 1):
            scores[item_id] = scores.get(item_id, 0.0) + weight / (_RANK + rank)
            sources.setdefault(item_id, []).append(source)
    order = sorted(scores, key=lambda item_id: -scores[item_id])
    return [Merged(item_id, scores[item_id], tuple(sources[item_id])) for item_id in order]


def filled(found: Sequence[Merged], fallback: SourceList) -> list[Merged]:
    """`found`, and behind it the products of the fallback that it does not have."""
    known, least = {entry.item_id for entry in found}, min((entry.score for entry in found), default=1.0)
    more = [item_id for item_id in dict.fromkeys(fallback.item_ids) if item_id not in known]
    return [*found, *(Merged(item_id, least / (rank + 1), (fallback.source,)) for rank, item_id in enumerate(more, 1))]
