"""The text of a query that is looked up: its words without those that would only find chance matches."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from services.common.scripts import HAN, has_han
from services.query_encoder.domain.concept_finding import Mention
from services.query_encoder.domain.constraints import Constraint, ConstraintType
from services.query_encoder.domain.text import normal_form, words

# "python课程" is two words here.
_RUN = re.compile(f"[{HAN}]+|[^{HAN}]+")


def text_to_look_up(
    text: str, constraints: Iterable[Constraint], mentions: Sequence[Mention], stop_words: Collection[str]
) -> str:
    """`text` with the values of attributes in the place of the words that state them ("after work": evening), and
    without `stop_words` outside of mentions. The whole text if nothing else would remain.

    Chinese words for values stay: concepts render them.
    """
    kept = text
    for constraint in constraints:
        if constraint.type is ConstraintType.ATTRIBUTE and not has_han(constraint.matched_text):
            kept = kept.replace(constraint.matched_text, normal_form(constraint.value), 1)
    kept = _without(kept, mentions, stop_words) if stop_words else kept
    return " ".join(kept.split()) or text


def _without(text: str, mentions: Sequence[Mention], stop_words: Collection[str]) -> str:
    parts, at = list[str](), 0
    for mention in mentions:
        start = text.find(mention.text, at)
        if start >= 0:
            parts += [_without_words(text[at:start], stop_words), mention.text]
            at = start + len(mention.text)
    return "".join([*parts, _without_words(text[at:], stop_words)])


def _without_words(text: str, stop_words: Collection[str]) -> str:
    parts, at = list[str](), 0
    for word in (word for run in _RUN.findall(text) for word in words(run)):
        start = text.find(word, at)
        parts += [text[at:start], "" if word in stop_words else word]
        at = start + len(word)
    return "".join([*parts, text[at:]])
