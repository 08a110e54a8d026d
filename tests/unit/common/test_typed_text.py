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


@given(st.text(st.sampled_from("aZ ™®©℠&;amptrde#1Ａ½-") | st.characters(), max_size=60))
def test_a_folded_text_is_plain(text: str) -> None:
    """No sign is left, nor letters that NFKC makes of a sign: without signs the text folds to the same words."""
    assert not set("™®©℠℗").intersection(folded(text))
    if "&" not in text:
        bare = "".join(" " if character in "™®©℠℗" else character for character in text)
        assert "".join(folded(text).split()) == "".join(folded(bare).split())
