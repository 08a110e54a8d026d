"""Noun phrases of titles and queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.noun_phrases import noun_phrase, singular


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("leather case for apple ipad", ["leather", "case"]),
        ("ipad cases", ["ipad", "case"]),
        ("camera with wifi", ["camera"]),
        ("memory for macbook pro", ["memory"]),
        ("printers in white", ["printer"]),
        ("all in one printer", ["all", "in", "one", "printer"]),
        ("slip-on shoes", ["slip-on", "shoe"]),
        ("set of 4 kitchen chairs", ["4", "kitchen", "chair"]),
        ("pair of gloves", ["glove"]),
        ("home theater system", ["home", "theater"]),
        ("system", ["system"]),
        ("nikon d3100", ["nikon"]),
        ("for ipad", ["ipad"]),
        ("360", []),
        ("", []),
    ],
)
def test_head(text: str, words: list[str]) -> None:
    """The words before a preposition, the head last, without numbers and forms at the end."""
    assert noun_phrase(text) == words


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Any text has a phrase or none, and its last word has no digit."""
    words = noun_phrase(text.lower())
    assert not any(character.isdigit() for character in "".join(words[-1:]))


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("jeans", "jean"), ("dresses", "dress"), ("dress", "dress"), ("batteries", "battery"), ("watches", "watch"),
        ("boxes", "box"), ("shoes", "shoe"), ("usb", "usb"), ("canvas", "canva"), ("tennis", "tennis"), ("gas", "gas"),
    ],
)  # fmt: skip
def test_singular(word: str, one: str) -> None:
    """Singular and plural give the same word."""
    assert singular(word) == one
    assert singular(one) == one
