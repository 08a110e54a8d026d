"""The sentiment of what a shopper writes, in English and Chinese: utterances, feedback and product reviews.

English: the compound score of VADER (Hutto and Gilbert, 2014), moved by phrases of shoppers. Chinese: such phrases
alone. Questions and wishes count as neutral unless a phrase says otherwise.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from services.common.scripts import has_han

# Beyond it a text is positive, below its negative negative.
CLEAR = 0.2
# Characters that are read: a text is judged by its beginning.
_READ = 2_000
# What one phrase adds, as much as two clear words of VADER.
_PHRASE = 0.6


@dataclass(frozen=True)
class _Phrases:
    positive: Sequence[re.Pattern[str]]
    negative: Sequence[re.Pattern[str]]
    neutral: Sequence[re.Pattern[str]]

    @classmethod
    def of(cls, patterns: Mapping[str, Sequence[str]]) -> _Phrases:
        return cls(*([re.compile(one) for one in patterns[name]] for name in ("positive", "negative", "neutral")))

    def score(self, text: str) -> int:
        """Positive less negative phrases; a phrase inside a longer one does not count."""
        found = [
            (match.start(), match.end(), sign)
            for sign, patterns in ((1, self.positive), (-1, self.negative))
            for pattern in patterns
            for match in pattern.finditer(text)
        ]
        found.sort(key=lambda one: (one[0] - one[1], one[0], one[2]))
        taken: list[tuple[int, int]] = []
        score = 0
        for start, end, sign in found:
            if all(end <= other_start or start >= other_end for other_start, other_end in taken):
                taken.append((start, end))
                score += sign
        return score

    def without_courtesy(self, text: str) -> str:
        for pattern in self.neutral:
            text = pattern.sub(" ", text)
        return text


@functools.cache
def _phrases() -> dict[str, _Phrases]:
    text = (files("services.common") / "sentiment.yaml").read_text(encoding="utf-8")
    return {language: _Phrases.of(patterns) for language, patterns in yaml.safe_load(text).items()}


@functools.cache
def _vader() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


def sentiment_of(text: str) -> float:
    """-1 (negative) to 1 (positive). 0: neutral, or nothing is known."""
    text = text[:_READ].lower().replace("’", "'")
    if has_han(text):
        return max(-1.0, min(1.0, _PHRASE * _phrases()["zh"].score(text)))
    english = _phrases()["en"]
    read = english.without_courtesy(text)
    phrases = english.score(read)
    words = float(_vader().polarity_scores(read)["compound"])
    if "?" in text and not phrases:
        words = min(words, 0.0)
    if phrases * words < 0:
        words = 0.0
    return max(-1.0, min(1.0, words + _PHRASE * phrases))
