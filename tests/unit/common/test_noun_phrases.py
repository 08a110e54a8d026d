"""Noun phrases of titles and queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.noun_phrases import before_preposition, noun_phrase, says_for, singular


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
        ("game console", ["game", "console"]),
        ("22-mile, 7-channel radio", ["22-mile", "7-channel", "radio"]),
        ("bag, black", ["bag"]),
        ("zoom lenses", ["zoom", "lens"]),
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
        ("lenses", "lens"), ("mice", "mouse"), ("knives", "knife"),
    ],
)  # fmt: skip
def test_singular(word: str, one: str) -> None:
    """Singular and plural give the same word."""
    assert singular(word) == one
    assert singular(one) == one


@pytest.mark.parametrize(
    ("text", "before", "is_for"),
    [
        ("case for ipad", "case ", True),
        ("slate with wi-fi", "slate ", False),
        ("for ipad", "for ipad", False),
        ("laptop", "laptop", False),
    ],
)
def test_prepositions(text: str, before: str, is_for: bool) -> None:
    """What stands before the first one, and whether a text says what something is for."""
    assert before_preposition(text) == before
    assert says_for(text) is is_for
