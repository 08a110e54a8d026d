"""Spelling, corrected towards the shop's own words, and only where a word is surely wrong.

What a word may have been is weighed as a noisy channel does (Kernighan, Church & Gale, COLING 1990): how many of the
shop's titles hold the candidate, how often it stands beside the query's other words there, and how unlikely the slip.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from symspellpy import SymSpell, Verbosity

from services.query_encoder.domain.text import MAX_TEXT

# Shorter words have too many neighbours; those of three letters need neighbours or a frequent word.
MIN_LENGTH = 4
_MIN_LENGTH_IN_CONTEXT = 3
# From this length on, two mistakes may be mended; in a context that says so, from the shorter one.
TWO_MISTAKES_FROM = 7
_TWO_MISTAKES_IN_CONTEXT_FROM = 6
# A shop's word that stands in so many products is never corrected. Rarer ones may be slips of the shop itself.
MIN_PRODUCTS = 3
# All in units of ln(products). Chosen on slips made in Home Depot's queries, see docs/benchmarks.md.
_BESIDE, _OTHER_FIRST_LETTER, _ODD_SLIP = 1.5, 1.0, 2.0
# What the neighbours must say for a word of the shop's one or two products, and for an English one, to be wrong.
_RARE, _ENGLISH = 3.0, 3.0
# Without neighbours the first letter of a shorter word is not touched: "sony" for "tony" is no correction.
_FIRST_LETTER_FROM = 6
# Without neighbours, three letters go to a word of so many products only.
_MANY_PRODUCTS = 20
# In a text of a million million words. "emote" is rarer, and a slip for "remote" rather than meant; "vest", rarer as
# well, is none for "vent": letters are left out, doubled or swapped by mistake, seldom taken for one another.
_COMMON = 5_000_000
_VOWELS = "aeiouy"
# Parts that were written as one word must have stood beside each other in this many titles.
_MIN_SPLIT = 2
_PASSES = 3

_WORD = re.compile(r"[^\W_]+(?:[-'./][^\W_]+)*")
_LETTERS = re.compile(r"[a-z]+")


@dataclass(frozen=True, order=True)
class _Candidate:
    score: float
    word: str
    distance: int
    beside: float


class SpellCorrector:
    """The shop's words are right; others go to the likeliest word of the shop.

    English words that the shop lacks, and words of one or two products, need neighbours that speak against them.
    Candidates come from deletions (SymSpell). Numbers, model numbers, units and Chinese stay as they are. `pairs` has
    the number of titles in which two words stand in this order, "hdmi cable"; longer phrases in it do not matter.
    """

    def __init__(self, shop_words: Mapping[str, int], pairs: Mapping[str, int] | None = None) -> None:
        self._shop_words = shop_words
        # "outdoor table" speaks for "outdoor tables" as well.
        self._pairs: dict[str, int] = {}
        for phrase, titles in (pairs or {}).items():
            if phrase.count(" ") == 1:
                pair = _pair(*phrase.split(" "))
                self._pairs[pair] = self._pairs.get(pair, 0) + titles
        self._english = english_words()
        self._symspell = SymSpell(max_dictionary_edit_distance=2, prefix_length=7)
        for word, count in shop_words.items():
            if _is_plain(word, MIN_LENGTH):
                self._symspell.create_dictionary_entry(word, count)

    def correct(self, normal: str) -> str:
        """`normal` with its wrong words replaced; the same text where nothing is surely wrong."""
        corrected = normal
        # A word that was mended may tell more of its neighbours.
        for _ in range(_PASSES):
            before, corrected = corrected, self._pass(corrected)
            if corrected == before:
                break
        return corrected if len(corrected) <= MAX_TEXT else normal

    def _pass(self, text: str) -> str:
        places = list(_places(text))
        found = [text[start:end] for start, end in places]
        pieces, last = [], 0
        for number, (start, end) in enumerate(places):
            left = found[number - 1] if number else ""
            right = found[number + 1] if number + 1 < len(found) else ""
            found[number] = self._better(found[number], left, right)
            pieces += [text[last:start], found[number]]
            last = end
        return "".join([*pieces, text[last:]])

    def _better(self, word: str, left: str, right: str) -> str:
        count = self._shop_words.get(word, 0)
        if count >= MIN_PRODUCTS or not _is_plain(word, _MIN_LENGTH_IN_CONTEXT):
            return word
        best = self._likeliest(word, left, right)
        if count or self._english.get(word, 0) >= _COMMON:
            # Known, but not for this shop: only neighbours can speak against it.
            bar = (_RARE if count else _ENGLISH) + _BESIDE * self._beside(word, left, right)
            return best.word if best and _BESIDE * best.beside > bar else word
        if best and (best.beside or self._is_sure(word, best.word, best.distance)):
            return best.word
        return self._split(word)

    def _likeliest(self, word: str, left: str, right: str) -> _Candidate | None:
        near = self._symspell.lookup(word, Verbosity.ALL, max_edit_distance=1)
        if not near and len(word) >= _TWO_MISTAKES_IN_CONTEXT_FROM:
            near = self._symspell.lookup(word, Verbosity.CLOSEST, max_edit_distance=2)
        found = []
        for item in near:
            beside = self._beside(item.term, left, right)
            score = math.log(item.count) + _BESIDE * beside
            score -= _OTHER_FIRST_LETTER * (item.term[0] != word[0]) + _ODD_SLIP * _is_odd(word, item.term)
            found.append(_Candidate(score, item.term, item.distance, beside))
        return max(found, default=None)

    def _is_sure(self, word: str, candidate: str, distance: int) -> bool:
        """Without neighbours that say so."""
        if distance > 1 and len(word) < TWO_MISTAKES_FROM:
            return False
        if word in self._english and _is_odd(word, candidate):
            return False
        if len(word) < MIN_LENGTH:
            return self._shop_words[candidate] >= _MANY_PRODUCTS and not _is_odd(word, candidate)
        return candidate[0] == word[0] or len(word) >= _FIRST_LETTER_FROM or not _is_replaced(word, candidate)

    def _beside(self, word: str, left: str, right: str) -> float:
        """How often it stands in titles beside its neighbours: ln(1 + titles) of each, in either order."""
        beside = 0.0
        for neighbour in filter(None, (left, right)):
            titles = self._pairs.get(_pair(neighbour, word), 0) + self._pairs.get(_pair(word, neighbour), 0)
            beside += math.log1p(titles)
        return beside

    def _split(self, word: str) -> str:
        """Two of the shop's words that stand beside each other in titles and were written as one; or `word`."""
        best, most = word, _MIN_SPLIT - 1
        for at in range(_MIN_LENGTH_IN_CONTEXT, len(word) - _MIN_LENGTH_IN_CONTEXT + 1):
            left, right = word[:at], word[at:]
            titles = self._pairs.get(_pair(left, right), 0)
            if titles > most and left in self._shop_words and right in self._shop_words:
                best, most = f"{left} {right}", titles
        return best


