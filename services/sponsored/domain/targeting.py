"""Why a shopper sees an ad: the parameters that the label names (Digital Services Act, Article 26)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from services.common.comparison import comparison_form
from services.common.phrase_index import PhraseIndex
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.target_index import Circumstances


class TargetingKind(Enum):
    RELEVANCE = "relevance"
    QUERY = "query"
    CATEGORY = "category"
    PLACEMENT = "placement"
    AUDIENCE = "audience"


@dataclass(frozen=True)
class TargetingParameter:
    kind: TargetingKind
    value: str = ""


def targeting_of(campaign: Campaign, request: Circumstances) -> list[TargetingParameter]:
    """The conditions of the campaign that the request meets; relevance, which every ad needs, is the first."""
    return [TargetingParameter(TargetingKind.RELEVANCE), *_met(campaign, request)]


def _met(campaign: Campaign, request: Circumstances) -> Iterator[TargetingParameter]:
    targets, texts = campaign.targets, PhraseIndex[str]()
    for target in targets.queries:
        texts.add(target.anchoring, target.words, target.text)
    for text in dict.fromkeys(text for words in request.texts for _, _, text in texts.find(words)):
        yield TargetingParameter(TargetingKind.QUERY, text)
    if targets.categories and request.category is not None:
        yield TargetingParameter(TargetingKind.CATEGORY, " > ".join(request.category))
    if targets.placements and request.placement is not None:
        yield TargetingParameter(TargetingKind.PLACEMENT, request.placement)
    for audience in targets.audience:
        declared = request.attributes.get(audience.name_form, frozenset())
        for value in audience.values:
            if comparison_form(value) in declared:
                yield TargetingParameter(TargetingKind.AUDIENCE, f"{audience.attribute}: {value}")
