"""The type of product that a query asks for, as far as its text shows it: "case" in "leather case for ipad"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.noun_phrases import noun_phrase
from services.common.scripts import has_han
from services.query_encoder.domain.concept_finding import Mention
from services.query_encoder.domain.concepts import ConceptKind, english_key

_MODEL = re.compile(r"\d*[a-z]{2,}\d*")
MAX_WORDS = 16
# Characters of a word; a longer one names no product.
MAX_WORD = 64


@dataclass(frozen=True)
class AskedType:
    """`words` in the singular, in the order of the text, may name the type. `names` are those of the product that the
    text mentions last, for the words `matched_text`.
    """

    words: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    matched_text: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.names)


def asked_type(text: str, mentions: Sequence[Mention]) -> AskedType:
    """`mentions` of concepts in `text`, in its order.

    In English a product before a preposition is asked for, in Chinese the last one: 苹果手机壳 is a case.
    """
    # A name with a digit may be all that is asked for: "3ds", but not "2x4".
    phrase = noun_phrase(text) or (text.split() if _MODEL.fullmatch(text) else [])
    words = [word for word in phrase if len(word) <= MAX_WORD and not has_han(word)]
    asked = [mention for mention in mentions if _is_asked(mention, words)]
    if not asked:
        return AskedType(tuple(words[-MAX_WORDS:]))
    last = asked[-1]
    products = (concept for concept in last.concepts if concept.kind is ConceptKind.PRODUCT)
    names = dict.fromkeys(" ".join(english_key(label)) for concept in products for label in concept.english)
    return AskedType(tuple(words[-MAX_WORDS:]), tuple(names)[:MAX_WORDS], last.text)


def _is_asked(mention: Mention, words: Sequence[str]) -> bool:
    if not any(concept.kind is ConceptKind.PRODUCT for concept in mention.concepts):
        return False
    return mention.is_chinese or (noun_phrase(mention.text) or mention.text.split())[-1:] == words[-1:]
