"""What was read from a query."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from services.query_encoder.domain.asked_type import AskedType
from services.query_encoder.domain.concept_finding import Mention
from services.query_encoder.domain.constraints import Constraint
from services.query_encoder.domain.correction import Alternative
from services.query_encoder.domain.expansion import Expansion

# Unicode categories of emoji and of their skin tones.
_PICTURES = frozenset({"So", "Sk"})


@dataclass(frozen=True)
class QueryReading:
    """What was read from one query.

    `normal` is its normal form, `corrected` the same after spelling correction, `retrieval_text` what is looked up:
    without the price condition, what is excluded and the domain's own stop words, with values in the place of words
    that state them.
    `spelling_alternatives`: words of the shop that the shopper may have meant by words of `corrected`.
    `mentions` of concepts in `corrected`. `asked_type`: the product that the query asks for.
    """

    normal: str
    corrected: str
    spelling_alternatives: tuple[Alternative, ...]
    retrieval_text: str
    constraints: list[Constraint]
    mentions: list[Mention]
    expansion: Expansion
    asked_type: AskedType

    @property
    def rendering(self) -> str:
        """The query in English. Empty if it has no Chinese, or if too little of the Chinese was recognised."""
        return self.expansion.rendering

    def encoded_text(self, reads_chinese: bool) -> str:
        """The text that the model encodes: the query in English, or, for a model that reads Chinese, the query followed
        by its English. With a model that reads Chinese the two together find more than each alone (decision 10).
        """
        text = f"{self.retrieval_text} {self.rendering}".rstrip() if reads_chinese else ""
        return _without_pictures(text or self.rendering or self.retrieval_text)


def _without_pictures(text: str) -> str:
    """Without emoji, which most models do not know; the whole text if it has nothing else."""
    if text.isascii():
        return text
    rest = "".join(" " if unicodedata.category(one) in _PICTURES else one for one in text)
    return " ".join(rest.split()) if any(map(str.isalnum, rest)) else text
