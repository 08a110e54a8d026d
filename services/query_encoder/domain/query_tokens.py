"""The words of a query with their places, and what an operator takes of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.scripts import HAN

_TOKEN = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+(?:[-'’./&][^\W_{HAN}]+)*|\|")


@dataclass(frozen=True)
class Operation:
    """`start` and `end` in the text: the operator with its words. `values`: what is excluded, the words of a phrase, or
    the alternatives. `kept`: what remains of it in the text.
    """

    start: int
    end: int
    values: tuple[str, ...]
    kept: str = ""


@dataclass(frozen=True)
class Token:
    """`is_joined`: only a space separates it from the token before it."""

    text: str
    start: int
    end: int
    is_joined: bool


def tokens_of(text: str) -> list[Token]:
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        between = text[found[-1].end : match.start()] if found else ""
        found.append(Token(match.group(), match.start(), match.end(), bool(found) and between in (" ", "")))
    return found


def texts(tokens: Sequence[Token]) -> list[str]:
    return [token.text for token in tokens]


def joined(tokens: Sequence[Token]) -> str:
    return " ".join(token.text for token in tokens)


def written(text: str, tokens: Sequence[Token]) -> str:
    return text[tokens[0].start : tokens[-1].end]
