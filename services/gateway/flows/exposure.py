"""What moves the groups of the candidates, by the serving configuration's `exposure`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kairos.common.v1 import product_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.serving_configuration import NO_GROUP, Exposure


def score_offsets(exposure: Exposure, candidates: retrieval_pb2.Candidates) -> Sequence[float]:
    """One for each candidate; none if no candidate is moved."""
    known = exposure.by_group
    offsets = [known.get(group.strip().casefold() or NO_GROUP, 0.0) for group in _groups(exposure, candidates)]
    return offsets if any(offsets) else []


def _groups(exposure: Exposure, candidates: retrieval_pb2.Candidates) -> Iterator[str]:
    """Empty for a product without a group."""
    if not exposure.attribute:
        yield from candidates.brands or [""] * len(candidates.ids)
        return
    for body in candidates.products:
        values = product_pb2.Product.FromString(body).attributes[exposure.attribute].values
        yield values[0] if values else ""
