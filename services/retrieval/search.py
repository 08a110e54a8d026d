"""From a query to an answer over the index: legs that fail, preferred filters, facets and sorts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import structlog

from services.common.errors import KairosError
from services.retrieval.domain.candidates import (
    Candidates,
    Degradation,
    DegradationReason,
    Retrieval,
    answers,
    boosted,
    facet_of_candidates,
)
from services.retrieval.domain.query import ATTRIBUTE_FACET, RetrievalQuery
from services.retrieval.ports import Columns, Narrowing, ProductIndex, Search

_log = structlog.get_logger("kairos.retrieval")


def retrieve(index: ProductIndex, tenant: str, query: RetrievalQuery) -> Retrieval:
    """Raises InvalidArgument for a bad query, and what the index raises when no half of it answers."""
    query.check()
    index = index.pinned(tenant)
    columns = Columns(
        vectors=query.with_vectors, attributes=any(facet.startswith(ATTRIBUTE_FACET) for facet in query.facets)
    )
    model_version = index.model_version(tenant)
    query = _without_zero_vectors(_in_terms_of(query, model_version))
    if query.is_browse:
        return _browse(index, tenant, query, columns, model_version)
    query, degradations = _with_similar_product(index, tenant, query)
    query, more = _with_comparable_vectors(query, model_version)
    degradations += more
    query, more = _with_a_comparable_picture(query, index.image_model_version(tenant))
    degradations += more
    (candidates, found, more), applied = _with_its_wish(index, tenant, query, columns)
    facets = tuple(facet_of_candidates(candidates, facet) for facet in query.facets)
    ordered = candidates.sorted_by(query.sort)
    return Retrieval(ordered, facets, found, applied, (*degradations, *more), model_version)


def _with_its_wish(
    index: ProductIndex, tenant: str, query: RetrievalQuery, columns: Columns
) -> tuple[tuple[Candidates, int, list[Degradation]], bool]:
    """(what `_search` found, whether the preferred filter narrowed it): it lifts where it would leave too little."""
    if query.soft_filter.is_empty:
        return _search(index, tenant, query, columns, preferred=False), False
    wished = _search(index, tenant, query, columns, preferred=True)
    page = min(query.soft_filter_minimum, query.limit)
    # A price is a limit: what lies beyond is no answer, however near.
    if query.soft_filter.is_only_price and len(wished[0]) >= page:
        return wished, True
    candidates, found, degradations = _search(index, tenant, query, columns, preferred=False)
    # Of a brand or a colour only what is near the query is an answer.
    near = wished[0].ids if query.soft_filter.is_only_price else answers(wished[0], candidates, page)
    if len(near) >= page:
        return wished, True
    return (boosted(candidates, near), found, degradations), False


def _browse(index: ProductIndex, tenant: str, query: RetrievalQuery, columns: Columns, model_version: str) -> Retrieval:
    narrowing = Narrowing((query.filter,), query.excluded_ids)
    applied = not query.soft_filter.is_empty
    if applied:
        preferred = Narrowing((query.filter, query.soft_filter), query.excluded_ids)
        applied = index.count(tenant, preferred) >= min(query.soft_filter_minimum, query.limit)
        narrowing = preferred if applied else narrowing
    return Retrieval(
        index.browse(tenant, narrowing, query.sort, query.limit, columns),
        tuple(index.facet(tenant, facet, narrowing) for facet in query.facets),
        index.count(tenant, narrowing),
        applied,
        (),
        model_version,
    )


def _in_terms_of(query: RetrievalQuery, model_version: str) -> RetrievalQuery:
    """With the vectors that are of this model version, where there are some."""
    if model_version == query.model_version:
        return query
    fitting = (vectors for vectors, version in query.other_vectors if version == model_version)
    return next((replace(query, vectors=vectors, model_version=model_version) for vectors in fitting), query)


def _without_zero_vectors(query: RetrievalQuery) -> RetrievalQuery:
    """A row of zeros stands for no vector."""
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


def _with_comparable_vectors(query: RetrievalQuery, model_version: str) -> tuple[RetrievalQuery, list[Degradation]]:
    """Without vectors of another model version than the collection's, which are never compared."""
    if query.vectors is None or model_version in ("", query.model_version):
        return query, []
    degradation = Degradation(
        DegradationReason.MODEL_VERSION_MISMATCH,
        "lexical retrieval" if query.text else "no candidates",
        f"the query vector is of {query.model_version!r}, the collection of {model_version!r}",
    )
    return replace(query, vectors=None, weights=()), [degradation]


