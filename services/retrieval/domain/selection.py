"""What a query may find of the catalogue: decided before its legs run, and counted exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.common.filters import SortOrder
from services.common.noun_phrases import says_for
from services.common.typed_text import folded
from services.retrieval.domain.asked_type import ContentWord, TypedRows
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.conditions import Conditions
from services.retrieval.domain.catalogue.effective import CURRENCIES, EffectiveOffers
from services.retrieval.domain.catalogue.grouping import place_in_group
from services.retrieval.domain.catalogue.growing import BoolArray, RowArray
from services.retrieval.domain.catalogue.matching import (
    PAGE,
    Alternative,
    Group,
    Matches,
    MatchLevel,
    with_all,
    with_any,
)
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import KeyArray, LegHits, ScoredKeys
from services.retrieval.domain.query import ProductName, RetrievalQuery
from services.retrieval.domain.soft_filter import SoftFilter

# Of each group so many variants are candidates: the ranker chooses among them.
_VARIANTS = 4
# Up to so many products the engine gets their keys (1 ms for 2,000); of more it finds more than are needed, and the
# others are dropped.
_MOST_KEYS = 2_000
# A leg is asked for at most so many times its depth. If that is too little for the share of products that meet the
# filter, the engine gets up to _MANY_KEYS keys.
_MOST_DEPTH_FACTOR = 16.0
_MANY_KEYS = 20_000
# If so many products come first by the soft filter, no others are sought: finding these takes as long as without it.
_ENOUGH, _LOOKED_AT = 5 * PAGE, 20
# Of a tier: lacks a phrase or what was typed, has something excluded. 1: does not come first by the soft filter.
AS_ASKED_TIER, EXCLUDED_TIER = 2, 4


@dataclass(frozen=True)
class Words:
    """A content word, and as numbers its alternatives, of which a product must contain one whole.

    `written`: of these, those that are the word as it was typed, alone or joined with its neighbour. Empty: the first.
    """

    alternatives: Sequence[Alternative]
    is_condition: bool = False
    text: str = ""
    written: Sequence[Alternative] = ()

    @property
    def as_typed(self) -> Sequence[Alternative]:
        return self.written or self.alternatives[:1]


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
            without = with_any([has & ~states for has, states in zip(having, stating, strict=True)])
        if self.phrases:
            with_words = with_all([view.containing([words]) for words in self.phrases])
        return without, with_words


@dataclass(frozen=True)
class Reach:
    """What the legs may find: only `keys`, or everything up to `depth_factor` times the usual depth."""

    keys: KeyArray | None = None
    depth_factor: float = 1.0


@dataclass(frozen=True)
class Selection:
    """`conditions`: of the filter. `matches`: if products answer the query and meet the soft filter, only these.

    The arrays have an element for each row of `view`.
    """

    view: CatalogueView
    offers: EffectiveOffers
    words: Sequence[Words]
    identified: RowArray
    conditions: Conditions
    matches: Matches
    soft: SoftFilter | None = None
    # For a sorted list: what matches without the soft filter, but not with it.
    others: Matches | None = None
    # The rows that have what the query excludes, and those that have the words of its phrases. None: without a meaning.
    without: BoolArray | None = None
    with_words: BoolArray | None = None
    attribute_names: Sequence[str] = ()
    typed: TypedRows | None = None
    # The rows that have a word as it was typed. None: no spelling alternative is looked up.
    as_typed: BoolArray | None = None

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
        conditions = view.conditions([query.filter], offers, excluded)
        typed = soft = None
        has_soft_filter = not query.soft_filter.is_empty
        if not query.asked_type.is_empty and (query.sort is SortOrder.RELEVANCE or has_soft_filter):
            content = [
                ContentWord(word.text, view.containing(word.alternatives), word.alternatives)
                for word in words
                if not word.is_condition
            ]
            typed = TypedRows.of(view, query.asked_type, content, numbers_of, says_for(folded(query.text)))
        if has_soft_filter:
            both = view.conditions([query.filter, query.soft_filter], offers, excluded)
            alone = view.conditions([query.soft_filter], offers)
            soft = SoftFilter.of(view, _named(view, words, typed), alone, both, identified, without)
        met = None if soft is None else soft.matches
        if met is not None and met.found:
            matches = met
        else:
            matches = view.matches(_groups(words), conditions, identified=identified, without=without)
            matches = replace(matches, earlier=met)
        others = None
        if (
            matches is met
            and query.sort is not SortOrder.RELEVANCE
            and not _are_enough(view, matches.mask, query.limit)
        ):
            first = matches.mask
            if query.is_collapsed:
                groups = view.groups(np.arange(len(view)))
                first = np.isin(groups, groups[first])
            not_others = first if without is None else first | without
            others = view.matches(_groups(words), conditions, without=not_others)
        identified = identified[conditions.mask()[identified]]
        as_typed = None
        if meant := [numbers_of(one.meant) for one in query.spelling_alternatives]:
            as_typed = view.containing([own for word in words for own in word.alternatives if own not in meant])
        return cls(
            view, offers, words, identified, conditions, matches, soft, others, without, with_words,
            query.attribute_names, typed, as_typed,
        )  # fmt: skip

    @property
    def has_matches(self) -> bool:
        """Whether a product has any of the words, or the query as its identifier."""
        return self.matches.level is not MatchLevel.CANDIDATES

    @property
    def is_soft_filter_applied(self) -> bool:
        """Whether only products that meet it are counted."""
        return self.soft is not None and self.matches.conditions is self.soft.conditions

    def with_candidates(self, keys: KeyArray) -> Selection:
        """The candidates are what the query matches, if no product has any of its words."""
        if self.has_matches:
            return self
        conditions = self.conditions
        if self.soft is not None and self.soft.first is not None and self.soft.first.any():
            conditions, keys = self.soft.conditions, self.view.keys[self.soft.first]
        matches = self.view.matches(
            _groups(self.words), conditions, identified=self.identified, candidates=keys, without=self.without
        )
        return replace(self, matches=matches)

    def parts(self, limit: int) -> list[BoolArray | None]:
        """[rows], None for all: of each part the nearest products are found by themselves.

        Products that come first are a part of their own, so that the others do not crowd them out. If there are enough
        of them for `limit`, nothing else is found.
        """
        if self.soft is None:
            return [None]
        part = self.soft.meets if self.soft.matches is None else self.soft.matches.mask
        if self.soft.first is not None and _are_enough(self.view, part, limit):
            return [part]
        return [None, part] if part.any() else [None]

    def with_soft_filter(self, scored: ScoredKeys) -> Selection:
        """If no product has most of the words: the scores of the candidates have decided which of them come first."""
        if self.soft is None or self.soft.first is not None:
            return self
        return replace(self, soft=self.soft.by_scores(scored, self._rows_of(scored.keys)))

    def with_some_met(self, scored: ScoredKeys) -> ScoredKeys:
        """See SoftFilter."""
        return scored if self.soft is None else self.soft.with_some_met(scored, self._rows_of(scored.keys))

    def reach(self, also: BoolArray | None = None) -> Reach:
        """`also`: a further condition on rows."""
        mask = self.conditions.mask()
        mask = mask if also is None else mask & also
        count, products = int(np.count_nonzero(mask)), int(np.count_nonzero(self.view.living))
        if count == products:
            return Reach()
        if also is None and not self.conditions.fields and products <= _MOST_DEPTH_FACTOR * count:
            # Moderation hides a few: the engine finds so many more.
            return Reach(depth_factor=products / count)
        if count <= _MOST_KEYS or (products > _MOST_DEPTH_FACTOR * count and count <= _MANY_KEYS):
            return Reach(self.view.keys[mask])
        return Reach(depth_factor=min(products / count, _MOST_DEPTH_FACTOR))

    def kept(self, hits: LegHits, depth: int, also: BoolArray | None = None) -> LegHits:
        """Of what a leg found, the best `depth` that meet the conditions."""
        if also is None and not self.conditions.fields and self.view.seen is None:
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

    def typed_first(self, scored: ScoredKeys, also: BoolArray | None = None) -> ScoredKeys:
        """The products of the type that is asked for are raised, but for those of other brands than the query names.

        `also`: a condition on those that are added.
        """
        if self.typed is None:
            return scored
        allowed = self.conditions.mask()
        raised = self.typed.first(scored, allowed if also is None else allowed & also)
        if raised.type_gains is None:
            return raised
        others = self.view.names_only_others(raised.keys, [word.text for word in self.words])
        if others is None or not others.any():
            return raised
        gains = np.where(others, np.minimum(raised.type_gains, 0), raised.type_gains)
        fitting = replace(raised, scores=raised.scores - raised.type_gains + gains, type_gains=gains)
        return fitting.take(np.argsort(-fitting.scores, kind="stable"))

    def compatible(self, scored: ScoredKeys, named: Sequence[ProductName]) -> ScoredKeys:
        """Without products that are only for others than the `named`; all if none is named."""
        if not named:
            return scored
        return scored.take(np.flatnonzero(~self.view.names_another(self._rows_of(scored.keys), named)))

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
            None if scored.type_gains is None else np.concatenate([nothing, scored.type_gains]),
        )
        return joined.take(np.argsort(-joined.scores, kind="stable")[:limit])

    def in_tiers(self, scored: ScoredKeys) -> ScoredKeys:
        """By `tiers`."""
        tiers = self.tiers(scored.keys)
        return scored if tiers is None else scored.take(np.argsort(tiers, kind="stable"))

    def tiers(self, keys: KeyArray, with_phrases: BoolArray | None = None) -> npt.NDArray[np.int64] | None:
        """[keys]: see retrieval.proto; None if all are of one tier. `with_phrases`: which of them have the phrases."""
        first = None if self.soft is None else self.soft.first
        if self.without is None and self.with_words is None and self.as_typed is None and first is None:
            return None
        rows = self._rows_of(keys)
        is_known = (rows >= 0) & (rows < len(self.view))
        at, tiers, lacks = np.where(is_known, rows, 0), np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
        if first is not None:
            tiers += ~(first[at] & is_known)
        if self.with_words is not None:
            lacks |= ~(self.with_words[at] if with_phrases is None else with_phrases)
        if self.as_typed is not None:
            lacks |= ~self.as_typed[at]
        tiers += AS_ASKED_TIER * lacks
        if self.without is not None:
            tiers += EXCLUDED_TIER * (self.without[at] & is_known)
        # The query names them.
        if len(self.identified):
            tiers[np.isin(at, self.identified)] = 0
        return tiers

    def in_tiers_with_phrases(
        self, candidates: Candidates, has_phrases: Callable[[Sequence[bytes]], BoolArray]
    ) -> Candidates:
        """Candidates in their final tiers. `has_phrases` of serialised products that have the words of all phrases."""
        tiers = self.tiers(candidates.keys)
        if tiers is None:
            return candidates
        if self.with_words is None:
            # They are in this order already.
            return replace(candidates, tiers=tiers)
        with_phrases = np.zeros(len(candidates), np.bool_)
        rows = np.flatnonzero(tiers & AS_ASKED_TIER == 0)
        with_phrases[rows] = has_phrases([candidates.products[row] for row in rows])
        with_all = self.tiers(candidates.keys, with_phrases)
        tiers = tiers if with_all is None else with_all
        return replace(candidates, tiers=tiers).take(np.argsort(tiers, kind="stable"))

    def few_of_each_group(self, scored: ScoredKeys, limit: int) -> ScoredKeys:
        """The best `limit`, at most _VARIANTS of a group."""
        if not self.view.has_variants:
            return scored.first(limit)
        groups = self.view.groups(self._rows_of(scored.keys))
        return scored.take(np.flatnonzero(place_in_group(groups) < _VARIANTS)[:limit])

    def described(self, candidates: Candidates) -> Candidates:
        """With the columns that depend on the offers and the query."""
        soft = None if self.soft is None else self.soft.meets
        return described(self.view, self.offers, candidates, self.attribute_names, self.words, self.identified, soft)

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
    """`candidates` with effective prices, stock and these attributes; without those that were removed meanwhile.

    `soft`: [rows], those that meet the soft filter.
    """
    rows = view.rows_of(candidates.keys)
    present = view.is_seen(rows) & (rows < len(offers))
    if not present.all():
        candidates, rows = candidates.take(np.flatnonzero(present)), rows[present]
    counts = None
    if words and view.has_variants:
        # The ranker compares variants by them.
        counts = np.zeros(len(rows), np.int64)
        for group in words:
            counts += view.containing(group.alternatives)[rows]
        if soft is not None:
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
        lowest_prices_30_days=offers.lowest[rows],
        price_guardrails=offers.guardrails[rows],
        stocks=np.where(offers.in_stock[rows], offers.stocks[rows], 0),
        variant_counts=view.variant_counts(rows),
        identifier_matches=np.isin(rows, identified) if identified is not None and len(identified) else None,
        match_counts=counts,
        meets_soft_filter=None if soft is None else soft[rows],
        attributes=view.attributes(rows, attribute_names),
        product_types=view.types_of(rows),
        review_sentiments=view.review_sentiments(rows),
    )


def _groups(words: Sequence[Words]) -> list[Group]:
    """What a product must contain. A word that states a condition need not be contained, unless there is no other."""
    return [word.alternatives for word in words if not word.is_condition] or [word.alternatives for word in words]


def _named(view: CatalogueView, words: Sequence[Words], typed: TypedRows | None) -> list[BoolArray]:
    """For each word that states no condition the rows that contain it; a row of the type that it names does so too."""
    masks = []
    for word in words:
        if not word.is_condition:
            rows = view.containing(word.alternatives)
            masks.append(rows if typed is None else rows | typed.standing_for(word.text))
    return masks


def _are_enough(view: CatalogueView, first: BoolArray, limit: int) -> bool:
    """Whether no others are sought behind these rows. Variants count as one, as far as the first few rows show."""
    rows, enough = np.flatnonzero(first), min(limit, _ENOUGH)
    if view.has_variants and len(rows) >= enough:
        return len(np.unique(view.groups(rows[: _LOOKED_AT * enough]))) >= enough
    return len(rows) >= enough
