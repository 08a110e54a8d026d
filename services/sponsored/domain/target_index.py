"""Which campaigns may advertise which products of a request.

The campaigns are compiled once. A look-up costs a step for each product of the request, each campaign of these products
and each word of the query, however many campaigns there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.common.comparison import category_form_of
from services.common.phrase_index import PhraseIndex, Words
from services.sponsored.domain.campaign import Campaign


@dataclass(frozen=True)
class Circumstances:
    """What targets are compared with. `texts`: the words of the query, corrected and as typed. `category`: the
    comparison form of the only category of the filter. `placement`: None for a search. `attributes`: the comparison
    forms of what the person has declared, by name.
    """

    texts: tuple[Words, ...] = ()
    category: tuple[str, ...] | None = None
    placement: str | None = None
    attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    now_s: float = 0.0


class TargetIndex:
    """The campaigns of one tenant, compiled."""

    def __init__(self, campaigns: Iterable[Campaign]) -> None:
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self._of_product: dict[str, list[Campaign]] = defaultdict(list)
        self._targets, self._negatives = PhraseIndex[str](), PhraseIndex[str]()
        self._categories: dict[str, frozenset[tuple[str, ...]]] = {}
        for campaign in sorted(self.campaigns.values(), key=lambda one: -one.bid):
            for product_id in campaign.product_ids:
                self._of_product[product_id].append(campaign)
            for target in campaign.targets.queries:
                self._targets.add(target.anchoring, target.words, campaign.id)
            for negative in campaign.negative_keywords:
                self._negatives.add(negative.anchoring, negative.words, campaign.id)
            self._categories[campaign.id] = frozenset(map(category_form_of, campaign.targets.categories))

    def campaigns_of(self, product_id: str) -> Sequence[Campaign]:
        """Those that advertise the product, the highest bid first."""
        return self._of_product.get(product_id, ())

    def taking_part(self, request: Circumstances) -> Callable[[Campaign], bool]:
        """Whether the targets and the schedule of a campaign fit the request."""
        met, barred = _found(self._targets, request.texts), _found(self._negatives, request.texts)
        # Many products of a campaign may be in the request.
        known: dict[str, bool] = {}

        def takes_part(campaign: Campaign) -> bool:
            id = campaign.id
            if (found := known.get(id)) is None:
                is_asked = id not in barred and (id in met or not campaign.targets.queries)
                found = known[id] = is_asked and self._holds(campaign, request)
            return found

        return takes_part

    def _holds(self, campaign: Campaign, request: Circumstances) -> bool:
        """The conditions that no index decides."""
        targets, categories = campaign.targets, self._categories[campaign.id]
        if (request.placement or "") not in (targets.placements or ("",)):
            return False
        if categories and request.category not in categories:
            return False
        for audience in targets.audience:
            if not audience.value_forms & request.attributes.get(audience.name_form, frozenset()):
                return False
        return campaign.schedule.holds(request.now_s)


def _found(index: PhraseIndex[str], texts: Iterable[Words]) -> set[str]:
    return {id for words in texts for _, _, id in index.find(words)}
