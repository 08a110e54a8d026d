"""The texts of a domain for explanations, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LANGUAGES = ENGLISH, CHINESE = ("en", "zh")
# Names of ranker.proto's ReasonType in lower case; and what stands for query_match in a recommendation, which has no
# query.
GROUPS = ("query_match", "recent_history", "price_affinity", "popularity", "availability", "sponsored", "source_match")
# Names of ranker.proto's CandidateSource in lower case: of sources that relate to given products, and of others that
# an explanation names.
RELATED_SOURCES = ("bought_together", "viewed_together", "similar", "goes_with", "shopper", "neighbours")
PERSONAL_SOURCES = ("trending", "recently_viewed", "buy_again")
_PLACE: Mapping[str, Any] = {"position": 1, "count": 1, "score": 1.0}
# By the name of a sentence: what it may say in braces, with an example.
SENTENCES: Mapping[str, Mapping[str, Any]] = {
    "place": _PLACE,
    "baseline": {"baseline": 1.0},
    "raised": {"groups": "a"},
    "lowered": {"groups": "a"},
    "silent": {},
    "moved": {"steps": "a"},
    "seen": {"fatigue_cost": 1.0},
    "like": {"similarity_cost": 1.0},
    "capped": {"brand_capped_places": 1},
    "random": {},
    "read": {"matched_text": "a", "expansion": "a"},
    # Between the entries of a list.
    "joined": {},
    "retrieval_order": _PLACE,
    "source_order": _PLACE,
    "popular_memory": _PLACE,
    # Where a recommendation comes from.
    **{f"{source}_one": {"title": "a"} for source in RELATED_SOURCES},
    **{f"{source}_several": {} for source in RELATED_SOURCES},
    **{source: {} for source in PERSONAL_SOURCES},
    # A product that the FAQ recommends.
    "faq": {},
    # Who pays for a sponsored position.
    "sponsored": {"advertiser": "a", "payer": "a"},
    # Which event of the person's history raises the product's score, and how.
    "because": {"title": "a"},
    "because_together": {"title": "a"},
    "filter": {},
    "constraint": {"subject": "a"},
    "recently_purchased": {},
    "excluded_by_rule": {},
    "not_retrieved": {"count": 1},
    # Of a search without a good match, in this order.
    "no_good_match": {"query": "a"},
    "missing_words": {"words": "a"},
    "help_without": {"subject": "a", "count": 1},
    "help_filter": {"subject": "a", "count": 1},
    "help_spelling": {"subject": "a", "count": 1},
    "help_nearest": {"subject": "a", "count": 1},
}


@dataclass(frozen=True)
class Texts:
    """Of one language. `groups` has all of GROUPS, `sentences` all of SENTENCES."""

    language: str
    groups: Mapping[str, str]
    sentences: Mapping[str, str]

    def say(self, name: str, **values: Any) -> str:
        return self.sentences[name].format(**values)


@dataclass(frozen=True)
class DomainTexts:
    """The texts of all LANGUAGES."""

    by_language: Mapping[str, Texts]

    def of(self, locale: str) -> Texts:
        """Chinese for "zh…", English for all others."""
        return self.by_language[CHINESE if locale.lower().startswith(CHINESE) else ENGLISH]


def sentence_problem(name: str, text: str) -> str | None:
    """What is wrong with a text for this sentence; None if nothing is."""
    known = ", ".join(f"{{{each}}}" for each in SENTENCES[name]) or "nothing"
    try:
        text.format(**SENTENCES[name])
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        return f"cannot be filled in ({error!r}); in braces it may have {known}"
    return None
