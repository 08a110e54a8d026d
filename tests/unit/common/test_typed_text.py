"""Text as a shopper would type it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.typed_text import as_typed, folded


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("Quorra Lifestyle™ speaker", "Quorra Lifestyle speaker"),
        ("Lifestyle&trade; speaker", "Lifestyle speaker"),
        ("iPod®touch&#xAE;", "iPod touch"),
        ("Bose® ™, ℠", "Bose , "),
        ("Black &amp;amp; Decker", "Black & Decker"),
        ("R&D & AT&TITLE &copy &nosuch;", "R&D & AT&TITLE &copy &nosuch;"),
    ],
)
def test_as_typed(text: str, typed: str) -> None:
    """Entities with their semicolon are decoded, signs go, and a sign between two words leaves a space."""
    assert as_typed(text) == typed


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("ke\u200dttle ke\u00adttle \u98de\u2060\u9a6c", "kettle kettle \u98de\u9a6c"),
        ("N\u0456k\u0435", "Nike"),
        ("\u039dike", "Nike"),
        ("k\u0397z 5 k\u03a9 \u03b2-carotene", "kHz 5 k\u03a9 \u03b2-carotene"),
        ("\u043a\u043e\u0444\u0435 \u03bf\u03b4\u03cc\u03c2", "\u043a\u043e\u0444\u0435 \u03bf\u03b4\u03cc\u03c2"),
        ("\u06a9\u062a\u0627\u0628\u200c\u0647\u0627", "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627"),
    ],
)  # fmt: skip
def test_a_word_is_as_it_is_seen(text: str, typed: str) -> None:
    """Unseen characters inside a word go, and letters of two scripts that look alike are one. Words in Cyrillic alone
    stay, and so do joiners of scripts that need them.
    """
    assert as_typed(text) == typed


@given(st.text(st.sampled_from("aZ ™®©℠&;amptrde#1Ａ½-") | st.characters(), max_size=60))
def test_a_folded_text_is_plain(text: str) -> None:
    """No sign is left, nor letters that NFKC makes of a sign: without signs the text folds to the same words."""
    assert not set("™®©℠℗").intersection(folded(text))
    if "&" not in text:
        bare = "".join(" " if character in "™®©℠℗" else character for character in text)
        assert "".join(folded(text).split()) == "".join(folded(bare).split())
