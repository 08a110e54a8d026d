"""A query with only those of its vectors that can be compared with the collection's: the same model, and not zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.domain.retrieval import Degradation, DegradationReason


def in_terms_of(query: RetrievalQuery, model_version: str) -> RetrievalQuery:
    """With the query vectors of this model version, if the query has some."""
    if model_version == query.model_version:
        return query
    fitting = (vectors for vectors, version in query.other_vectors if version == model_version)
    return next((replace(query, vectors=vectors, model_version=model_version) for vectors in fitting), query)


def without_zero_vectors(query: RetrievalQuery) -> RetrievalQuery:
    """A row of zeros means that there is no vector."""
    if query.image is not None and not np.any(query.image):
        query = replace(query, image=None)
    if query.vectors is None:
        return query
    usable = np.flatnonzero(np.any(query.vectors, axis=1))
    weights = query.weights or (1.0,) * len(query.vectors)
    return replace(
        query,
        vectors=query.vectors[usable] if usable.size else None,
        weights=tuple(weights[row] for row in usable),
    )


def without_other_models(
    query: RetrievalQuery, model_version: str, image_model_version: str
) -> tuple[RetrievalQuery, list[Degradation]]:
    """Without vectors of another model version than the collection's, which are never compared.

    An empty version of the collection means that it has no vectors yet.
    """
    degradations = []
    if query.vectors is not None and model_version not in ("", query.model_version):
        degradations.append(
            Degradation(
                DegradationReason.MODEL_VERSION_MISMATCH,
                "lexical retrieval" if query.text else "no candidates",
                f"the query vector is of {query.model_version!r}, the collection of {model_version!r}",
            )
        )
        query = replace(query, vectors=None, weights=())
    if query.image is not None and image_model_version not in ("", query.image_model_version):
        degradations.append(
            Degradation(
                DegradationReason.MODEL_VERSION_MISMATCH,
                "no candidates" if query.has_only_an_image else "retrieval without the picture",
                f"the picture's vector is of {query.image_model_version!r}, the collection's are of "
                f"{image_model_version!r}",
            )
        )
        query = replace(query, image=None)
    return query, degradations


def with_similar_product(
    query: RetrievalQuery, text: FloatArray | None, image: FloatArray | None, versions: tuple[str, str]
) -> tuple[RetrievalQuery, list[Degradation]]:
    """With the vectors of the product `similar_to_id`, and without that product among the candidates.

    `text` and `image` [dimensions] are that product's; `versions` are those of their models.
    """
    query = replace(query, excluded_ids=(*query.excluded_ids, query.similar_to_id))
    if image is not None:
        return replace(query, image=image.reshape(1, -1), image_model_version=versions[1]), []
    detail = f"product {query.similar_to_id!r} has no picture"
    if query.vectors is not None or text is None:
        return query, [Degradation(DegradationReason.NO_PICTURE, "retrieval without the picture", detail)]
    query = replace(query, vectors=text.reshape(1, -1), weights=(1.0,), model_version=versions[0])
    return query, [Degradation(DegradationReason.NO_PICTURE, "similar text", detail)]
