"""What a product is for, by its title."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.compatibility import MAX_PHRASE, MAX_PHRASES, compatible_with, name_words, words_of
from services.common.product import Product


@pytest.mark.parametrize(
    ("title", "phrases"),
    [
        ("Battery for Select Canon EOS Digital Cameras - Black", ("canon eos digital camera",)),
        ("Leather Case for Acme&reg; Slate&reg; 1 and 2 (3-Pack)", ("acme slate 1",)),
        ("Case for Acme Slate, Slate 2 & Bolt Phones with Stand", ("acme slate", "slate 2", "bolt phone")),
        ("Installation Kit for 1988 - 1994 Bolt Trucks - Blue", ("1988 1994 bolt truck",)),
        ("Stand for Most Flat-Panel TVs Up to 52", ("flat-panel tvs",)),
        ("Sleeve - Fits Acme Voyager", ("acme voyager",)),
        ("Dock compatible with Bolt Phones", ("bolt phone",)),
        ("Soundbar for Acme HDTVs and Speaker for Bolt Phones", ("acme hdtv", "speaker", "bolt phone")),
        ("Battery for Select Acme and Bolt Laptops", ("acme laptop", "bolt laptop")),
        ("Dock for Phones and Bolt Slates", ("phone", "bolt slate")),
        ("Snap Fit Case", ()),
        ("Songs for the Road - CD", ()),
        ("Acme Slate 2 in Black", ()),
        ("All-for-one Gift Set", ()),
        ("手机壳 for Acme", ()),
    ],
)
def test_phrases(title: str, phrases: tuple[str, ...]) -> None:
    """What follows "for", "fits" or "compatible with", each alternative alone, without words that name nothing."""
    assert compatible_with(Product(id="p", title=title)) == phrases


@pytest.mark.parametrize(
    ("title", "brand", "words"),
    [
        ("Acme - Slate 2 with Wi-Fi - 16GB Memory - Black", "Acme", {"acme", "slate", "2", "16gb"}),
        ("Laptop / 15.6 Display / Hard Drive", "Acme", {"acme", "laptop", "15.6"}),
        ("Acme - 46 Class / 120Hz / LCD HDTVs", "Acme", {"acme", "46", "class", "120hz", "hdtv"}),
    ],
)
def test_words_that_name_a_product(title: str, brand: str, words: set[str]) -> None:
    """Its parts are not among them: a memory card is not for a tablet because the tablet has memory."""
    assert name_words(title, brand) == words


@given(
    st.text(max_size=300) | st.lists(st.sampled_from(["for", "fits", "Acme", "2", ",", "and", "x" * 70])).map(" ".join)
)
def test_any_title(title: str) -> None:
    """Phrases are bounded, each once, and of words as `words_of` gives them."""
    phrases = compatible_with(Product(id="p", title=title))
    assert len(set(phrases)) == len(phrases) <= MAX_PHRASES
    for phrase in phrases:
        assert 1 <= len(phrase) <= MAX_PHRASE
        assert words_of(phrase) == phrase.split()
