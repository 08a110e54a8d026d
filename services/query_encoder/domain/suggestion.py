"""Completions of what a shopper has typed so far: brands, categories, phrases of titles, and past queries."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from types import MappingProxyType

from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.text import CHINESE, detect_language, normal_form, words

# A word or phrase is suggested if at least so many titles contain it. A past query is suggested if at least so many
# people sent it and it has only words of the shop: names and addresses that somebody typed are never shown to others.
MIN_TITLES, MIN_QUERIES = 3, 3
# If this share of a phrase's titles continues it with the same word, it is a fragment of the longer phrase.
_FRAGMENT = 0.8
# Factors of the weight: names are more useful than words of titles, and past queries are the most useful.
_NAME, _QUERY = 3, 20
# For each prefix of up to _SHORT characters the best _BEST entries are found in advance: it has thousands of entries.
_SHORT, _BEST = 3, 60
# Letters of a word from which on typos are corrected.
_TYPO_FROM = 4
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_END = "\U0010ffff"


class SuggestionKind(Enum):
    QUERY = "query"
    PRODUCT = "product"
    BRAND = "brand"
    CATEGORY = "category"


@dataclass(frozen=True)
class Suggestion:
    """`is_corrected`: it continues a prefix whose spelling was corrected."""

    text: str
    kind: SuggestionKind
    weight: int
    is_corrected: bool = False


class Suggester:
    """Finds entries that begin with the prefix, or that have a later word that begins with it. If there are none, it
    corrects a typo of the prefix.
    """

    def __init__(self, lexicon: Lexicon, corrector: SpellCorrector, stop_words: frozenset[str]) -> None:
        self._corrector, self._words = corrector, lexicon.words
        self._entries: dict[str, Suggestion] = {}
        for text, suggestion in _entries(lexicon, stop_words):
            self._entries.setdefault(text, suggestion)
        # (text that a prefix is compared with, the entry), sorted: all matches of a prefix are one slice.
        places = sorted((place, text) for text in self._entries for place in _starts(text))
        self._places = [place for place, _ in places]
        self._texts = [text for _, text in places]
        self._best: dict[str, list[str]] = {}
        for size in range(1, _SHORT + 1):
            self._keep_best(size)

    def suggest(
        self, prefix: str, limit: int, locale: str = "", queries: Mapping[str, int] = MappingProxyType({})
    ) -> list[Suggestion]:
        """At most `limit` suggestions, the most likely first. `queries`: past queries and how many people sent each."""
        normal = normal_form(prefix)
        if not normal:
            return []
        typed = f"{normal} " if prefix[-1:].isspace() else normal
        found = {text: self._entries[text] for text in self._completions(typed, limit)}
        for text in self._past(queries, typed):
            found[text] = Suggestion(text, SuggestionKind.QUERY, queries[text] * _QUERY)
        found = found or self._after_head(typed, limit)
        if not found:
            corrected = self._corrected(normal, limit)
            found = {text: self._entries[text] for text in corrected} or self._after_head(
                self._corrector.correct(normal), limit
            )
            found = {text: replace(suggestion, is_corrected=True) for text, suggestion in found.items()}
        ranked = sorted(found.values(), key=lambda each: _rank(each, typed, locale))
        return ranked[:limit]

    def _completions(self, typed: str, limit: int) -> Iterable[str]:
        if len(typed) <= _SHORT:
            return self._best.get(typed, ())
        return self._top(self._slice(typed), max(limit, _BEST))

    def _slice(self, typed: str) -> Iterator[str]:
        start = bisect_left(self._places, typed)
        end = bisect_left(self._places, typed + _END, start)
        return iter(self._texts[start:end])

    def _top(self, texts: Iterable[str], count: int) -> list[str]:
        # Not a set: its order differs by process, and with it the choice among entries of equal weight.
        return heapq.nlargest(count, dict.fromkeys(texts), key=lambda text: self._entries[text].weight)

    def _keep_best(self, size: int) -> None:
        groups: dict[str, list[str]] = {}
        for place, text in zip(self._places, self._texts, strict=True):
            if len(place) >= size:
                groups.setdefault(place[:size], []).append(text)
        for prefix, texts in groups.items():
            # Half of the entries begin with the prefix, the other half have a later word that begins with it.
            first = self._top((text for text in texts if text.startswith(prefix)), _BEST // 2)
            taken = set(first)
            rest = (text for text in texts if text not in taken)
            self._best[prefix] = first + self._top(rest, _BEST // 2)

    def _past(self, queries: Mapping[str, int], typed: str) -> list[str]:
        begun = (text for text, count in queries.items() if count >= MIN_QUERIES and text.startswith(typed))
        fit = (text for text in begun if all(word in self._words for word in words(text)))
        return heapq.nlargest(_BEST, fit, key=lambda text: queries[text])

    def _after_head(self, typed: str, limit: int) -> dict[str, Suggestion]:
        """For a text that is longer than any entry: completions of its last words, behind its first words."""
        for tail in list(_starts(typed))[1:]:
            head = typed[: len(typed) - len(tail)]
            if len(tail) <= _SHORT or not all(word in self._words for word in words(head)):
                continue
            if texts := self._top((text for text in self._slice(tail) if text.startswith(tail)), limit):
                made = (Suggestion(head + text, SuggestionKind.PRODUCT, self._entries[text].weight) for text in texts)
                return {suggestion.text: suggestion for suggestion in made}
        return {}

    def _corrected(self, normal: str, limit: int) -> list[str]:
        """Completions of the corrected text. The corrector handles whole words; the last word may be the beginning of
        one.
        """
        head, _, last = normal.rpartition(" ")
        head = f"{self._corrector.correct(head)} " if head else ""
        whole = head + self._corrector.correct(last) if last else head
        found = list(self._top(self._slice(whole), limit)) if whole != normal else []
        if head and not found:
            found = self._top(self._slice(head + last), limit)
        if not found and len(last) >= _TYPO_FROM and last.isascii() and last.isalpha():
            # The first letter is rarely wrong, and this makes the number of candidates much smaller.
            near = dict.fromkeys(edit for edit in _edits(last) if edit[:1] == last[:1])
            texts = [text for edit in near for text in self._top(self._slice(head + edit), limit)]
            found = self._top(texts, limit)
        return found


def _entries(lexicon: Lexicon, stop_words: frozenset[str]) -> Iterator[tuple[str, Suggestion]]:
    """(normal form, suggestion); brands and categories first."""
    for names, kind in ((lexicon.brands, SuggestionKind.BRAND), (lexicon.categories, SuggestionKind.CATEGORY)):
        for normal, value in names.items():
            known = min((lexicon.words.get(word, 1) for word in words(normal)), default=1)
            text = value if kind is SuggestionKind.BRAND else normal
            yield normal, Suggestion(text, kind, known * _NAME)
    continued: dict[str, int] = {}
    counted = chain(lexicon.words.items(), lexicon.phrases.items())
    useful = {text: n for text, n in counted if _is_useful(text, n, stop_words)}
    for phrase, count in useful.items():
        parts = words(phrase)
        for shorter in (phrase[: -len(parts[-1])].rstrip(), phrase[len(parts[0]) :].lstrip()):
            continued[shorter] = max(continued.get(shorter, 0), count)
    for text, count in useful.items():
        if continued.get(text, 0) < _FRAGMENT * count:
            # A longer phrase is rarer and more useful.
            yield text, Suggestion(text, SuggestionKind.PRODUCT, count * (1 + text.count(" ")))


def _is_useful(text: str, titles: int, stop_words: frozenset[str]) -> bool:
    if titles < MIN_TITLES:
        return False
    parts = words(text)
    first, last = parts[0], parts[-1]
    if first in stop_words or last in stop_words or len(text) < 2:
        return False
    if detect_language(text) == CHINESE:
        return True
    return last.isalpha() and len(last) > 2 and len(first) > 1 and not first.isdigit()


def _starts(text: str) -> Iterator[str]:
    """For each word, the text from this word to the end."""
    at = 0
    for word in words(text):
        at = text.find(word, at)
        yield text[at:]
        at += len(word)


def _rank(suggestion: Suggestion, typed: str, locale: str) -> tuple[bool, bool, bool, int, str]:
    is_chinese = detect_language(suggestion.text) == CHINESE
    is_foreign = bool(locale) and is_chinese != locale.lower().startswith(CHINESE)
    begins = suggestion.text.lower().startswith(typed)
    return suggestion.is_corrected, is_foreign, not begins, -suggestion.weight, suggestion.text


def _edits(word: str) -> Iterator[str]:
    """All words that differ from `word` by one insertion, deletion, replacement or swap (Norvig, "How to write a
    spelling corrector").
    """
    for at in range(len(word) + 1):
        left, right = word[:at], word[at:]
        if right:
            yield left + right[1:]
        if len(right) > 1:
            yield left + right[1] + right[0] + right[2:]
        for letter in _LETTERS:
            yield left + letter + right
            if right:
                yield left + letter + right[1:]
