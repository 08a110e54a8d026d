"""What moderation says about a product: the findings of its texts, joined to one outcome for each market."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from services.common.product import Product
from services.common.visibility import Moderated, Outcome
from services.gateway.domain.moderation.rules import Finding, Rules

MAX_EVIDENCE = 256
NOTHING_FOUND = Moderated()


class Moderator:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def of_product(self, product: Product) -> Moderated:
        return joined(self._findings(product), self.rules.version)

    def of_title(self, text: str) -> Moderated:
        """Of one short text."""
        return joined(self.rules.of_title(text), self.rules.version)

    def of_text(self, text: str) -> Moderated:
        """Of a text that a shopper wrote: each sentence by itself, but for the categories of titles."""
        return joined([*self.rules.of_title(text[:200]), *self.rules.of_description(text)], self.rules.version)

    def _findings(self, product: Product) -> Iterator[Finding]:
        for title in dict.fromkeys([product.title, *product.localized_titles.values()]):
            yield from self.rules.of_title(title)
        for description in dict.fromkeys([product.description, *product.localized_descriptions.values()]):
            if description:
                yield from self.rules.of_description(description)


def joined(findings: Iterable[Finding], rules_version: str) -> Moderated:
    """The most severe outcome in each market."""
    found = list(findings)
    if not found:
        return NOTHING_FOUND
    markets = dict.fromkeys(market for one in found for market in one.markets)
    return Moderated(
        _worst(one.outcome for one in found),
        any(one.category.adults_only for one in found),
        {market: _worst(one.markets.get(market, one.outcome) for one in found) for market in markets},
        tuple(sorted({one.category.name for one in found})),
        rules_version,
        "; ".join(dict.fromkeys(one.evidence for one in found))[:MAX_EVIDENCE],
    )


def decided(moderated: Moderated, is_approved: bool, review_id: str) -> Moderated:
    """The outcome after a person's decision, everywhere. An approved product stays for adults only if it was."""
    outcome = Outcome.PASS if is_approved else Outcome.BLOCK
    return replace(moderated, outcome=outcome, markets={}, review_id=review_id)


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    return max(outcomes, key=lambda outcome: outcome.value)
