"""Retrieval over the index: what matches and its exact counts from the catalogue's columns; then all legs in one batch,
fusion, the soft filter, and one read of the payload.

One batch and not a call for each leg: Edge holds the GIL during a query, so that legs cannot run at the same time, and
a server runs the queries of a batch in parallel itself. Legs are therefore not late one by one. What would not fit into
the time that a request has left is skipped before it begins, and the answer says so.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import structlog

from services.common.errors import InvalidArgument, KairosError, NotFound
from services.common.filters import ProductFilter, SortOrder
from services.common.visibility import GENERAL, Viewing
from services.retrieval.domain.absence import absence_words, forms_of
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.domain.catalogue.effective import EffectiveOffers
from services.retrieval.domain.catalogue.growing import BoolArray, KeyArray
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.comparable_vectors import (
    in_terms_of,
    with_similar_product,
    without_other_models,
    without_zero_vectors,
)
from services.retrieval.domain.cursor import Cursor
from services.retrieval.domain.facets import Facet
from services.retrieval.domain.fusion import Details, Fusion
from services.retrieval.domain.learned_fusion import FEATURES, LearnedFusion, candidate_features
from services.retrieval.domain.legs import Leg, LegHits, ScoredKeys, Source, attempts, cheapest, legs_of, merged
from services.retrieval.domain.lexical import also_written
from services.retrieval.domain.no_good_match import no_good_match
from services.retrieval.domain.offers.context import OfferContext
from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.domain.relevance import assessed
from services.retrieval.domain.retrieval import Degradation, DegradationReason, Retrieval
from services.retrieval.domain.selection import Selection, WordConditions, Words, described
from services.retrieval.domain.spelling import with_alternatives
from services.retrieval.domain.step_times import Step, StepTimes
from services.retrieval.item_vector_leg import no_item_vectors, with_shopper_vector
from services.retrieval.ports import Columns, FaqIndex, Fusions, Narrowing, ProductIndex, Revision, ShadowVersion

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
    selection: Selection


class Retriever:
    """Answers retrieval queries. A learned fusion replaces `fixed` if a search has one query vector and words.

    If text versions are in use, and the first query vector is of the model of the staged collection, which is complete,
    that one answers the query.
    """

    def __init__(
        self,
        index: ProductIndex,
        fixed: Fusion,
        learned: Fusions | None = None,
        times: StepTimes | None = None,
        clock: Callable[[], float] = time.time,
        faq: FaqIndex | None = None,
    ) -> None:
        """`clock`: seconds since 1970, for offers that begin and end. `faq`: over the same engine."""
        self.index, self.faq = index, faq
        self._fixed = fixed
        self._learned = learned
        self._times = times or StepTimes()
        self._clock = clock

    def retrieve(self, tenant: str, query: RetrievalQuery, time_left: TimeLeft = _no_limit) -> Retrieval:
        """Raises InvalidArgument for a bad query, and what the index raises if no leg of the search answers.

        If `time_left` gives too little, a search does without, in this order: the soft filter, all legs but one, the
        learned fusion, facets. A degradation names each.
        """
        query.check()
        index = self.index.pinned(tenant, "" if query.vectors is None else query.model_version)
        catalogue, model_version = index.catalogue(tenant), index.model_version(tenant)
        if query.cursor is not None and not query.is_browse:
            raise InvalidArgument.of("page_token", "is set together with a query; only browsing has pages")
        if catalogue is None:
            if query.similar_to_id:
                index.vectors(tenant, query.similar_to_id)
            facets = tuple(Facet(field, ()) for field in query.facets)
            return Retrieval(Candidates.none(), facets, 0, False, (), model_version)
        query = without_zero_vectors(in_terms_of(query, model_version))
        if query.is_browse:
            return self._browse(index, catalogue, tenant, query, model_version)
        if query.is_of_accessories:
            return self._accessories(index, catalogue, tenant, query, model_version)
        image_model_version = index.image_model_version(tenant)
        degradations: list[Degradation] = []
        if query.is_of_shopper:
            query, degradations = with_shopper_vector(index, tenant, query)
        if query.similar_to_id:
            _require_seen(index, catalogue, query)
            text, image = index.vectors(tenant, query.similar_to_id)
            query, degradations = with_similar_product(query, text, image, (model_version, image_model_version))
        query, more = without_other_models(query, model_version, image_model_version)
        pace = _Pace(self._times, time_left, [*degradations, *more])
        with catalogue.reading(query.offers, self._clock(), query.viewing) as (view, offers):
            query = with_alternatives(query, index.words, view)
            words = _words(index, query)
            excluded = _excluded(index, query, view, offers)
            conditions = _word_conditions(index, query)
            selection = Selection.of(view, offers, query, words, excluded, index.words, conditions)
        result = self._search(index, tenant, query, selection, pace)
        if query.shopper is not None and not index.item_dimensions(tenant, query.shopper_version):
            # It was dropped meanwhile.
            pace.degradations.append(no_item_vectors(query.shopper_version))
        return self._counted(catalogue, query, result, pace, model_version)

    def fusion_features(self, tenant: str, query: RetrievalQuery) -> tuple[list[str], FloatArray]:
        """(ids [n], features [n, FEATURES]) of what the legs find: the examples of a learned fusion.

        Empty unless the query has one vector and words. The model version of the vector is not checked.
        """
        index = self.index.pinned(tenant)
        found = index.find(tenant, legs_of(query), [Narrowing()], _depth(query))
        (hits,) = found.hits
        if not _is_learnable(hits):
            return [], np.zeros((0, len(FEATURES)), np.float32)
        details = _details(index, tenant, query, hits, found.query_terms, Columns(products=False))
        seen = candidate_features(hits, details)
        _, rows = details.candidates.rows_of(seen.keys)
        return [details.candidates.ids[row] for row in rows], seen.features

    def _search(
        self, index: ProductIndex, tenant: str, query: RetrievalQuery, selection: Selection, pace: _Pace
    ) -> _Result:
        """All legs at once. If that fails, fewer of them, so that a leg that fails does not fail the search."""
        if query.sort is not SortOrder.RELEVANCE and selection.has_matches:
            return self._sorted(index, tenant, query, selection)
        failures: list[Exception] = []
        fitting, parts = _that_fit(query, selection, pace)
        for legs, fallback in attempts(fitting):
            try:
                result = self._attempt(index, tenant, query, selection, legs, parts, pace)
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
        return _Result(Candidates.none(), selection)

    def _sorted(self, index: ProductIndex, tenant: str, query: RetrievalQuery, selection: Selection) -> _Result:
        """The first of all matches in the order of the request, then those that do not meet the soft filter."""
        view, collapse = selection.view, query.is_collapsed
        rows = view.page(selection.matches, query.sort, None, query.limit, collapse=collapse).rows
        if selection.others is not None and len(rows) < query.limit:
            behind = view.page(selection.others, query.sort, None, query.limit - len(rows), collapse=collapse).rows
            rows = np.concatenate([rows, behind])
        with self._times.measured(Step.READ):
            read = index.fetch(tenant, view.keys[rows], _columns(query))
        return _Result(selection.described(read), selection)

    def _attempt(
        self,
        index: ProductIndex,
        tenant: str,
        query: RetrievalQuery,
        selection: Selection,
        legs: Sequence[Leg],
        parts: Sequence[BoolArray | None],
        pace: _Pace,
    ) -> _Result:
        columns, depth = _columns(query), _depth(query)
        reaches = [selection.reach(also) for also in parts]
        excluded = index.keys(query.excluded_ids)
        narrowings = [Narrowing(reach.keys, excluded) for reach in reaches]
        # Reading the vectors of the product `similar_to_id` was the first round trip: the payload comes with the hits.
        inline = columns if query.similar_to_id else None
        with self._times.measured(Step.QUERY, len(legs) * len(narrowings)):
            deep = int(depth * max(reach.depth_factor for reach in reaches))
            found = index.find(tenant, legs, narrowings, deep, inline)
        by_part = [
            [selection.kept(leg, depth, also) for leg in hits] for hits, also in zip(found.hits, parts, strict=True)
        ]
        hits = tuple(merged(of_leg) for of_leg in zip(*by_part, strict=True))
        fusion = self._fusion(index, tenant, query, hits, pace)
        with self._times.measured(Step.LEARNED_FUSION) if fusion.needs_details else nullcontext():
            details = _details(index, tenant, query, hits, found.query_terms, columns) if fusion.needs_details else None
            best = fusion.fuse(hits, details, depth * len(legs) * len(parts))
        selection = selection.with_soft_filter(best)
        best = selection.typed_first(selection.with_some_met(best), parts[0])
        best = selection.compatible(best, query.accessories_for)
        best = selection.in_tiers(selection.with_identified(best, query.limit))
        best = selection.few_of_each_group(best, query.limit) if query.is_collapsed else best.first(query.limit)
        read = details.candidates if details is not None and not len(selection.identified) else found.candidates
        if read is None or (inline is not None and len(selection.identified)):
            with self._times.measured(Step.READ):
                read = index.fetch(tenant, best.keys, columns)
        candidates = read.scored(best, with_image=any(leg.source is Source.IMAGE for leg in legs))
        candidates = candidates if columns.vectors else replace(candidates, vectors=None)
        candidates = selection.in_tiers_with_phrases(
            selection.described(candidates), lambda products: index.with_phrases(products, query.phrases)
        )
        return _Result(candidates, selection)

    def _counted(
        self, catalogue: Catalogue, query: RetrievalQuery, result: _Result, pace: _Pace, model_version: str
    ) -> Retrieval:
        """The answer with its total and facets."""
        candidates, selection = result.candidates, result.selection
        count = len(query.facets) + query.best_facet_count
        is_counted = not count or pace.allows({Step.FACETS: count}, "results without facets")
        with catalogue.columns.reading():
            assessment = assessed(query, selection, candidates) if query.sort is SortOrder.RELEVANCE else None
            abstention = None
            if assessment is not None:
                candidates = replace(candidates, relevances=assessment.relevances)
                abstention = no_good_match(query, selection, candidates, assessment)
            selection = selection.with_candidates(candidates.keys)
            total = selection.view.total(selection.matches, collapse=query.is_collapsed)
            facets: Sequence[Facet] = ()
            if count and is_counted:
                with self._times.measured(Step.FACETS, count):
                    facets = selection.view.facets(
                        selection.matches, query.facets, best_count=query.best_facet_count, collapse=query.is_collapsed
                    )
        return Retrieval(
            candidates if selection.has_matches else candidates.sorted_by(query.sort),
            tuple(facets),
            total,
            selection.is_soft_filter_applied,
            tuple(pace.degradations),
            model_version,
            total_accuracy=selection.matches.accuracy,
            match_level=selection.matches.level,
            product_type="" if selection.typed is None else selection.typed.name,
            also_searched=query.spelling_alternatives,
            assessment=assessment,
            no_good_match=abstention,
        )

    def _browse(
        self, index: ProductIndex, catalogue: Catalogue, tenant: str, query: RetrievalQuery, model_version: str
    ) -> Retrieval:
        cursor, collapse = query.cursor, query.is_collapsed
        with catalogue.reading(query.offers, self._clock(), query.viewing) as (view, offers):
            excluded = _excluded(index, query, view, offers)
            conditions, applied = view.conditions([query.filter], offers, excluded), False
            if not query.soft_filter.is_empty and (cursor is None or cursor.soft_filter_applied):
                # The first page has decided for all pages.
                both = view.conditions([query.filter, query.soft_filter], offers, excluded)
                applied = cursor is not None or bool(both.mask().any())
                conditions = both if applied else conditions
            matches = view.everything(conditions)
            after = None if cursor is None else cursor.position
            page = view.page(matches, query.sort, after, query.limit, collapse=collapse)
            total = view.total(matches, collapse=collapse)
            facets = view.facets(matches, query.facets, best_count=query.best_facet_count, collapse=collapse)
            keys = view.keys[page.rows]
        candidates = described(view, offers, index.fetch(tenant, keys, _columns(query)), query.attribute_names)
        following = None if page.next is None else Cursor(query.sort, page.next, applied)
        return Retrieval(
            candidates, tuple(facets), total, applied, (), model_version, following, matches.accuracy, matches.level
        )

    def _accessories(
        self, index: ProductIndex, catalogue: Catalogue, tenant: str, query: RetrievalQuery, model_version: str
    ) -> Retrieval:
        with catalogue.reading(query.offers, self._clock(), query.viewing) as (view, offers):
            conditions = view.conditions([query.filter], offers, _excluded(index, query, view, offers))
            rows = view.accessories(query.accessories_for, conditions.mask(), query.limit)
            found = ScoredKeys.in_order(view.keys[rows])
        read = index.fetch(tenant, found.keys, _columns(query)).scored(found, with_image=False)
        candidates = described(view, offers, read, query.attribute_names)
        return Retrieval(candidates, (), len(candidates), False, (), model_version)

    def _fusion(
        self, index: ProductIndex, tenant: str, query: RetrievalQuery, hits: Sequence[LegHits], pace: _Pace
    ) -> Fusion:
        # With similar_to_id the details would be a third round trip. The dense leg may also use the vector of a
        # product then; the network was trained with query vectors.
        if self._learned is None or not _is_learnable(hits) or query.similar_to_id:
            return self._fixed
        learned = self._learned.of(tenant, index.model_version(tenant))
        if learned is None:
            return self._fixed
        return learned if pace.allows({Step.LEARNED_FUSION: 1}, "fusion with fixed weights") else self._fixed

    def revision(self, tenant: str, model_version: str = "") -> Revision | None:
        """See ProductIndex.revision; also changes with the learned fusion of the collection that answers."""
        of_index = self.index.revision(tenant, model_version)
        if of_index is None or self._learned is None:
            return of_index
        return of_index, self._learned.of(tenant, self.index.pinned(tenant, model_version).model_version(tenant))

    def in_shadow(self, tenant: str) -> ShadowVersion | None:
        """The text version in shadow; None if there is none, or its collection is incomplete."""
        found = None if self._learned is None else self._learned.in_shadow(tenant)
        if found is None or self.index.pinned(tenant, found.model_version).model_version(tenant) != found.model_version:
            return None
        return found

    def close(self) -> None:
        """Closes the index and the FAQ as well."""
        if self.faq is not None:
            self.faq.close()
        if self._learned is not None:
            self._learned.close()
        self.index.close()


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


def _that_fit(query: RetrievalQuery, selection: Selection, pace: _Pace) -> tuple[list[Leg], Sequence[BoolArray | None]]:
    """As far as time allows: (the legs of the query, or the cheapest one; all parts of the catalogue, or the first)."""
    legs, parts = legs_of(query), selection.parts(query.limit)
    steps = {Step.QUERY: len(parts) * len(legs), Step.READ: 1}
    if len(parts) > 1 and not pace.allows(steps, "retrieval without the soft filter"):
        parts = parts[:1]
    if len(legs) > 1:
        leg, fallback = cheapest(legs)
        if not pace.allows({Step.QUERY: len(legs), Step.READ: 1}, fallback):
            legs = [leg]
    return legs, parts


def lookup(
    index: ProductIndex,
    tenant: str,
    ids: Sequence[str],
    columns: Columns,
    context: OfferContext,
    now_s: float,
    attribute_names: Sequence[str] = (),
    soft_filter: ProductFilter | None = None,
    viewing: Viewing = GENERAL,
) -> tuple[Candidates, list[str]]:
    """(the products found, in order, with their effective offers; the unknown ids). Each id once."""
    asked = list(dict.fromkeys(ids))
    catalogue = index.catalogue(tenant)
    if catalogue is None:
        return Candidates.none(), asked
    found = index.lookup(tenant, asked, columns)
    with catalogue.reading(context, now_s, viewing) as (view, offers):
        soft = None if soft_filter is None else view.conditions([soft_filter], offers).mask()
        candidates = described(view, offers, found, attribute_names, soft=soft)
    present = set(candidates.ids)
    return candidates, [product_id for product_id in asked if product_id not in present]


def _words(index: ProductIndex, query: RetrievalQuery) -> list[Words]:
    """The content words as numbers. A stop word is none, whatever may stand in its place."""
    own = [group.typed for group in query.content_groups]
    typed = {*own, *map("".join, itertools.permutations(own, 2))}
    words = []
    for group, behind in itertools.zip_longest(query.content_groups, query.content_groups[1:]):
        texts = (*group.alternatives, *also_written(group.typed, behind.typed if behind else ""))
        alternatives = [index.words(text) for text in texts]
        if alternatives[0]:
            written = [its for text, its in zip(texts, alternatives, strict=True) if its and text in typed]
            words.append(Words(list(filter(None, alternatives)), group.is_condition, group.typed, written))
    return words


def _excluded(index: ProductIndex, query: RetrievalQuery, view: CatalogueView, offers: EffectiveOffers) -> KeyArray:
    """The keys of the products that the request excludes, by id and by filter."""
    found = [index.keys(query.excluded_ids)]
    found.extend(view.keys[view.conditions([narrowing], offers).mask()] for narrowing in query.excluded_filters)
    return np.concatenate(found)


def _require_seen(index: ProductIndex, catalogue: Catalogue, query: RetrievalQuery) -> None:
    """Raises NotFound if moderation hides the product of `similar_to_id` from the request. An unknown one is another
    error.
    """
    with catalogue.columns.reading(query.viewing) as view:
        rows = view.rows_of(index.keys([query.similar_to_id]))
        if (rows >= 0).all() and not view.is_seen(rows).all():
            raise NotFound(f"there is no product {query.similar_to_id!r}")


def _word_conditions(index: ProductIndex, query: RetrievalQuery) -> WordConditions:
    """An exclusion or a phrase of stop words alone is none."""
    excluded = [
        (group, tuple(number for word in absence_words(text.lower()) for number in index.words(word)))
        for text in query.excluded_words
        if (group := [numbers for form in forms_of(text) if (numbers := index.words(form))])
    ]
    return WordConditions(excluded, [numbers for text in query.phrases if (numbers := index.words(text))])


def _columns(query: RetrievalQuery) -> Columns:
    return Columns(vectors=query.with_vectors)


def _depth(query: RetrievalQuery) -> int:
    # Some of what the legs find may have what is excluded.
    return max(query.limit, _MIN_DEPTH) * (2 if query.excluded_words else 1)


def _is_learnable(hits: Sequence[LegHits]) -> bool:
    return tuple(found.leg.source for found in hits) == LearnedFusion.sources


def _details(
    index: ProductIndex,
    tenant: str,
    query: RetrievalQuery,
    hits: Sequence[LegHits],
    query_terms: npt.NDArray[np.uint32],
    columns: Columns,
) -> Details:
    """Of all products that the dense leg or the lexical leg found."""
    of_vectors, words = hits
    dense = np.unique(of_vectors.keys)
    lexical: dict[int, float] = dict(zip(words.keys.tolist(), words.scores.tolist(), strict=True))
    known = np.fromiter(lexical, np.uint64, len(lexical))
    candidates, scores = index.fetch_and_score(
        tenant,
        np.union1d(dense, known),
        replace(columns, vectors=True, heading_terms=True),
        query.lexical_text,
        np.setdiff1d(dense, known),
    )
    return Details(candidates, lexical | scores, query_terms)
