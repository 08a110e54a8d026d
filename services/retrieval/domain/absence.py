"""What a text states that a product does without: "sugar free", "no mic", 无糖.

The engine's tokenizer drops "no" and "without", so an absence is indexed as a word of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.common.scripts import HAN, has_han, is_han

# Begins no word of a language. Letters only: the tokenizer keeps such a word whole, and stems its end.
_PREFIX = "qabsentq"
# Characters of a Chinese word that may be absent.
_LONGEST_CHINESE = 4
_HAVING = "含带有加"
_LETTERS = str.maketrans("0123456789", "ghijklmnop")

_BETWEEN = r"(?:(?:a|an|any|the|added|extra|built-in)\s+)*"
_NEGATED = re.compile(
    r"(?<![\w'-])(?:no|not|without|w/o|non|zero|sans|excludes|excluding|except|lacks|free\s+(?:of|from))[\s-]+"
    rf"{_BETWEEN}([a-z]+)((?:\s*(?:,|/|\bor\b|\bnor\b)\s*{_BETWEEN}[a-z]+)*)"
)
# "wired, free shipping" does without nothing.
_FREE = re.compile(r"([a-z]{2,})(?:\s*[-‐‑]\s*|\s+)free\b(?!\s+(?:shipping|delivery|returns?|gift|standing|of|from)\b)")
_LEFT_OUT = re.compile(r"([a-z]+)\s+(?:is|are|not)?\s*(?:not\s+included|excluded|sold\s+separately)\b")
_CHINESE = re.compile(rf"(?:无|不含|不带|不包含|没有|零)(?:有|任何|添加)?([{HAN}]{{1,{_LONGEST_CHINESE}}})")
_WORD = re.compile(r"[a-z]+")
_JOINING = frozenset({"or", "nor"})


def absence_word(word: str) -> str:
    """The indexed word for the absence of `word`, in lower case; empty for a word without a letter or Han character."""
    letters = "".join(c if "a" <= c <= "z" else f"{ord(c):x}z".translate(_LETTERS) for c in word if _is_written(c))
    return f"{_PREFIX}{letters}" if letters else ""


def absence_words(text: str) -> list[str]:
    """The indexed words for the absence of each word of `text`, in lower case; of a Chinese text that of the whole."""
    words = [text] if has_han(text) else _WORD.findall(text)
    return [word for word in map(absence_word, words) if word]


def forms_of(text: str) -> list[str]:
    """Ways to write that a product has something. The tokenizer takes 含糖, "contains sugar", as one word."""
    return [text, *(f"{having}{text}" for having in _HAVING)] if has_han(text) else [text]


def absences(text: str) -> Iterator[str]:
    """The words that a text in lower case states the absence of; of Chinese ones each beginning."""
    for match in _NEGATED.finditer(text):
        yield match[1]
        yield from (word for word in _WORD.findall(match[2]) if word not in _JOINING)
    if "free" in text:
        yield from (match[1] for match in _FREE.finditer(text))
    if "separately" in text or "cluded" in text:
        yield from (match[1] for match in _LEFT_OUT.finditer(text))
    if not text.isascii():
        for match in _CHINESE.finditer(text):
            yield from (match[1][:end] for end in range(1, len(match[1]) + 1))


def _is_written(character: str) -> bool:
    return "a" <= character <= "z" or is_han(character)
