"""The words of a query as merchandising rules compare them. Texts of rules and queries pass through here alike."""

from __future__ import annotations

import re
from functools import lru_cache

import snowballstemmer

from services.common.scripts import HAN
from services.common.traditional_chinese import simplified
from services.common.typed_text import folded, unaccented

# Each Chinese character is a word: no segmentation has to agree with another one.
_WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:'[^\W_{HAN}]+)*")
_STEMMER = snowballstemmer.stemmer("english")
# The words of a shop's queries repeat.
_REMEMBERED_WORDS = 16_384


def query_words(text: str) -> tuple[str, ...]:
    """The words in their order: without case, accents and signs, English by stem, Chinese simplified, by characters.

    "Women's T-Shirts" and "womens t shirt" have the same words.
    """
    plain = simplified(unaccented(folded(text.replace("’", "'"))))
    return tuple(map(_stem, _WORD.findall(plain)))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a text in lower case are in it: row i for `query_words(text)[i]`.

    Empty if the two do not agree, which takes signs that no query of the encoder has.
    """
    spans = [match.span() for match in _WORD.finditer(text.replace("’", "'"))]
    return spans if len(spans) == len(query_words(text)) else []


@lru_cache(_REMEMBERED_WORDS)
def _stem(word: str) -> str:
    stem: str = _STEMMER.stemWord(word) if word.isascii() and not word.isdigit() else word
    return stem
