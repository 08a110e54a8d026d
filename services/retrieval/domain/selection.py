"""What a query may find of the catalogue: decided before its legs run, and counted exactly.

The soft filter is strict if enough products that contain all other words of the query meet it; else the products that
meet it are boosted. Enough is decided without the filter of the request, so that choosing a facet's value does not
change it. If too few products contain the words, the scores of what the legs find decide (soft_filter.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from services.common.filters import SortOrder
from services.retrieval.domain.asked_type import ContentWord, TypedRows
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.conditions import Conditions
from services.retrieval.domain.catalogue.effective import CURRENCIES, EffectiveOffers
from services.retrieval.domain.catalogue.growing import BoolArray, RowArray
from services.retrieval.domain.catalogue.matching import Alternative, Group, Matches, MatchLevel
from services.retrieval.domain.catalogue.number_map import NOWHERE
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import KeyArray, LegHits, ScoredKeys
from services.retrieval.domain.query import RetrievalQuery

# Of each group so many variants are candidates: the ranker chooses among them.
_VARIANTS = 4
# Up to so many products the engine gets their keys (1 ms for 2,000); of more it finds more than are needed, and the
# others are dropped.
_MOST_KEYS = 2_000
# A leg is asked for at most so many times its depth. If that is too little for the share of products that meet the
# filter, the engine gets up to _MANY_KEYS keys.
_MOST_DEPTH_FACTOR = 16.0
_MANY_KEYS = 20_000


class SoftFilterUse(Enum):
    """`UNDECIDED`: by the scores of what the legs find."""

    NONE = "none"
    STRICT = "strict"
    BOOST = "boost"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Words:
    """A content word, and as numbers its alternatives, of which a product must contain one whole."""

    alternatives: Sequence[Alternative]
    is_condition: bool = False
    text: str = ""


@dataclass(frozen=True)
class WordConditions:
    """`excluded`: (the words of something, as numbers, in each way to write it; the numbers that state the absence of
    one) of each thing that products shall not have. `phrases`: the words of each phrase.
    """

    excluded: Sequence[tuple[Group, Alternative]] = ()
    phrases: Sequence[Alternative] = ()

    def rows(self, view: CatalogueView) -> tuple[BoolArray | None, BoolArray | None]:
        """(the rows that have what is excluded, the rows that have the words of all phrases); None without any."""
        without = with_words = None
        if self.excluded:
            stating = [view.containing([(word,) for word in absent]) for _, absent in self.excluded]
            having = [view.named_by(words) for words, _ in self.excluded]
            without = np.logical_or.reduce([has & ~states for has, states in zip(having, stating, strict=True)])
        if self.phrases:
            with_words = np.logical_and.reduce([view.containing([words]) for words in self.phrases])
        return without, with_words


@dataclass(frozen=True)
class Reach:
    """What the legs may find: only `keys`, or everything up to `depth_factor` times the usual depth."""

    keys: KeyArray | None = None
    depth_factor: float = 1.0


@dataclass(frozen=True)
class Selection:
    """`conditions`: of the filter, and of the soft filter if it is strict. `soft`: rows that meet the soft filter.

    The arrays have an element for each row of `view`.
    """

    view: CatalogueView
    offers: EffectiveOffers
    words: Sequence[Words]
    identified: RowArray
    conditions: Conditions
    matches: Matches
    soft_use: SoftFilterUse
    soft: BoolArray
    excluded: KeyArray
    # The rows that have what the query excludes, and those that have the words of its phrases. None: without a meaning.
    without: BoolArray | None = None
    with_words: BoolArray | None = None
    attribute_names: Sequence[str] = ()
    typed: TypedRows | None = None

    @classmethod
    def of(
        cls,
        view: CatalogueView,
        offers: EffectiveOffers,
        query: RetrievalQuery,
        words: Sequence[Words],
        excluded: KeyArray,
        numbers_of: Callable[[str], Alternative],
        word_conditions: WordConditions | None = None,
    ) -> Selection:
        without, with_words = (word_conditions or WordConditions()).rows(view)
        identified = view.identified_by(query.identifier_text)
        filters, soft, use = [query.filter], np.ones(0, np.bool_), SoftFilterUse.NONE
        if not query.soft_filter.is_empty:
            use, soft = _soft_use(view, offers, query, words, without)
            if use is SoftFilterUse.STRICT:
                filters.append(query.soft_filter)
        conditions = view.conditions(filters, offers, excluded)
        matches = view.matches(_groups(words), conditions, identified=identified, without=without)
        identified = identified[conditions.mask()[identified]]
        typed = None
        if not query.asked_type.is_empty and query.sort is SortOrder.RELEVANCE:
            content = [ContentWord(word.text, view.containing(word.alternatives), word.alternatives) for word in words]
            typed = TypedRows.of(view, query.asked_type, content, numbers_of)
        return cls(
            view, offers, words, identified, conditions, matches, use, soft, excluded, without, with_words,
            query.attribute_names, typed,
        )  # fmt: skip

    @property
    def has_matches(self) -> bool:
        """Whether a product has any of the words, or the query as its identifier."""
        return self.matches.level is not MatchLevel.CANDIDATES

    def with_candidates(self, keys: KeyArray) -> Selection:
        """The candidates are what the query matches, if no product has any of its words."""
        if self.has_matches:
            return self
        groups, identified = _groups(self.words), self.identified
        matches = self.view.matches(
            groups, self.conditions, identified=identified, candidates=keys, without=self.without
        )
        return replace(self, matches=matches)

    def with_soft_filter(self, query: RetrievalQuery) -> Selection:
        """As if the soft filter had been strict from the beginning."""
        conditions = self.view.conditions([query.filter, query.soft_filter], self.offers, self.excluded)
        groups, identified = _groups(self.words), self.identified
        matches = self.view.matches(groups, conditions, identified=identified, without=self.without)
        return replace(self, conditions=conditions, matches=matches, soft_use=SoftFilterUse.STRICT)

    def reach(self, also: BoolArray | None = None) -> Reach:
        """`also`: a further condition on rows."""
        mask = self.conditions.mask()
        mask = mask if also is None else mask & also
        count, products = int(np.count_nonzero(mask)), int(np.count_nonzero(self.view.alive))
        if count == products:
            return Reach()
        if count <= _MOST_KEYS or (products > _MOST_DEPTH_FACTOR * count and count <= _MANY_KEYS):
            return Reach(self.view.keys[mask])
        return Reach(depth_factor=min(products / count, _MOST_DEPTH_FACTOR))

    def kept(self, hits: LegHits, depth: int, also: BoolArray | None = None) -> LegHits:
        """Of what a leg found, the best `depth` that meet the conditions."""
        if also is None and not self.conditions.fields:
            # What the engine found exists: a product that is removed meanwhile is left out when it is read.
            return replace(hits, keys=hits.keys[:depth], scores=hits.scores[:depth])
        mask = self.conditions.mask()
        rows = self._rows_of(hits.keys)
        known = (rows >= 0) & (rows < len(mask))
        meets = known & mask[np.where(known, rows, 0)]
        if also is not None:
            meets &= also[np.where(known, rows, 0)]
        places = np.flatnonzero(meets)[:depth]
        return replace(hits, keys=hits.keys[places], scores=hits.scores[places])

    def is_soft(self, keys: KeyArray) -> BoolArray:
        """[keys]: whether they meet the soft filter."""
        rows = self._rows_of(keys)
        # A product that was written again meanwhile has no row here.
        meets: BoolArray = self.soft[rows] & (rows != NOWHERE)
        return meets

    def typed_first(self, scored: ScoredKeys) -> ScoredKeys:
        """The products of the type that is asked for are raised."""
        return scored if self.typed is None else self.typed.first(scored, self.conditions.mask())

    def with_identified(self, scored: ScoredKeys, limit: int) -> ScoredKeys:
        """The products that the query identifies come first, also those that no leg found."""
        if not len(self.identified):
            return scored
        keys = self.view.keys[self.identified]
        new = keys[~np.isin(keys, scored.keys)]
        nothing = np.zeros(len(new), np.float32)
        first = scored.scores.max(initial=0.0) + np.float32(1)
        is_named = np.concatenate([np.ones(len(new), np.bool_), np.isin(scored.keys, keys)])
        joined = ScoredKeys(
            np.concatenate([new, scored.keys]),
            np.concatenate([nothing, scored.scores]) + is_named * first,
            np.concatenate([nothing, scored.dense_scores]),
            np.concatenate([nothing, scored.lexical_scores]),
            np.concatenate([nothing, scored.image_scores]),
            scored.found + len(new),
        )
        return joined.take(np.argsort(-joined.scores, kind="stable")[:limit])

    def in_tiers(self, scored: ScoredKeys) -> ScoredKeys:
        """What lacks words of a phrase follows the others, and what has something excluded follows all of them."""
        tiers = self.tiers(scored.keys)
        return scored if tiers is None else scored.take(np.argsort(tiers, kind="stable"))

    def tiers(self, keys: KeyArray, with_phrases: BoolArray | None = None) -> npt.NDArray[np.int64] | None:
        """[keys]: see retrieval.proto; None if all are of one tier. `with_phrases`: which of them have the phrases."""
        if self.without is None and self.with_words is None:
            return None
        rows = self._rows_of(keys)
        is_known = (rows >= 0) & (rows < len(self.view))
        at, tiers = np.where(is_known, rows, 0), np.zeros(len(keys), np.int64)
        if self.with_words is not None:
            tiers += ~(self.with_words[at] if with_phrases is None else with_phrases)
        if self.without is not None:
            tiers += 2 * (self.without[at] & is_known)
        # The query names them.
        tiers[np.isin(at, self.identified)] = 0
        return tiers

    def in_tiers_with_phrases(
        self, candidates: Candidates, has_phrases: Callable[[Sequence[bytes]], BoolArray]
    ) -> Candidates:
        """Candidates in their final tiers. `has_phrases` of serialised products that have the words of all phrases."""
        tiers = self.tiers(candidates.keys)
        if tiers is None:
            return candidates
        if self.with_words is not None:
            with_phrases = np.zeros(len(candidates), np.bool_)
            rows = np.flatnonzero(tiers % 2 == 0)
            with_phrases[rows] = has_phrases([candidates.products[row] for row in rows])
            with_all = self.tiers(candidates.keys, with_phrases)
            tiers = tiers if with_all is None else with_all
        return replace(candidates, tiers=tiers).take(np.argsort(tiers, kind="stable"))

    def few_of_each_group(self, scored: ScoredKeys, limit: int) -> ScoredKeys:
        """The best `limit`, at most _VARIANTS of a group."""
        if not self.view.has_variants:
            return scored.first(limit)
        groups = self.view.groups(self._rows_of(scored.keys))
        order = np.argsort(groups, kind="stable")
        firsts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        place_in_group = np.empty(len(groups), np.intp)
        place_in_group[order] = np.arange(len(groups)) - np.repeat(firsts, np.diff(firsts, append=len(groups)))
        return scored.take(np.flatnonzero(place_in_group < _VARIANTS)[:limit])

    def described(self, candidates: Candidates) -> Candidates:
        """With the columns that depend on the offers and the query."""
        return described(
            self.view, self.offers, candidates, self.attribute_names, self.words, self.identified, self.soft
        )

    def _rows_of(self, keys: KeyArray) -> RowArray:
        return self.view.rows_of(keys)


def described(
    view: CatalogueView,
    offers: EffectiveOffers,
    candidates: Candidates,
    attribute_names: Sequence[str] = (),
    words: Sequence[Words] = (),
    identified: RowArray | None = None,
    soft: BoolArray | None = None,
) -> Candidates:
    """`candidates` with effective prices, stock and these attributes; without those that were removed meanwhile."""
    rows = view.rows_of(candidates.keys)
    present = (rows >= 0) & (rows < len(offers))
    if not present.all():
        candidates, rows = candidates.take(np.flatnonzero(present)), rows[present]
    counts = None
    if words and view.has_variants:
        # The ranker compares variants by them.
        counts = np.zeros(len(rows), np.int64)
        for group in words:
            counts += view.containing(group.alternatives)[rows]
        if soft is not None and len(soft):
            counts += soft[rows]
    codes = offers.currencies[rows].tolist()
    prices = offers.prices[rows]
    return replace(
        candidates,
        prices=prices,
        currencies=[
            CURRENCIES[code] if price == price else "" for code, price in zip(codes, prices.tolist(), strict=True)
        ],
        list_prices=offers.list_prices[rows],
        stocks=np.where(offers.in_stock[rows], offers.stocks[rows], 0),
        variant_counts=view.variant_counts(rows),
        identifier_matches=np.isin(rows, identified) if identified is not None and len(identified) else None,
        match_counts=counts,
        attributes=view.attributes(rows, attribute_names),
    )


def _groups(words: Sequence[Words]) -> list[Group]:
    return [group.alternatives for group in words]


def _soft_use(
    view: CatalogueView,
    offers: EffectiveOffers,
    query: RetrievalQuery,
    words: Sequence[Words],
    without: BoolArray | None,
) -> tuple[SoftFilterUse, BoolArray]:
    """(how the soft filter is used, the rows that meet it)."""
    soft = view.conditions([query.soft_filter], offers)
    mask, needed = soft.mask(), min(query.soft_filter_minimum, query.limit)
    within = view.conditions([query.filter, query.soft_filter], offers)
    if not within.mask().any():
        return SoftFilterUse.BOOST, mask
    named = _groups([group for group in words if not group.is_condition])
    if query.soft_filter.is_only_price or (words and not named):
        # A price is a limit: all products within it are answers.
        return _strict_if(np.count_nonzero(mask) >= needed), mask
    if view.matches(named, view.conditions([], offers), without=without).level is not MatchLevel.ALL_WORDS:
        return SoftFilterUse.UNDECIDED, mask
    meeting = view.matches(named, soft, without=without)
    enough = meeting.level is MatchLevel.ALL_WORDS and len(meeting.found) >= needed
    is_there = enough and view.matches(named, within, without=without).level is MatchLevel.ALL_WORDS
    return _strict_if(is_there), mask


def _strict_if(holds: bool | np.bool_) -> SoftFilterUse:
    return SoftFilterUse.STRICT if holds else SoftFilterUse.BOOST
