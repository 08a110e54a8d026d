"""Spelling, corrected towards the shop's own words, and only where a word is surely wrong.

What a word may have been is weighed as a noisy channel does (Kernighan, Church & Gale, COLING 1990): how many of the
shop's titles hold the candidate, how often it stands beside the query's other words there, and how unlikely the slip.
Where that does not decide, the word stays and the likeliest other is a guess, to be looked up beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files

from symspellpy import SymSpell, Verbosity
from symspellpy.suggest_item import SuggestItem

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
# By so much must another word, beside its neighbours, outweigh one of the shop's that never stood beside them to be
# looked up as well: "paint" for the "pant" of "pant sealant".
_DOUBTFUL = 4.0
# Beyond so many titles a word is what was meant: nothing is looked for.
_DOUBTFUL_UP_TO = 300
# Without neighbours, three letters go to a word of so many products only.
_MANY_PRODUCTS = 20
# In a text of a million million words. "emote" is rarer, and a slip for "remote" rather than meant; "vest", rarer as
# well, is none for "vent": letters are left out, doubled or swapped by mistake, seldom taken for one another.
_COMMON = 5_000_000
_VOWELS = "aeiouy"
# Parts that were written as one word must have stood beside each other in this many titles; so long must each be for
# the other to be mended.
_MIN_SPLIT = 2
_MIN_PART = 4
_PASSES = 3
# Words whose neighbours are kept: what people type repeats itself.
_REMEMBERED = 8_192

_WORD = re.compile(r"[^\W_]+(?:[-'./][^\W_]+)*")
_LETTERS = re.compile(r"[a-z]+")


@dataclass(frozen=True, order=True)
class _Candidate:
    score: float
    word: str
    distance: int
    beside: float


@dataclass(frozen=True)
class Spelling:
    """`guesses`: words of the shop that may have been meant by some that stand in `text` as they were typed."""

    text: str
    guesses: tuple[str, ...] = ()


class SpellCorrector:
    """The shop's words are right; others go to the likeliest word of the shop.

    English words that the shop lacks, and words of one or two products, need neighbours that speak against them. No
    other word of the shop is ever replaced: where its neighbours speak for another one, that one is a guess.
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
        self._near = lru_cache(_REMEMBERED)(partial(_near, self._symspell))

    def correct(self, normal: str) -> str:
        """`normal` with its wrong words replaced; the same text where nothing is surely wrong."""
        return self.read(normal).text

    def read(self, normal: str) -> Spelling:
        """The corrected text, and what its doubtful words may have been."""
        spelling = Spelling(normal)
        # A word that was mended may tell more of its neighbours.
        for _ in range(_PASSES):
            before, spelling = spelling.text, self._pass(spelling.text)
            if spelling.text == before:
                break
        return spelling if len(spelling.text) <= MAX_TEXT else Spelling(normal)

    def _pass(self, text: str) -> Spelling:
        places = list(_places(text))
        found = [text[start:end] for start, end in places]
        pieces, last, guesses = [], 0, list[str]()
        for number, (start, end) in enumerate(places):
            left = found[number - 1] if number else ""
            right = found[number + 1] if number + 1 < len(found) else ""
            better = self._better(found[number], left, right)
            guesses += better.guesses
            found[number] = better.text
            pieces += [text[last:start], found[number]]
            last = end
        fresh = (guess for guess in dict.fromkeys(guesses) if guess not in found)
        return Spelling("".join([*pieces, text[last:]]), tuple(fresh))

    def _better(self, word: str, left: str, right: str) -> Spelling:
        """What takes the place of one word."""
        if not _is_plain(word, _MIN_LENGTH_IN_CONTEXT):
            return Spelling(word)
        count = self._shop_words.get(word, 0)
        if count >= MIN_PRODUCTS:
            return Spelling(word, self._doubt(word, count, left, right))
        best = self._likeliest(word, left, right)
        if count or self._english.get(word, 0) >= _COMMON:
            # Known, but not for this shop: only neighbours can speak against it.
            bar = (_RARE if count else _ENGLISH) + _BESIDE * self._beside(word, left, right)
            if best and _BESIDE * best.beside > bar:
                return Spelling(best.word)
            is_guess = best and not count and not _is_odd(word, best.word)
            return Spelling(word, (best.word,) if best and is_guess else ())
        if best and (best.beside or self._is_sure(word, best.word, best.distance)):
            return Spelling(best.word)
        split = self._split(word) or self._split_and_mended(word)
        # The shop does not know the word: a guess takes nothing away.
        return Spelling(split) if split else Spelling(word, (best.word,) if best else ())

    def _doubt(self, word: str, count: int, left: str, right: str) -> tuple[str, ...]:
        """What stands beside its neighbours, where `word`, of `count` titles, never does."""
        if count > _DOUBTFUL_UP_TO or not (left or right) or self._beside(word, left, right):
            return ()
        best = self._likeliest(word, left, right)
        is_likelier = best and best.beside and best.score > _DOUBTFUL + math.log(count)
        return (best.word,) if best and is_likelier else ()

    def _likeliest(self, word: str, left: str, right: str) -> _Candidate | None:
        found = []
        for item in self._near(word):
            beside = self._beside(item.term, left, right)
            score = math.log(item.count) + _BESIDE * beside
            score -= _OTHER_FIRST_LETTER * (item.term[0] != word[0]) + _ODD_SLIP * _is_odd(word, item.term)
            found.append(_Candidate(score, item.term, item.distance, beside))
        return max(found, default=None)

    def _is_sure(self, word: str, candidate: str, distance: int) -> bool:
        """Without neighbours that say so."""
        if distance > 1 and len(word) < TWO_MISTAKES_FROM:
            return False
        if len(word) < MIN_LENGTH:
            return self._shop_words[candidate] >= _MANY_PRODUCTS and not _is_odd(word, candidate)
        return word not in self._english or not _is_odd(word, candidate)

    def _beside(self, word: str, left: str, right: str) -> float:
        """How often it stands in titles beside its neighbours: ln(1 + titles) of each, in either order."""
        beside = 0.0
        for neighbour in filter(None, (left, right)):
            titles = self._pairs.get(_pair(neighbour, word), 0) + self._pairs.get(_pair(word, neighbour), 0)
            beside += math.log1p(titles)
        return beside

    def _split(self, word: str) -> str:
        """Two of the shop's words that stand beside each other in titles and were written as one; empty for none."""
        best, most = "", _MIN_SPLIT - 1
        for at in range(_MIN_LENGTH_IN_CONTEXT, len(word) - _MIN_LENGTH_IN_CONTEXT + 1):
            left, right = word[:at], word[at:]
            titles = self._pairs.get(_pair(left, right), 0)
            if titles > most and left in self._shop_words and right in self._shop_words:
                best, most = f"{left} {right}", titles
        return best

    def _split_and_mended(self, word: str) -> str:
        """The same where one of the two has a slip in it."""
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
    """Of one mistake; where there is none, of two."""
    near: Sequence[SuggestItem] = symspell.lookup(word, Verbosity.ALL, max_edit_distance=1)
    if not near and len(word) >= _TWO_MISTAKES_IN_CONTEXT_FROM:
        near = symspell.lookup(word, Verbosity.CLOSEST, max_edit_distance=2)
    return near


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
