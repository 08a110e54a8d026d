"""The soft filter: products that answer the rest of a query and meet all conditions come first, and only they count.

The rest of a query are its content words without those that state a condition; words that no product contains decide
nothing. A product answers it if it contains all these words. Only if no such product meets the conditions, products
with one word less do, and so on down to most of the words, or to as many as any product has. All this is decided by the
columns of the catalogue, so that the count of a facet's value is the total after choosing it. If no product has any of
the words, the scores decide which candidates answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.retrieval.domain.catalogue.conditions import Conditions
from services.retrieval.domain.catalogue.growing import BoolArray, RowArray
from services.retrieval.domain.catalogue.matching import PAGE, Group, Matches, MatchLevel
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import ScoredKeys

# By scores a candidate answers the query if its own is at least this share of the usual one, the median of the first
# page. Below it the shop has no such product: beige towels do not answer "beige cardigan". In the demo shop the tenth
# product of a filter with enough answers is at 0.85 to 1.05, that of other filters mostly at 0.4 to 0.8.
_STILL_AN_ANSWER = 0.85


@dataclass(frozen=True)
class SoftFilter:
    """The soft filter of one query. `conditions`: of the filter and the soft filter together.

    [rows]: `meets`, the rows that meet it; `first`, those that come first. None: what is near by scores comes first.
    `matches`: the rows of `first` at the level that counts, within the filter; None: there are none.
    """

    conditions: Conditions
    meets: BoolArray
    first: BoolArray | None
    matches: Matches

    @classmethod
    def of(
        cls,
        view: CatalogueView,
        named: Sequence[Group],
        soft: Conditions,
        conditions: Conditions,
        identified: RowArray,
        without: BoolArray | None,
    ) -> SoftFilter:
        """`named`: the words that state no condition. `soft`: conditions of the soft filter alone. `identified`: rows
        that answer whatever their words are. `without`: rows that have what the query excludes.
        """
        living = view.alive if without is None else view.alive & ~without
        masks = [rows for rows in map(view.containing, named) if (rows & living).any()]
        contained = np.sum(masks, axis=0, dtype=np.int8) if masks else np.zeros(len(view), np.int8)
        least = min(len(masks) // 2 + 1, int(contained[living].max(initial=0)))
        levels: list[BoolArray] = []
        for count in range(len(masks), least - 1, -1):
            rows = (contained >= count) & living
            rows[identified] = True
            levels.append(rows)
            level = MatchLevel.ALL_WORDS if count == len(named) else MatchLevel.ANY_WORD
            matches = Matches(level, tuple(levels), conditions)
            if matches.found:
                break
        is_by_scores = bool(named) and not masks
        return cls(conditions, soft.mask(), None if is_by_scores else matches.mask, matches)

    @property
    def is_applied(self) -> bool:
        return self.first is not None and bool(self.first.any())

    def by_scores(self, candidates: ScoredKeys, rows: RowArray) -> SoftFilter:
        """With the candidates first that meet it and are about as near to the query as the first page.

        `rows`: of each candidate, -1 if unknown. Near by cosine, or by BM25 score if there is no dense leg.
        """
        by_cosine = bool(np.any(candidates.dense_scores))
        scores = candidates.dense_scores if by_cosine else candidates.lexical_scores
        usual = float(np.median(scores[:PAGE])) if len(scores) else 0.0
        first = np.zeros(len(self.meets), np.bool_)
        first[rows[(scores >= _STILL_AN_ANSWER * usual) & (rows >= 0)]] = True
        return replace(self, first=first & self.conditions.mask())