def _places(text: str) -> Iterator[tuple[int, int]]:
    """Where words stand. "patio/garden" is two, "wh-1000xm4" one."""
    for match in _WORD.finditer(text):
        if match.group().isascii() and not any(map(str.isdigit, match.group())):
            for part in _LETTERS.finditer(text, match.start(), match.end()):
                yield part.span()
        else:
            yield match.span()


def _pair(left: str, right: str) -> str:
    """The key of two words in a row, each without the s of a plural."""
    return f"{left.removesuffix('s')} {right.removesuffix('s')}"


def _is_plain(word: str, length: int) -> bool:
    return len(word) >= length and word.isascii() and word.isalpha()


def _is_replaced(word: str, meant: str) -> bool:
    """One letter for another: neither left out, nor too many, nor two that changed places."""
    return len(word) == len(meant) and sorted(word) != sorted(meant)


def _is_odd(word: str, meant: str) -> bool:
    """A letter of another key: each such slip is rarer by far than one left out, doubled, swapped, or a wrong vowel."""
    if len(word) < len(meant) or sorted(word) == sorted(meant):
        return False
    if len(word) > len(meant):
        return all(word[at] != word[at - 1] or word[:at] + word[at + 1 :] != meant for at in range(1, len(word)))
    return not all(a == b or (a in _VOWELS and b in _VOWELS) for a, b in zip(word, meant, strict=True))


@lru_cache(maxsize=1)
def english_words() -> Mapping[str, int]:
    """82,765 English words with how often a large text has them: not wrong, though the shop may not have them."""
    text = (files("symspellpy") / "frequency_dictionary_en_82_765.txt").read_text("utf-8-sig")
    return {word: int(count) for word, count in (line.split(" ", 1) for line in text.splitlines())}
