"""Rules of a domain for intent, sentiment and values of attributes. A rule that applies overrides the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.common.scripts import HAN, has_han
from services.query_encoder.domain.concepts import ConceptKind
from services.query_encoder.domain.constraints import ConstraintType
from services.query_encoder.domain.query_reading import QueryReading

FIND, BROWSE, ADVICE, ORDER, CHAT = INTENTS = ("find", "browse", "advice", "order", "chat")
NEUTRAL, POSITIVE, NEGATIVE = SENTIMENTS = ("neutral", "positive", "negative")

Patterns = Sequence[re.Pattern[str]]


@dataclass(frozen=True)
class IntentRules:
    """Patterns for lower-case text. The first intent, and the first sentiment, with a pattern that is found applies.

    `ranges`: patterns of a range of products. `joining`: words that may stand between names. `marked_values`: patterns
    of values of attributes; the first group that matched is the value.
    """

    intents: Mapping[str, Patterns] = field(default_factory=dict)
    sentiments: Mapping[str, Patterns] = field(default_factory=dict)
    ranges: Patterns = ()
    joining: Sequence[str] = ()
    marked_values: Patterns = ()

    def intent(self, reading: QueryReading) -> str:
        """One of INTENTS; empty if no rule applies. The rules read the words as typed, before spelling correction."""
        products = [part.text for part in reading.mentions if part.concepts[0].kind is ConceptKind.PRODUCT]
        for intent, patterns in self.intents.items():
            for pattern in patterns:
                match = pattern.search(reading.normal)
                if match and not any(match.group() in product for product in products):
                    return intent
        return FIND if self._has_only_names(reading) else ""

    def sentiment(self, normal: str) -> str:
        """POSITIVE or NEGATIVE if the words express it, otherwise empty."""
        felt = (name for name, patterns in self.sentiments.items() if any(one.search(normal) for one in patterns))
        return next(felt, "")

    def values(self, normal: str) -> Iterator[tuple[str, str]]:
        """(words, value) for each value that the text marks: "size 42", 42码, "w32"."""
        for pattern in self.marked_values:
            for match in pattern.finditer(normal):
                yield match.group(), next((group for group in match.groups() if group), match.group())

    def _has_only_names(self, reading: QueryReading) -> bool:
        """Whether the query has only names of products, brands, colours and the like, and at least two of them. A
        single name such as "stationery" may mean a range of products.
        """
        named = {constraint.matched_text for constraint in reading.constraints if constraint.value}
        named |= {part.text for part in reading.mentions}
        is_product = any(part.concepts[0].kind is ConceptKind.PRODUCT for part in reading.mentions)
        is_brand = any(constraint.type is ConstraintType.BRAND for constraint in reading.constraints)
        is_undecided = any(constraint.type is ConstraintType.ALTERNATIVES for constraint in reading.constraints)
        if len(named) < 2 or not (is_product or is_brand) or is_undecided:
            return False
        if any(pattern.search(reading.retrieval_text) for pattern in self.ranges):
            return False
        rest = reading.retrieval_text
        for text in sorted(named, key=len, reverse=True):
            rest = rest.replace(text, " ")
        for word in self.joining:
            rest = rest.replace(word, " ") if has_han(word) else re.sub(rf"\b{re.escape(word)}\b", " ", rest)
        return not _SAYS_MORE.search(rest)


# Words beside the names, other than numbers with their units.
_SAYS_MORE = re.compile(rf"\b[^\W\d_]{{3,}}|[{HAN}]|[?!]")


def head_words(text: str) -> str:
    """The product without its purpose: "mug for coffee" -> "mug"."""
    return _BEFORE.split(text, maxsplit=1)[0].strip()


_BEFORE = re.compile(r"(?<=\w) (?:for|with|without|in|of|that|to|from|on|which|under|over|by)\b")
