"""The requesting shopper and the requested page."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.common.filters import ProductFilter
from services.common.visibility import GENERAL, Viewing
from services.gateway.domain.tokens import PageToken

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 100


@dataclass(frozen=True)
class OfferTerms:
    """Which offers apply; empty texts and 0: the default. `fulfilment` is a number of offer.proto's Fulfilment."""

    price_list_id: str = ""
    currency_code: str = ""
    place_id: str = ""
    fulfilment: int = 0


@dataclass(frozen=True)
class Viewer:
    page: PageToken
    user_id: str = ""
    visitor_id: str = ""
    session_id: str = ""
    # The text of the query; empty for a recommendation and when browsing.
    query: str = ""
    filter: ProductFilter = field(default_factory=ProductFilter)
    page_size: int = DEFAULT_PAGE_SIZE
    explain: bool = False
    # Whether one variant of each item group is shown.
    is_collapsed: bool = True
    offers: OfferTerms = field(default_factory=OfferTerms)
    # Whether the answer is for nobody: the ranker stores no ranking, and the session does not move.
    is_preview: bool = False
    viewing: Viewing = GENERAL
    # Where the shop shows the answer.
    placement: str = ""

    @property
    def explained(self) -> Explained | None:
        return Explained(self.page.offset + self.page_size) if self.explain else None


@dataclass(frozen=True)
class Explained:
    """The results that get reasons: the first `places`, and one product at any place."""

    places: int
    item_id: str = ""
