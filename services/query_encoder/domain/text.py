"""Text as typed by a shopper: its normal form, its language, its words and tokens."""

from __future__ import annotations

import re
import unicodedata

import rjieba
import snowballstemmer

from services.common.errors import InvalidArgument
from services.common.limits import MAX_QUERY
from services.common.scripts import HAN, KANA, LATIN, is_han
from services.common.typed_text import folded

ENGLISH, CHINESE, UNDETERMINED = "en", "zh", "und"

_HAN = re.compile(f"[{HAN}]")
_LATIN = re.compile(f"[{LATIN}]", re.IGNORECASE)
_KANA = re.compile(f"[{KANA}]")
_WORD = re.compile(rf"[{HAN}]+|[^\W_]+(?:[-'./][^\W_]+)*")
_STEMMER = snowballstemmer.stemmer("english")


def normalise(text: str) -> str:
    """The `normal_form` of a query.

    Raises InvalidArgument that names `text` if the text is empty or has more than MAX_QUERY characters.
    """
    if len(text) > MAX_QUERY:
        raise InvalidArgument.of("text", f"has {len(text)} characters; at most {MAX_QUERY}")
    normal = normal_form(text)
    if not normal:
        raise InvalidArgument.of("text", "is empty; send at least one visible character")
    return normal


def normal_form(text: str) -> str:
    """`folded`, with one space between words and no control characters. May be empty.

    At most MAX_QUERY characters, the rest is cut off: NFKC can make a text eighteen times as long.
    """
    plain = folded(text[:MAX_QUERY])
    visible = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in plain)
    return " ".join(visible.split())[:MAX_QUERY].rstrip()


def detect_language(normal: str) -> str:
    """ "zh" if most of the text is in Han characters, "en" if most is in Latin letters, "und" if it has neither, or if
    it has kana (Japanese) and most is not in Latin letters.

    A Han character says about as much as four Latin letters, so the mixed text "nike 跑步鞋" is Chinese.
    """
    han, latin, kana = (len(script.findall(normal)) for script in (_HAN, _LATIN, _KANA))
    if not han and not latin:
        return UNDETERMINED
    if 4 * han + kana < latin:
        return ENGLISH
    return UNDETERMINED if kana else CHINESE


def words(normal: str) -> list[str]:
    """The words in their order. Chinese is segmented (jieba); "wh-1000xm4" and "1/2" stay whole."""
    found: list[str] = []
    for run in _WORD.findall(normal):
        found.extend(rjieba.cut(run) if is_han(run[0]) else [run])
    return found


def tokens(normal: str, stop_words: frozenset[str]) -> list[str]:
    """`words` without stop words; English words are stemmed (Snowball, Porter2)."""
    kept = [word for word in words(normal) if word not in stop_words]
    return [_STEMMER.stemWord(word) if word.isascii() and word.isalpha() else word for word in kept]
