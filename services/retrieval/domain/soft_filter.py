"""The soft filter: products that answer the rest of a query and meet all conditions come first, and only they count.

The rest of a query are its content words without those that state a condition; words that no product contains decide
nothing. A product answers it if it contains all these words; one of the type that is asked for need not contain the
word that names it. Only if no such product meets the conditions, products with one word less answer, and so on down to
most of the words. All this is decided by the columns of the catalogue, so that the count of a facet's value is the
total after choosing it. If no product at all has most of the words, those with as many as any product has are counted,
and of these the ones whose scores are high enough come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.retrieval.domain.catalogue.conditions import Conditions
from services.retrieval.domain.catalogue.growing import BoolArray, RowArray
from services.retrieval.domain.catalogue.matching import PAGE, Matches, MatchLevel
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import ScoredKeys
from services.retrieval.domain.query import FloatArray

# By scores a candidate answers the query if its own is at least this share of the usual one, the median of the first
# page. Below it the shop has no such product: beige towels do not answer "beige cardigan". In the demo shop the tenth
# product of a filter with enough answers is at 0.85 to 1.05, that of other filters mostly at 0.4 to 0.8.
_STILL_AN_ANSWER = 0.85
# What a product gains by each condition of a query that only states conditions, in spreads of the scores.
_ONE_CONDITION = np.float32(1.01)


@dataclass(frozen=True)
class SoftFilter:
    """The soft filter of one query. `conditions`: of the filter and the soft filter together.

    [rows]: `meets`, the rows that meet it; `first`, those that come first, None: the scores decide. `matches`: the rows
    that answer and meet it, within the filter; None: no product has any of the words. `met`, for a query of several
    conditions without other words: how many of them the row meets.
    """

    conditions: Conditions
    meets: BoolArray
    first: BoolArray | None
    matches: Matches | None
    met: FloatArray | None = None

    @classmethod
    def of(
        cls,
        view: CatalogueView,
        named: Sequence[BoolArray],
        soft: Conditions,
        conditions: Conditions,
        identified: RowArray,
        without: BoolArray | None,
    ) -> SoftFilter:
        """`named`: for each word that states no condition the rows that contain it. `soft`: conditions of the soft
        filter alone. `identified`: rows that answer whatever their words are. `without`: rows that have what the query
        excludes.
        """
        living = view.alive if without is None else view.alive & ~without
        known = [rows for rows in named if (rows & living).any()]
        if named and not known:
            return cls(conditions, soft.mask(), None, None)
        contained = np.zeros(len(view), np.int8)
        for rows in known:
            contained += rows
        most, least = int(contained[living].max(initial=0)), len(known) // 2 + 1 if known else 0
        levels: list[BoolArray] = []
        for count in range(len(known), min(most, least) - 1, -1):
            rows = (contained >= count) & living
            rows[identified] = True
            levels.append(rows)
            level = MatchLevel.ALL_WORDS if count == len(named) else MatchLevel.ANY_WORD
            matches = Matches(level, tuple(levels), conditions)
            if matches.found:
                break
        met = None if named or len(soft.fields) < 2 else np.stack(list(soft.fields.values())).sum(0).astype(np.float32)
        return cls(conditions, soft.mask(), matches.mask if most >= least else None, matches, met)

    def with_some_met(self, candidates: ScoredKeys, rows: RowArray) -> ScoredKeys:
        """Of a query that only states conditions: what meets more of them before what meets fewer.

        `rows`: of each candidate, -1 if unknown.
        """
        if self.met is None or not len(candidates):
            return candidates
        gain = _ONE_CONDITION * (candidates.scores.max() - candidates.scores.min())
        raised = candidates.scores + gain * np.where(rows >= 0, self.met[rows], np.float32(0))
        return replace(candidates, scores=raised).take(np.argsort(-raised, kind="stable"))

    def by_scores(self, candidates: ScoredKeys, rows: RowArray) -> SoftFilter:
        """With the candidates first that are about as near to the query as the first page.

        `rows`: of each candidate, -1 if unknown. Near by cosine, or by BM25 score if there is no dense leg.
        """
        by_cosine = bool(np.any(candidates.dense_scores))
        scores = candidates.dense_scores if by_cosine else candidates.lexical_scores
        usual = float(np.median(scores[:PAGE])) if len(scores) else 0.0
        first = np.zeros(len(self.meets), np.bool_)
        first[rows[(scores >= _STILL_AN_ANSWER * usual) & (rows >= 0)]] = True
        return replace(self, first=first & (self.conditions.mask() if self.matches is None else self.matches.mask))
