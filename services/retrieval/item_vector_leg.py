"""A query by the vector of a person, or by products whose mean takes its place."""

from __future__ import annotations

from dataclasses import replace

from services.common.errors import InvalidArgument
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.domain.retrieval import Degradation, DegradationReason
from services.retrieval.ports import ProductIndex


def with_shopper_vector(
    index: ProductIndex, tenant: str, query: RetrievalQuery
) -> tuple[RetrievalQuery, list[Degradation]]:
    """With a vector that the collection can compare, or without one.

    Raises InvalidArgument for a vector of another length than the item vectors of its version.
    """
    dimensions = index.item_dimensions(tenant, query.shopper_version)
    if not dimensions:
        return replace(query, shopper=None), [no_item_vectors(query.shopper_version)]
    if query.shopper is not None:
        if query.shopper.shape[1] != dimensions:
            raise InvalidArgument.of(
                "shopper_vector.values.shape",
                f"has {query.shopper.shape[1]} columns; item vectors of {query.shopper_version!r} have {dimensions}",
            )
        return query, []
    found = index.item_vectors_of(tenant, query.shopper_version, query.shopper_like_ids)
    mean = found.mean(axis=0, keepdims=True) if len(found) else None
    excluded = tuple(dict.fromkeys((*query.excluded_ids, *query.shopper_like_ids)))
    return replace(query, shopper=mean, excluded_ids=excluded), []


def no_item_vectors(model_version: str) -> Degradation:
    return Degradation(
        DegradationReason.MODEL_VERSION_MISMATCH,
        "no candidates",
        f"the collection has no complete item vectors of {model_version!r}",
    )
