"""Completions of what a shopper has typed so far: brands, categories, phrases of titles, words that products have
together, and past queries.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from types import MappingProxyType

from services.common.scripts import has_han, is_han
from services.common.typed_text import as_typed
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.lexicon import Lexicon, joined
from services.query_encoder.domain.product_words import ProductWords
from services.query_encoder.domain.text import CHINESE, detect_language, normal_form, words

# A word or phrase is suggested if at least so many titles contain it. A past query is suggested if at least so many
# people sent it and it has only words of the shop: names and addresses that somebody typed are never shown to others.
MIN_TITLES, MIN_QUERIES = 3, 3
# If this share of the titles of a phrase continues it with the same word, it is a fragment: "harry" of "harry potter".
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
    """Finds entries that begin with the prefix, or that have a later word that begins with it, and words that products
    have beside the words of the prefix. If there are none, it corrects a typo of the prefix.

    `products`: the words of each product. Hyphens and spaces are compared as equal.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        corrector: SpellCorrector,
        stop_words: frozenset[str],
        products: Iterable[Iterable[str]] = (),
    ) -> None:
        self._corrector, self._stop_words, self._lexicon = corrector, stop_words, lexicon
        self._words = _in_parts(lexicon.words)
        self._products = ProductWords(
            list(dict.fromkeys(part for word in each for part in _key(word).split())) for each in products
        )
        self._gone: frozenset[str] = frozenset()
        self._entries: dict[str, Suggestion] = {}
        for text, suggestion in _entries(lexicon, stop_words):
            self._entries.setdefault(_key(text), suggestion)
        # (text that a prefix is compared with, the entry), sorted: all matches of a prefix are one slice.
        places = sorted((place, text) for text in self._entries for place in _starts(text))
        self._places = [place for place, _ in places]
        self._texts = [text for _, text in places]
        self._best: dict[str, list[str]] = {}
        for size in range(1, _SHORT + 1):
            self._keep_best(size)

    def forget(self, lexicon: Lexicon) -> None:
        """Suggests nothing any more that `lexicon`, a later one, does not have: its products were deleted."""
        gone = set[str]()
        for name in ("words", "phrases", "brands", "categories"):
            gone.update(getattr(self._lexicon, name).keys() - getattr(lexicon, name))
        self._gone = frozenset(map(_key, gone))

    def suggest(
        self, prefix: str, limit: int, locale: str = "", queries: Mapping[str, int] = MappingProxyType({})
    ) -> list[Suggestion]:
        """At most `limit` suggestions, the most likely first. `queries`: past queries and how many people sent each."""
        normal = normal_form(prefix)
        if not normal:
            return []
        text = f"{normal} " if prefix[-1:].isspace() else normal
        typed = _key(text)
        found = {text: self._entries[text] for text in self._completions(typed, limit)}
        for query in self._past(queries, typed):
            found[_key(query)] = Suggestion(query, SuggestionKind.QUERY, queries[query] * _QUERY)
        if sum(each.startswith(typed) for each in found) < limit:
            found = self._beside(text, limit) | found
        found = found or self._after_head(typed, limit)
        if not found:
            found = self._corrected(normal, limit) or self._after_head(_key(self._corrector.correct(normal)), limit)
            found = {text: replace(suggestion, is_corrected=True) for text, suggestion in found.items()}
        current = (suggestion for text, suggestion in found.items() if not self._is_gone(text))
        return sorted(current, key=lambda each: _rank(each, typed, locale))[:limit]

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

    def _is_gone(self, text: str) -> bool:
        return text in self._gone or not self._gone.isdisjoint(words(text))

    def _past(self, queries: Mapping[str, int], typed: str) -> list[str]:
        begun = (text for text, count in queries.items() if count >= MIN_QUERIES and _key(text).startswith(typed))
        fit = (text for text in begun if all(word in self._words for word in words(_key(text))))
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

    def _beside(self, text: str, limit: int) -> dict[str, Suggestion]:
        """The last word of `text` completed with words that products have beside the other words. Behind a whole word,
        the next word.
        """
        parts = words(_key(text))
        if not parts or "".join(parts) != "".join(_key(text).split()):
            # "black &" is no sequence of words: it begins a name.
            return {}
        found = dict[str, Suggestion]()
        if not text[-1].isspace():
            found = self._next_words(text[: len(text) - len(parts[-1])], parts[-1], parts[:-1], limit)
        if len(found) < limit and parts[-1] in self._words:
            space = "" if text[-1].isspace() or is_han(text[-1]) else " "
            found = self._next_words(text + space, "", parts, limit) | found
        return found

    def _next_words(self, head: str, prefix: str, beside: Sequence[str], limit: int) -> dict[str, Suggestion]:
        if self._stop_words.issuperset(beside):
            return {}
        counts = {
            word: count
            for word, count in self._products.beginning(prefix, beside).items()
            if self._may_follow(word, beside[-1], bool(prefix), count)
        }
        # Words that are everywhere ("black") say less than words that are mostly here.
        best = heapq.nlargest(limit, counts, key=lambda word: counts[word] / self._words[word] ** 0.5)
        return {_key(head + word): Suggestion(head + word, SuggestionKind.PRODUCT, counts[word]) for word in best}

    def _may_follow(self, word: str, before: str, is_begun: bool, count: int) -> bool:
        """Whether `word` is useful behind `before`. A word of the other script, or a fragment ("cancelling"), is so
        only where titles have it right behind. `is_begun`: its beginning was typed. Otherwise it must be frequent there
        and a suggestion itself, and no brand.
        """
        entry = self._entries.get(word)
        if not is_begun and (count < MIN_TITLES or entry is None or entry.kind is SuggestionKind.BRAND):
            return False
        if word in self._stop_words or self._words.get(word, 0) < MIN_TITLES:
            return False
        is_natural = has_han(word) == has_han(before) and (entry is not None or not word.isalpha())
        return is_natural or joined((before, word)) in self._lexicon.phrases

    def _corrected(self, normal: str, limit: int) -> dict[str, Suggestion]:
        """Completions of the corrected text. The corrector handles whole words; the last word may be the beginning of
        one.
        """
        head, _, last = normal.rpartition(" ")
        head = f"{self._corrector.correct(head)} " if head else ""
        whole = head + self._corrector.correct(last) if last else head
        for text in dict.fromkeys((whole, head + last)):
            if text != normal and (
                found := self._entries_for(self._slice(_key(text)), limit) or self._beside(text, limit)
            ):
                return found
        if len(last) < _TYPO_FROM or not (last.isascii() and last.isalpha()):
            return {}
        # The first letter is rarely wrong, and this makes the number of candidates much smaller.
        near = dict.fromkeys(edit for edit in _edits(last) if edit[:1] == last[:1])
        texts = (text for edit in near for text in self._top(self._slice(_key(head + edit)), limit))
        return self._entries_for(texts, limit)

    def _entries_for(self, texts: Iterable[str], limit: int) -> dict[str, Suggestion]:
        return {text: self._entries[text] for text in self._top(texts, limit)}


