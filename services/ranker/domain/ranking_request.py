"""What a ranker is given: the candidates, and what is known of the requesting person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.attention import history_match
from services.ranker.domain.candidate_source import CandidateSource, ListKind
from services.ranker.domain.prices import price_distance
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranks import Ranks
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weights import Weights

BoolArray: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RankingRequest:
    """n candidates in retrieval order.

    `vectors` [n, dimensions] are unit rows, zero where a candidate has none; `model_version` is the model of all
    vectors. `prices` are NaN and `stocks` -1 where unknown, `categories` and `brands` "". `popularity` [n] is not
    negative. `query` is a unit vector [dimensions], or None. `profile` is made of `user_history`. `now_s` and
    `created_s` [n] are in seconds since the epoch, the latter 0 where unknown; None: unknown for all. `costs` [n] are
    NaN where unknown; None: unknown for all. `retrieval_bounds` are the lowest and the highest retrieval score of the
    candidates that these are a part of; None: these are all. `shopper_scores` [n], dot products of the person's vector
    and the item vectors by the shopper model, and `neighbour_scores` [n], not negative, by counts of persons, are
    None where there is no model, or nothing is known of the person. `weights` are those of the weighted sum that were
    fitted with the shopper model, if any. `is_search`: the shop's customer asks for these, by a query or a filter.
    `dense_scores` and `lexical_scores` [n] are those of retrieval's legs, 0 where a leg did not find the candidate;
    None: of no candidate. `ranks_of_all` are those of these candidates among all that they are a part of; None: these
    are all. `type_match` [n] is what retrieval adds to a product of the type that the query asks for, in spreads of the
    retrieval scores, 0 for the others; None where no type is asked for. `attribute_matches` [n], -1 to 1, by the
    attributes that the person has declared; None if there are none. `review_sentiments` [n], -1 to 1, are what
    reviews say; None: no product has reviews. `offsets` [n] move candidates in the order, of scores scaled to [0, 1];
    None: they move none.
    """

    item_ids: Sequence[str]
    retrieval_scores: FloatArray
    vectors: FloatArray
    prices: FloatArray
    stocks: FloatArray
    popularity: FloatArray
    query: FloatArray | None
    profile: Profile
    categories: Sequence[str]
    brands: Sequence[str]
    user_history: UserHistory = field(default_factory=UserHistory)
    model_version: str = ""
    now_s: float = 0.0
    created_s: npt.NDArray[np.float64] | None = None
    retrieval_bounds: tuple[float, float] | None = None
    costs: npt.NDArray[np.float64] | None = None
    # Rows of the candidates that the query names by an identifier.
    identifier_rows: tuple[int, ...] = ()
    # [n]: those of a lower tier come first, whatever their scores; None: all are of one.
    tiers: npt.NDArray[np.int64] | None = None
    shopper_scores: FloatArray | None = None
    neighbour_scores: FloatArray | None = None
    weights: Weights | None = None
    is_search: bool = False
    source: CandidateSource = CandidateSource.UNSPECIFIED
    dense_scores: FloatArray | None = None
    lexical_scores: FloatArray | None = None
    ranks_of_all: Ranks | None = None
    attribute_matches: FloatArray | None = None
    type_match: FloatArray | None = None
    review_sentiments: FloatArray | None = None
    offsets: FloatArray | None = None

    @property
    def kind(self) -> ListKind:
        return ListKind.of(self.is_search, self.source)

    @cached_property
    def ranks(self) -> Ranks:
        """Among all candidates."""
        return self.ranks_of_all or Ranks.of(self.retrieval_scores, self.shopper_scores, self.neighbour_scores)

    @cached_property
    def history_match(self) -> FloatArray:
        """A feature and the weighted sum read it: see domain/attention.py."""
        return history_match(self.vectors, self.profile)

    @cached_property
    def price_distance(self) -> tuple[FloatArray, BoolArray]:
        """Two features and the weighted sum read it: see domain/prices.py."""
        return price_distance(self.profile, self.prices, self.categories)

    @property
    def has_identifier(self) -> BoolArray:
        """[n]"""
        named = np.zeros(len(self.item_ids), bool)
        named[list(self.identifier_rows)] = True
        return named

    @property
    def may_be_explored(self) -> BoolArray:
        """[n]: not what is out of stock, what the query names by an identifier, and what is behind the first tier."""
        explored: BoolArray = (self.stocks != 0) & ~self.has_identifier
        return explored if self.tiers is None else explored & (self.tiers == self.tiers.min(initial=0))

    @property
    def tier_numbers(self) -> npt.NDArray[np.int32]:
        """[n]: 0 for what the query names by an identifier, and behind it the tiers from 1 on."""
        found = np.ones(len(self.item_ids), np.int32) if self.tiers is None else 1 + self.tiers.astype(np.int32)
        found[self.has_identifier] = 0
        return found

    @property
    def is_of_known_person(self) -> bool:
        """Whether anything of the request says what this person wants, beside a query."""
        return bool(self.profile.size) or self.shopper_scores is not None or self.neighbour_scores is not None

    def take(self, rows: Sequence[int]) -> RankingRequest:
        """The request with these candidates only; retrieval scores keep their scale, and all scores their ranks."""
        at, scores = list(rows), self.retrieval_scores
        return replace(
            self,
            item_ids=[self.item_ids[row] for row in at],
            retrieval_scores=scores[at],
            vectors=self.vectors[at],
            prices=self.prices[at],
            stocks=self.stocks[at],
            popularity=self.popularity[at],
            categories=[self.categories[row] for row in at],
            brands=[self.brands[row] for row in at],
            created_s=None if self.created_s is None else self.created_s[at],
            costs=None if self.costs is None else self.costs[at],
            tiers=None if self.tiers is None else self.tiers[at],
            retrieval_bounds=self.retrieval_bounds
            or (float(scores.min(initial=np.inf)), float(scores.max(initial=-np.inf))),
            identifier_rows=tuple(np.flatnonzero(self.has_identifier[at]).tolist()),
            shopper_scores=None if self.shopper_scores is None else self.shopper_scores[at],
            neighbour_scores=None if self.neighbour_scores is None else self.neighbour_scores[at],
            dense_scores=None if self.dense_scores is None else self.dense_scores[at],
            lexical_scores=None if self.lexical_scores is None else self.lexical_scores[at],
            ranks_of_all=self.ranks.take(at),
            attribute_matches=None if self.attribute_matches is None else self.attribute_matches[at],
            type_match=None if self.type_match is None else self.type_match[at],
            review_sentiments=None if self.review_sentiments is None else self.review_sentiments[at],
            offsets=None if self.offsets is None else self.offsets[at],
        )
