"""Spelling correction towards the words of the shop. A word is replaced only if it is surely wrong.

Candidates are weighed as in a noisy-channel model (Kernighan, Church & Gale, COLING 1990): by the number of the shop's
titles that contain the candidate, by how often it is next to the other words of the query in those titles, and by how
unlikely the typo is. If that does not decide, a word that no title has stays, and the most likely other word becomes
a spelling alternative. Retrieval looks it up if no product has the typed word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from typing import NamedTuple

from symspellpy import SymSpell, Verbosity
from symspellpy.suggest_item import SuggestItem

from services.common.limits import MAX_QUERY
from services.common.noun_phrases import singular
from services.common.scripts import has_han
from services.common.typed_text import unaccented
from services.query_encoder.domain.side_by_side import SideBySide, parts_of

# Letters of a word that is corrected. Shorter words are similar to too many others: a word of three letters is
# corrected only with the help of the words next to it, or to a frequent word.
MIN_LENGTH = 4
_MIN_LENGTH_IN_CONTEXT = 3
# Letters from which on two mistakes are corrected; from the second number on, if the words next to it support that.
TWO_MISTAKES_FROM = 7
_TWO_MISTAKES_IN_CONTEXT_FROM = 6
# A word that occurs in so many products is never corrected. A rarer one may be a typo of the shop itself.
MIN_PRODUCTS = 3
# Weights of the score, in units of ln(products): of the words next to it, of another first letter, of an unlikely typo.
# Chosen on typos made in Home Depot's queries, see docs/benchmarks.md.
_NEIGHBOURS, _OTHER_FIRST_LETTER, _UNLIKELY_TYPO = 1.5, 1.0, 2.0
# Evidence of the neighbouring words that is needed to replace a word of one or two products, and an English word.
_RARE, _ENGLISH = 3.0, 3.0
# Products that a word must have to replace one of three letters without the help of neighbouring words.
_MANY_PRODUCTS = 20
# Occurrences in a text of 10^12 words from which on an English word is common. "emote" is rarer: it is a typo of
# "remote" rather than meant. "vest" is rare too, but no typo of "vent": letters are left out, doubled or swapped by
# mistake, but rarely replaced by another letter.
_COMMON = 5_000_000
_VOWELS = "aeiouy"
# Two words written as one are split if they are next to each other in so many titles. If one of the two is corrected
# too, both must have at least so many letters.
_MIN_SPLIT = 2
_MIN_PART = 4
# Passes over a query: a corrected word is evidence for the words next to it.
_PASSES = 3
# Words whose candidates are kept in memory: the same words are typed again and again.
_CACHED = 8_192

_WORD = re.compile(r"[^\W_]+(?:[-'./][^\W_]+)*")
_LETTERS = re.compile(r"[a-z]+")


@dataclass(frozen=True, order=True)
class _Candidate:
    score: float
    word: str
    distance: int
    neighbours: float


class Alternative(NamedTuple):
    """A word that stays although no title has it, and a word of the shop that the shopper may have meant."""

    typed: str
    meant: str


@dataclass(frozen=True)
class Spelling:
    """`text` is the corrected text. `alternatives`: for words of `text`, each `meant` once and none that `text` has."""

    text: str
    alternatives: tuple[Alternative, ...] = ()


class SpellCorrector:
    """Replaces words that the shop does not know by the most likely word of the shop.

    English words that the shop does not have, and words of one or two products, are replaced only if the words next to
    them are evidence against them. No other word of the shop is replaced, and no word that a title has beside the word
    before or after it. Candidates are found by deletions (SymSpell). Numbers, model numbers, units and Chinese are not
    changed. `pairs` has the number of titles that contain two words in this order ("hdmi cable"); longer phrases in it
    are ignored. `domain_words`, in the singular, are replaced only if their neighbours are evidence, and have no
    alternatives.
    """

    def __init__(
        self,
        shop_words: Mapping[str, int],
        pairs: Mapping[str, int] | None = None,
        domain_words: frozenset[str] = frozenset(),
        side_by_side: SideBySide | None = None,
    ) -> None:
        self._shop_words, self._domain_words = shop_words, domain_words
        self._side_by_side = side_by_side or SideBySide(shop_words, pairs or ())
        # "broil" is a rare word of a shop that writes "char-broil".
        self._parts = {part for word in shop_words if not word.isalnum() for part in parts_of(word)}
        # "outdoor table" is evidence for "outdoor tables" as well.
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
        # "wifi" is no typo of "wife" in a shop that writes "Wi-Fi".
        hyphened = sorted((count, word) for word, count in shop_words.items() if "-" in word)
        self._hyphened = {word.replace("-", ""): word for _, word in hyphened}
        # "muller" is no typo of "miller" in a shop that writes "Müller".
        self._accented = {unaccented(word) for word in shop_words if not word.isascii() and not has_han(word)}
        self._near = lru_cache(_CACHED)(partial(_near, self._symspell))

    def correct(self, normal: str) -> str:
        """`normal` with its wrong words replaced; the same text if no word is surely wrong."""
        return self.read(normal).text

    def read(self, normal: str) -> Spelling:
        """The corrected text, and alternatives for its doubtful words."""
        spelling = Spelling(normal)
        for _ in range(_PASSES):
            before, spelling = spelling.text, self._pass(spelling.text)
            if spelling.text == before:
                break
        return spelling if len(spelling.text) <= MAX_QUERY else Spelling(normal)

    def _pass(self, text: str) -> Spelling:
        places = list(_places(text))
        found = [text[start:end] for start, end in places]
        pieces, last, alternatives = [], 0, dict[str, Alternative]()
        for number, (start, end) in enumerate(places):
            left = found[number - 1] if number else ""
            right = found[number + 1] if number + 1 < len(found) else ""
            better = self._better(found[number], left, right)
            for one in better.alternatives:
                alternatives.setdefault(one.meant, one)
            found[number] = better.text
            pieces += [text[last:start], found[number]]
            last = end
        fresh = (one for meant, one in alternatives.items() if meant not in found)
        return Spelling("".join([*pieces, text[last:]]), tuple(fresh))

    def _better(self, word: str, left: str, right: str) -> Spelling:
        """The replacement of one word, or the word itself, with alternatives."""
        if not _is_plain(word, _MIN_LENGTH_IN_CONTEXT):
            return Spelling(word)
        count = self._shop_words.get(word, 0) or int(word in self._parts)
        if count >= MIN_PRODUCTS or (left, word) in self._side_by_side or (word, right) in self._side_by_side:
            return Spelling(word)
        if word in self._accented:
            return Spelling(word)
        hyphened = self._hyphened.get(word)
        if hyphened and (not count or self._shop_words[hyphened] >= MIN_PRODUCTS):
            return Spelling(hyphened)
        best = self._best_candidate(word, left, right)
        is_of_domain = singular(word) in self._domain_words
        if count or self._english.get(word, 0) >= _COMMON:
            # A known word that is rare in this shop: only the words next to it are evidence against it.
            needed = (_RARE if count else _ENGLISH) + _NEIGHBOURS * self._neighbours(word, left, right)
            if best and _NEIGHBOURS * best.neighbours > needed:
                return Spelling(best.word)
            is_alternative = best and not count and not is_of_domain and not _is_unlikely_typo(word, best.word)
            return Spelling(word, (Alternative(word, best.word),) if best and is_alternative else ())
        if best and (best.neighbours or (not is_of_domain and self._is_sure(word, best.word, best.distance))):
            return Spelling(best.word)
        if split := self._split(word) or self._split_and_corrected(word):
            return Spelling(split)
        return Spelling(word, (Alternative(word, best.word),) if best and not is_of_domain else ())

    def _best_candidate(self, word: str, left: str, right: str) -> _Candidate | None:
        found = []
        for item in self._near(word):
            neighbours = self._neighbours(item.term, left, right)
            score = math.log(item.count) + _NEIGHBOURS * neighbours
            score -= _OTHER_FIRST_LETTER * (item.term[0] != word[0])
            score -= _UNLIKELY_TYPO * _is_unlikely_typo(word, item.term)
            found.append(_Candidate(score, item.term, item.distance, neighbours))
        return max(found, default=None)

    def _is_sure(self, word: str, candidate: str, distance: int) -> bool:
        """Whether `candidate` is surely meant, without evidence of neighbouring words."""
        if distance > 1 and len(word) < TWO_MISTAKES_FROM:
            return False
        if len(word) < MIN_LENGTH:
            return self._shop_words[candidate] >= _MANY_PRODUCTS and not _is_unlikely_typo(word, candidate)
        return word not in self._english or not _is_unlikely_typo(word, candidate)

    def _neighbours(self, word: str, left: str, right: str) -> float:
        """How often `word` is next to `left` and `right` in titles, in either order: the sum of ln(1 + titles)."""
        evidence = 0.0
        for neighbour in filter(None, (left, right)):
            titles = self._pairs.get(_pair(neighbour, word), 0) + self._pairs.get(_pair(word, neighbour), 0)
            evidence += math.log1p(titles)
        return evidence

    def _split(self, word: str) -> str:
        """Two words of the shop that were written as one, if they are next to each other in titles; otherwise empty."""
        best, most = "", _MIN_SPLIT - 1
        for at in range(_MIN_LENGTH_IN_CONTEXT, len(word) - _MIN_LENGTH_IN_CONTEXT + 1):
            left, right = word[:at], word[at:]
            titles = self._pairs.get(_pair(left, right), 0)
            if titles > most and left in self._shop_words and right in self._shop_words:
                best, most = f"{left} {right}", titles
        return best

    def _split_and_corrected(self, word: str) -> str:
        """The same, for two words of which one has a typo."""
        best, most = "", _MIN_SPLIT - 1
        for at in range(_MIN_PART, len(word) - _MIN_PART + 1):
            left, right = word[:at], word[at:]
            knows_left, knows_right = self._is_known(left), self._is_known(right)
            if knows_left == knows_right:
                continue
            for item in self._near(right if knows_left else left):
                parts = (left, item.term) if knows_left else (item.term, right)
                titles = self._pairs.get(_pair(*parts), 0)
                if titles > most and item.distance == 1:
                    best, most = " ".join(parts), titles
        return best

    def _is_known(self, word: str) -> bool:
        return self._shop_words.get(word, 0) >= MIN_PRODUCTS


def _near(symspell: SymSpell, word: str) -> Sequence[SuggestItem]:
    """Words that differ by one mistake; if there are none, words that differ by two."""
    near: Sequence[SuggestItem] = symspell.lookup(word, Verbosity.ALL, max_edit_distance=1)
    if not near and len(word) >= _TWO_MISTAKES_IN_CONTEXT_FROM:
        near = symspell.lookup(word, Verbosity.CLOSEST, max_edit_distance=2)
    return near


def _places(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the words. "patio/garden" is two words, "wh-1000xm4" is one."""
    for match in _WORD.finditer(text):
        if match.group().isascii() and not any(map(str.isdigit, match.group())):
            for part in _LETTERS.finditer(text, match.start(), match.end()):
                yield part.span()
        else:
            yield match.span()


def _pair(left: str, right: str) -> str:
    """The key of two consecutive words, each without the s of a plural."""
    return f"{left.removesuffix('s')} {right.removesuffix('s')}"


def _is_plain(word: str, length: int) -> bool:
    return len(word) >= length and word.isascii() and word.isalpha()


def _is_unlikely_typo(word: str, meant: str) -> bool:
    """Whether `word` differs from `meant` by another letter. That is much rarer than a letter that is left out, doubled
    or swapped, and than a wrong vowel.
    """
    if len(word) < len(meant) or sorted(word) == sorted(meant):
        return False
    if len(word) > len(meant):
        return all(word[at] != word[at - 1] or word[:at] + word[at + 1 :] != meant for at in range(1, len(word)))
    return not all(a == b or (a in _VOWELS and b in _VOWELS) for a, b in zip(word, meant, strict=True))


@lru_cache(maxsize=1)
def english_words() -> Mapping[str, int]:
    """82,765 English words with their number of occurrences in a large text. They are not wrong, even if the shop does
    not use them.
    """
    text = (files("symspellpy") / "frequency_dictionary_en_82_765.txt").read_text("utf-8-sig")
    return {word: int(count) for word, count in (line.split(" ", 1) for line in text.splitlines())}
