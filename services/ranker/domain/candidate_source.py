"""Where a ranking's candidates come from, and which of three kinds of list they make."""

from __future__ import annotations

from enum import Enum


class CandidateSource(Enum):
    UNSPECIFIED = "unspecified"
    QUERY = "query"
    INTERESTS = "interests"
    SESSION = "session"
    POPULAR = "popular"
    BOUGHT_TOGETHER = "bought_together"
    VIEWED_TOGETHER = "viewed_together"
    SIMILAR = "similar"
    GOES_WITH = "goes_with"
    TRENDING = "trending"
    RECENTLY_VIEWED = "recently_viewed"
    BUY_AGAIN = "buy_again"
    CATEGORY = "category"
    SHOPPER = "shopper"
    NEIGHBOURS = "neighbours"
    FAQ = "faq"


# Sources that start from the products of a page or a cart.
OF_PRODUCTS = frozenset(
    (
        CandidateSource.BOUGHT_TOGETHER,
        CandidateSource.VIEWED_TOGETHER,
        CandidateSource.SIMILAR,
        CandidateSource.GOES_WITH,
    )
)


class ListKind(Enum):
    """What a list answers: a query or a filter, the products of a page or a cart, or the person alone."""

    SEARCH = "search"
    PRODUCT = "product"
    PERSON = "person"

    @classmethod
    def of(cls, is_search: bool, source: CandidateSource) -> ListKind:
        if is_search:
            return cls.SEARCH
        return cls.PRODUCT if source in OF_PRODUCTS else cls.PERSON
