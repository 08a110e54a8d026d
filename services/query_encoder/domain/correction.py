"""Spelling, corrected towards the shop's own words, and only where a word is surely wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from symspellpy import SymSpell, Verbosity

from services.query_encoder.domain.text import MAX_TEXT, words

# Shorter words have too many neighbours.
MIN_LENGTH = 4
# From this length on, two mistakes may be mended.
TWO_MISTAKES_FROM = 8
# A shop's word must stand in this many products before others are corrected towards it.
MIN_PRODUCTS = 3


class SpellCorrector:
    """Words of the shop and of English are right; others go to the nearest word of the shop, the most frequent first.

    Deletion-based candidate search (SymSpell). Numbers, model numbers, units and Chinese stay as they are.
    """

    def __init__(self, shop_words: Mapping[str, int]) -> None:
        self._shop_words = shop_words
        self._symspell = SymSpell(max_dictionary_edit_distance=2, prefix_length=7)
        for word, count in shop_words.items():
            if count >= MIN_PRODUCTS and _is_plain(word):
                self._symspell.create_dictionary_entry(word, count)

    def correct(self, normal: str) -> str:
        """`normal` with its wrong words replaced; the same text where nothing is surely wrong."""
        corrected = normal
        for word in set(words(normal)):
            better = self._better(word)
            if better != word:
                corrected = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", better, corrected)
        return corrected if len(corrected) <= MAX_TEXT else normal

    def _better(self, word: str) -> str:
        if not _is_plain(word) or word in self._shop_words or word in english_words():
            return word
        distance = 2 if len(word) >= TWO_MISTAKES_FROM else 1
        found = self._symspell.lookup(word, Verbosity.CLOSEST, max_edit_distance=distance)
        # The first letter is seldom wrong; a "correction" of it is.
        return next((near.term for near in found if near.term[0] == word[0]), word)


def _is_plain(word: str) -> bool:
    return len(word) >= MIN_LENGTH and word.isascii() and word.isalpha()


@lru_cache(maxsize=1)
def english_words() -> frozenset[str]:
    """Some 82,000 English words: not wrong, though the shop may not have them. Read at first use."""
    text = (files("symspellpy") / "frequency_dictionary_en_82_765.txt").read_text("utf-8-sig")
    return frozenset(line.split(" ", 1)[0] for line in text.splitlines())
