"""What a query may filter: the conditions of a domain. `constraints` finds them in a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.scripts import has_han
from services.query_encoder.domain.concepts import ConceptKind


@dataclass(frozen=True)
class AttributeCondition:
    """A value of one attribute of products.

    `words`: by a word or phrase, the values that it stands for, the first of which that the catalogue has is taken.
    `concepts`: a kind of concepts whose Chinese mentions state the value as well. All texts in their normal form.
    """

    attribute: str
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    concepts: ConceptKind | None = None

    @property
    def chinese_words(self) -> Mapping[str, tuple[str, ...]]:
        return {word: values for word, values in self.words.items() if has_han(word)}


@dataclass(frozen=True)
class Conditions:
    """`attributes` in the order in which they take words of a query."""

    prices: bool = False
    brands: bool = False
    categories: bool = True
    attributes: tuple[AttributeCondition, ...] = ()