def _entries(lexicon: Lexicon, stop_words: frozenset[str]) -> Iterator[tuple[str, Suggestion]]:
    """(normal form, suggestion); brands and categories first."""
    for names, products, kind in (
        (lexicon.brands, lexicon.brand_products, SuggestionKind.BRAND),
        (lexicon.categories, lexicon.category_products, SuggestionKind.CATEGORY),
    ):
        for normal, value in names.items():
            text = as_typed(value).strip() if kind is SuggestionKind.BRAND else normal
            yield normal, Suggestion(text, kind, products.get(normal, 1) * _NAME)
    continued: dict[str, int] = {}
    counted = chain(lexicon.words.items(), lexicon.phrases.items())
    useful = {text: n for text, n in counted if _is_useful(text, n, stop_words)}
    for phrase, count in useful.items():
        shorter = phrase[: -len(words(phrase)[-1])].rstrip()
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
    if first in stop_words or last in stop_words or len(text) < 2 or len(set(parts)) < len(parts):
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
    begins = _key(suggestion.text.lower()).startswith(typed)
    return suggestion.is_corrected, is_foreign, not begins, -suggestion.weight, suggestion.text


def _key(text: str) -> str:
    """As the text is compared: "blu-ray" as "blu ray". It has the length of `text`."""
    return text.replace("-", " ")


def _in_parts(counts: Mapping[str, int]) -> dict[str, int]:
    """Also the parts of words with hyphens, each with the products of its most frequent word."""
    found = dict(counts)
    for word, count in counts.items():
        if "-" in word:
            for part in _key(word).split():
                found[part] = max(found.get(part, 0), count)
    return found


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
