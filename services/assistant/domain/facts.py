"""What an answer may state: facts of the shop, and sentences with the facts that support them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class FactSource(StrEnum):
    PRODUCT = "product"
    FAQ = "faq"
    ORDER = "order"


@dataclass(frozen=True)
class Fact:
    """A value that a tool of this turn returned. `id`: of the product, FAQ entry or order.

    Fields of a product, and how `value` is written:

    | field | value |
    |---|---|
    | `title`, `description` | the text, in `language` |
    | `brand`, `category` | the name; the leaf of the category path |
    | `price`, `list_price` | code and amount: "USD 59.99". `list_price` only if it differs from `price` |
    | `stock` | pieces on hand: "12"; absent if the shop does not track them |
    | `availability` | "in stock" or "out of stock" |
    | `attributes.<name>` | one value; a fact for each value |
    | `variants.<name>` | a value that another variant of the product has |
    | `relevance` | why the ranker has it there, a sentence of the gateway in `language` |

    An FAQ entry has `question` and `answer`, an order `status` and what else the shop returned of it.
    """

    source: FactSource
    id: str
    field: str
    value: str
    # "en", "zh"; empty for values that are the same in each language.
    language: str = ""
    # Of the FAQ entry.
    version: int = 0


@dataclass(frozen=True)
class Sentence:
    """One or more whole sentences of an answer. `facts`: those that support its statements; none if it states nothing
    about the shop.
    """

    text: str
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Draft:
    """The answer of a turn as the templates give it.

    `facts`: all facts that the turn's tools returned, also those that no sentence of the draft uses. `is_fixed`: the
    words must not be changed (FAQ answers, hand-overs, refusals): no language model rewrites them.
    """

    sentences: tuple[Sentence, ...]
    facts: tuple[Fact, ...] = ()
    is_fixed: bool = False


def facts_of(facts: Sequence[Fact], id: str, field: str) -> list[Fact]:
    """Those of one source's field, in order."""
    return [fact for fact in facts if fact.id == id and fact.field == field]
