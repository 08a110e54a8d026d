"""Retrieval over the index: all legs in one batch, fusion, the soft filter, then one read of the payload.

One batch and not a call for each leg: Edge holds the GIL during a query, so that legs cannot run at the same time, and
a server runs the queries of a batch in parallel itself. Legs are therefore not late one by one. What would not fit into
the time that a request has left is skipped before it begins, and the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import structlog

from services.common.errors import InvalidArgument, KairosError
from services.common.facets import ATTRIBUTE_FACET
from services.common.filters import ProductFilter
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.comparable_vectors import (
    in_terms_of,
    with_similar_product,
    without_other_models,
    without_zero_vectors,
)
from services.retrieval.domain.cursor import Cursor
from services.retrieval.domain.facets import Facet, facet_of_candidates
from services.retrieval.domain.fusion import Details, Fusion
from services.retrieval.domain.learned_fusion import FEATURES, LearnedFusion, candidate_features
from services.retrieval.domain.legs import Leg, LegHits, Source, attempts, cheapest, legs_of
from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.domain.retrieval import Degradation, DegradationReason, Retrieval
from services.retrieval.domain.soft_filter import apply_soft_filter
from services.retrieval.domain.step_times import Step, StepTimes
from services.retrieval.ports import Browse, Columns, Found, Narrowing, ProductIndex

# Below this depth the scale of a leg's scores would be that of its best few only.
_MIN_DEPTH = 200

_log = structlog.get_logger("kairos.retrieval")
# Gives the seconds that a request has left.
TimeLeft = Callable[[], float]


def _no_limit() -> float:
    return math.inf


@dataclass(frozen=True)
class _Result:
    candidates: Candidates
    found: int
    soft_filter_applied: bool


class Retriever:
    """Answers retrieval queries. `learned` takes the place of `fixed` if a search has one query vector and words."""

    def __init__(
        self, index: ProductIndex, fixed: Fusion, learned: LearnedFusion | None = None, times: StepTimes | None = None
    ) -> None:
        self.index = index
        self._fixed = fixed
        self._learned = learned
        self._times = times or StepTimes()

    def retrieve(self, tenant: str, query: RetrievalQuery, time_left: TimeLeft = _no_limit) -> Retrieval:
        """Raises InvalidArgument for a bad query, and what the index raises if no leg of the search answers.

        If `time_left` gives too little, a search does without, in this order: the soft filter, all legs but one, the
        learned fusion, facets. A degradation names each.
        """
        query.check()
        index = self.index.pinned(tenant)
        model_version = index.model_version(tenant)
        query = without_zero_vectors(in_terms_of(query, model_version))
        if query.is_browse:
            return _browse(index, tenant, query, model_version)
        if query.cursor is not None:
            raise InvalidArgument.of("page_token", "is set together with a query; only browsing has pages")
        image_model_version = index.image_model_version(tenant)
        degradations: list[Degradation] = []
        if query.similar_to_id:
            text, image = index.vectors(tenant, query.similar_to_id)
            query, degradations = with_similar_product(query, text, image, (model_version, image_model_version))
        query, more = without_other_models(query, model_version, image_model_version)
        pace = _Pace(self._times, time_left, [*degradations, *more])
        result = self._search(index, tenant, query, pace)
        facets = self._facets(query, result.candidates, pace)
        return Retrieval(
            result.candidates.sorted_by(query.sort),
            facets,
            result.found,
            result.soft_filter_applied,
            tuple(pace.degradations),
            model_version,
        )

    def fusion_features(self, tenant: str, query: RetrievalQuery) -> tuple[list[str], FloatArray]:
        """(ids [n], features [n, FEATURES]) of what the legs find: the examples of a learned fusion.

        Empty unless the query has one vector and words. The model version of the vector is not checked.
        """
        index = self.index.pinned(tenant)
        found = index.find(tenant, legs_of(query), [_narrowings(query)[0]], _depth(query))
        (hits,) = found.hits
        if not _is_learnable(hits):
            return [], np.zeros((0, len(FEATURES)), np.float32)
        details = _details(index, tenant, query, found, Columns(products=False))
        seen = candidate_features(hits, details)
        _, rows = details.candidates.rows_of(seen.keys)
        return [details.candidates.ids[row] for row in rows], seen.features

    def _search(self, index: ProductIndex, tenant: str, query: RetrievalQuery, pace: _Pace) -> _Result:
        """All legs at once. If that fails, fewer of them, so that a leg that fails does not fail the search."""
        failures: list[Exception] = []
        query, fitting = _that_fit(query, pace)
        for legs, fallback in attempts(fitting):
            try:
                result = self._attempt(index, tenant, query, legs, pace)
            except KairosError:
                raise
            except Exception as error:
                # The engine's errors do not name the leg; the set of legs that answers shows it.
                _log.warning("retrieval failed", fallback=fallback, exc_info=error)
                failures.append(error)
                continue
            if failures:
                pace.degradations.append(Degradation(DegradationReason.ERROR, fallback, str(failures[0])))
            return result
        if failures:
            raise failures[-1]
        return _Result(Candidates.none(), 0, False)

    def _attempt(
        self, index: ProductIndex, tenant: str, query: RetrievalQuery, legs: Sequence[Leg], pace: _Pace
    ) -> _Result:
        columns, narrowings = _columns(query), _narrowings(query)
        # Reading the vectors of the product `similar_to_id` was the first round trip: the payload comes with the hits.
        inline = columns if query.similar_to_id else None
        with self._times.measured(Step.QUERY, len(legs) * len(narrowings)):
            found = index.find(tenant, legs, narrowings, _depth(query), inline)
        fusion = self._fusion(query, found.hits[0], pace)
        with self._times.measured(Step.LEARNED_FUSION) if fusion.needs_details else nullcontext():
            details = _details(index, tenant, query, found, columns) if fusion.needs_details else None
            scored = [fusion.fuse(hits, details, query.limit) for hits in found.hits]
        best, applied = scored[0], False
        if len(scored) > 1:
            needed = min(query.soft_filter_minimum, query.limit)
            best, applied = apply_soft_filter(
                scored[1], scored[0], needed, is_only_price=query.soft_filter.is_only_price
            )
        read = details.candidates if details is not None else found.candidates
        if read is None:
            with self._times.measured(Step.READ):
                read = index.fetch(tenant, best.keys, columns)
        candidates = read.scored(best, with_image=any(leg.source is Source.IMAGE for leg in legs))
        return _Result(candidates if columns.vectors else replace(candidates, vectors=None), best.found, applied)

    def _fusion(self, query: RetrievalQuery, hits: Sequence[LegHits], pace: _Pace) -> Fusion:
        # With similar_to_id the details would be a third round trip. The dense leg may also use the vector of a
        # product then; the network was trained with query vectors.
        if self._learned is None or not _is_learnable(hits) or query.similar_to_id:
            return self._fixed
        fits = pace.allows({Step.LEARNED_FUSION: 1}, "fusion with fixed weights")
        return self._learned if fits else self._fixed

    def _facets(self, query: RetrievalQuery, candidates: Candidates, pace: _Pace) -> tuple[Facet, ...]:
        count = len(query.facets)
        if not count or not pace.allows({Step.FACETS: count}, "results without facets"):
            return ()
        with self._times.measured(Step.FACETS, count):
            return tuple(facet_of_candidates(candidates, facet) for facet in query.facets)


@dataclass(frozen=True)
class _Pace:
    """The time that one request has left, and what was degraded so far."""

    times: StepTimes
    time_left: TimeLeft
    degradations: list[Degradation]

    def allows(self, steps: Mapping[Step, int], fallback: str) -> bool:
        """Whether there is time for these steps. If not, `fallback` becomes a degradation."""
        if self.times.fits(left_s := self.time_left(), steps):
            return True
        detail = f"{left_s * 1e3:.1f} ms are left, too few for {', '.join(step.value for step in steps)}"
        self.degradations.append(Degradation(DegradationReason.NO_BUDGET, fallback, detail))
        return False


def _that_fit(query: RetrievalQuery, pace: _Pace) -> tuple[RetrievalQuery, list[Leg]]:
    """(the query, without its soft filter if there is no time for that; its legs, or the cheapest one)."""
    legs = legs_of(query)
    filtered = {Step.QUERY: 2 * len(legs), Step.READ: 1}
    if not query.soft_filter.is_empty and not pace.allows(filtered, "retrieval without the soft filter"):
        query = replace(query, soft_filter=ProductFilter())
    if len(legs) > 1:
        leg, fallback = cheapest(legs)
        if not pace.allows({Step.QUERY: len(legs), Step.READ: 1}, fallback):
            legs = [leg]
    return query, legs


def lookup(index: ProductIndex, tenant: str, ids: Sequence[str], columns: Columns) -> tuple[Candidates, list[str]]:
    """(the products found, in order; the unknown ids). Each id once."""
    asked = list(dict.fromkeys(ids))
    candidates = index.lookup(tenant, asked, columns)
    present = set(candidates.ids)
    return candidates, [product_id for product_id in asked if product_id not in present]


def _browse(index: ProductIndex, tenant: str, query: RetrievalQuery, model_version: str) -> Retrieval:
    plain, *preferred = _narrowings(query)
    applied_before = bool(preferred) and query.cursor is not None and query.cursor.soft_filter_applied
    if preferred and query.cursor is not None:
        # The first page has decided for all pages.
        plain, preferred = (preferred[0] if applied_before else plain), []
    page = index.browse(
        tenant,
        Browse(
            narrowing=plain,
            preferred=preferred[0] if preferred else None,
            preferred_minimum=min(query.soft_filter_minimum, query.limit),
            sort=query.sort,
            after=None if query.cursor is None else query.cursor.position,
            limit=query.limit,
            columns=_columns(query),
            facets=query.facets,
        ),
    )
    applied = page.is_preferred or applied_before
    following = None if page.next is None else Cursor(query.sort, page.next, applied)
    return Retrieval(page.candidates, page.facets, page.total, applied, (), model_version, following)


def _narrowings(query: RetrievalQuery) -> list[Narrowing]:
    """By the filter, and if there is a soft filter, by both."""
    plain = Narrowing((query.filter,), query.excluded_ids)
    if query.soft_filter.is_empty:
        return [plain]
    return [plain, Narrowing((query.filter, query.soft_filter), query.excluded_ids)]


def _columns(query: RetrievalQuery) -> Columns:
    return Columns(
        vectors=query.with_vectors, attributes=any(facet.startswith(ATTRIBUTE_FACET) for facet in query.facets)
    )


def _depth(query: RetrievalQuery) -> int:
    return max(query.limit, _MIN_DEPTH)


def _is_learnable(hits: Sequence[LegHits]) -> bool:
    return tuple(found.leg.source for found in hits) == LearnedFusion.sources


def _details(index: ProductIndex, tenant: str, query: RetrievalQuery, found: Found, columns: Columns) -> Details:
    """Of all products that the dense leg or the lexical leg found."""
    dense = np.unique(np.concatenate([hits[0].keys for hits in found.hits]))
    lexical: dict[int, float] = {}
    for _, words in found.hits:
        lexical |= zip(words.keys.tolist(), words.scores.tolist(), strict=True)
    known = np.fromiter(lexical, np.uint64, len(lexical))
    candidates, scores = index.fetch_and_score(
        tenant,
        np.union1d(dense, known),
        replace(columns, vectors=True, heading_terms=True),
        query.text.strip(),
        np.setdiff1d(dense, known),
    )
    return Details(candidates, lexical | scores, found.query_terms)
