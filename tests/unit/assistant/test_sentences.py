"""Sentences of a text that arrives in pieces."""

from __future__ import annotations

import pytest

from services.assistant.domain.verification.sentences import MAX_SENTENCE, SentenceSplitter
from tests.unit.assistant.jeans import LEXICONS

CASES = [
    ("It costs $59.00. It is blue!", ["It costs $59.00.", "It is blue!"]),
    ("The Dr. Denim Skye is blue. Yes?", ["The Dr. Denim Skye is blue.", "Yes?"]),
    ("Sizes e.g. 32 fit. OK", ["Sizes e.g. 32 fit.", "OK"]),
    ("有货。售价399.5元！还要吗？", ["有货。", "售价399.5元！", "还要吗？"]),
    ("1. The first\n2. The second", ["1. The first", "2. The second"]),
    ('He said "ok." Then more', ['He said "ok."', "Then more"]),
    ("Get the Yahoo! Mug now. Bye", ["Get the Yahoo! Mug now.", "Bye"]),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pieces_of_any_size(text: str, expected: list[str], size: int) -> None:
    """The sentences are the same, whatever the pieces. Decimals, abbreviations and titles are not cut."""
    splitter = SentenceSplitter(LEXICONS["en"].abbreviations, ["Dr. Denim Skye", "Yahoo! Mug"])
    found = [sentence for at in range(0, len(text), size) for sentence in splitter.feed(text[at : at + size])]
    assert [*found, *splitter.rest()] == expected


def test_endless_sentence() -> None:
    """A text without an end is cut: nothing grows without bound."""
    splitter = SentenceSplitter([])
    found = splitter.feed("word " * MAX_SENTENCE)
    assert all(len(sentence) <= MAX_SENTENCE for sentence in found)
    assert len("".join(splitter.rest())) <= MAX_SENTENCE
