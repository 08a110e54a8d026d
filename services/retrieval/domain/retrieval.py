"""The answer to a RetrievalQuery, and what was degraded in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.matching import MatchLevel
from services.retrieval.domain.cursor import Cursor
from services.retrieval.domain.facets import CountAccuracy, Facet
from services.retrieval.domain.no_good_match import NoGoodMatch
from services.retrieval.domain.query import SpellingAlternative
from services.retrieval.domain.relevance import Assessment


class DegradationReason(Enum):
    ERROR = "error"
    MODEL_VERSION_MISMATCH = "model_version_mismatch"
    NO_PICTURE = "no_picture"
    NO_BUDGET = "no_budget"


@dataclass(frozen=True)
class Degradation:
    """Why a leg or another step of a search was skipped, and what the answer holds instead."""

    reason: DegradationReason
    fallback: str
    detail: str


@dataclass(frozen=True)
class Retrieval:
    """`next`: where the next page of a browsing request begins; None after the last page, and for a search."""

    candidates: Candidates
    facets: tuple[Facet, ...]
    total_size: int
    soft_filter_applied: bool
    degradations: tuple[Degradation, ...]
    model_version: str
    next: Cursor | None = None
    total_accuracy: CountAccuracy = CountAccuracy.EXACT
    match_level: MatchLevel = MatchLevel.EVERYTHING
    product_type: str = ""
    # Of the query's spelling alternatives those that were looked up.
    also_searched: tuple[SpellingAlternative, ...] = ()
    # None without content words, with a picture, and for a list that is not sorted by relevance.
    assessment: Assessment | None = None
    no_good_match: NoGoodMatch | None = None
