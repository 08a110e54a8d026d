"""The type of product that a query asks for, as far as its text shows it."""

from __future__ import annotations

import pytest

from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.asked_type import asked_type
from services.query_encoder.domain.concept_finding import ConceptFinder


@pytest.mark.parametrize(
    ("text", "words", "name"),
    [
        ("tv", ("tv",), "hdtv"),
        ("televisions", ("television",), "tv"),
        ("tv stand with drawers", ("tv", "stand"), "tv stand"),
        ("running shoes for women", ("running", "shoe"), "running shoe"),
        ("battery nikon d3100", ("battery", "nikon"), ""),
        ("手机壳", (), "phone case"),
        ("苹果手机壳", (), "phone case"),
        ("xyzzy", ("xyzzy",), ""),
        ("3ds", ("3ds",), ""),
        ("mp3", ("mp3",), "music player"),
    ],
)
def test_words_and_names(text: str, words: tuple[str, ...], name: str) -> None:
    """The words before a preposition, and the names of the product that they end with, in Chinese of the last one."""
    asked = asked_type(text, ConceptFinder(embedded_domain().graph).read(text).mentions)
    assert asked.words == words
    assert name in asked.names if name else not asked.names