def _with_a_comparable_picture(query: RetrievalQuery, model_version: str) -> tuple[RetrievalQuery, list[Degradation]]:
    """Without a picture of another model version than the collection's pictures."""
    if query.image is None or model_version in ("", query.image_model_version):
        return query, []
    degradation = Degradation(
        DegradationReason.MODEL_VERSION_MISMATCH,
        "no candidates" if query.is_only_a_picture else "retrieval without the picture",
        f"the picture's vector is of {query.image_model_version!r}, the collection's are of {model_version!r}",
    )
    return replace(query, image=None), [degradation]


def _with_similar_product(
    index: ProductIndex, tenant: str, query: RetrievalQuery
) -> tuple[RetrievalQuery, list[Degradation]]:
    """With the vectors of the product that others shall look like, and without itself. Raises NotFound."""
    if not query.similar_to_id:
        return query, []
    query = replace(query, excluded_ids=(*query.excluded_ids, query.similar_to_id))
    image = index.vector(tenant, query.similar_to_id, image=True)
    if image is not None:
        version = index.image_model_version(tenant)
        return replace(query, image=image.reshape(1, -1), image_model_version=version), []
    text = index.vector(tenant, query.similar_to_id, image=False) if query.vectors is None else None
    if text is not None:
        version = index.model_version(tenant)
        query = replace(query, vectors=text.reshape(1, -1), weights=(1.0,), model_version=version)
    fallback = "similar text" if text is not None else "retrieval without the picture"
    detail = f"product {query.similar_to_id!r} has no picture"
    return query, [Degradation(DegradationReason.NO_PICTURE, fallback, detail)]


def _search(
    index: ProductIndex, tenant: str, query: RetrievalQuery, columns: Columns, *, preferred: bool
) -> tuple[Candidates, int, list[Degradation]]:
    """(candidates, how many were found, what was given up): a half that fails leaves the answer to the other."""
    filters = (query.filter, query.soft_filter) if preferred else (query.filter,)
    everything = Search(
        query.text.strip(),
        query.vectors,
        query.weights,
        Narrowing(filters, query.excluded_ids),
        query.limit,
        columns,
        None if query.image is None else query.image[0],
    )
    failures: list[Exception] = []
    for attempt, fallback in _attempts(everything):
        try:
            candidates, found = index.search(tenant, attempt)
        except KairosError:
            raise
        except Exception as error:
            # Which half it was shows in what works without it; the engine's errors do not say.
            _log.warning("retrieval failed", fallback=fallback, exc_info=error)
            failures.append(error)
            continue
        given_up = [Degradation(DegradationReason.ERROR, fallback, str(failures[0]))] if failures else []
        return candidates, found, given_up
    if failures:
        raise failures[-1]
    return Candidates.none(), 0, []


def _attempts(everything: Search) -> Iterator[tuple[Search, str]]:
    """What to try, in turn, and what an answer of it is called: all legs, without the picture, each by itself."""
    words, dense, image = bool(everything.text), everything.vectors is not None, everything.image is not None
    if not (words or dense or image):
        return
    yield everything, ""
    if words + dense + image == 1:
        return
    if words and dense and image:
        yield replace(everything, image=None), "retrieval without the picture"
    if words:
        yield replace(everything, vectors=None, weights=(), image=None), "lexical retrieval"
    if dense:
        yield replace(everything, text="", image=None), "dense retrieval"
    if image:
        yield replace(everything, text="", vectors=None, weights=()), "picture retrieval"


def lookup(index: ProductIndex, tenant: str, ids: Sequence[str], columns: Columns) -> tuple[Candidates, list[str]]:
    """The products found, in order, and the ids that nobody knows. Each id once."""
    asked = list(dict.fromkeys(ids))
    candidates = index.lookup(tenant, asked, columns)
    present = set(candidates.ids)
    return candidates, [product_id for product_id in asked if product_id not in present]
