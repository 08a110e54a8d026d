"""Ordinary words that are brands or values too: what the titles of the shop say about them."""

from __future__ import annotations

import pytest

from services.common.product import Product
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.constraints import ConstraintFinder
from services.query_encoder.domain.lexicon import Lexicon

# (title, brand, colour)
SHOP = (
    ("Red Bull energy drink", "Red Bull", ""), ("Orange juice", "Tropicana", ""),
    ("Apple juice", "Tropicana", ""), ("Black & Decker drill", "Black & Decker", ""),
    ("Gold Bond lotion", "Gold Bond", ""), ("Rose hair oil", "Garnier", ""),
    ("Silver Spring sauce", "Silver Spring", ""), ("Red dress", "Mango", "red"),
    ("Orange dress", "Mango", "orange"), ("Green coat", "Mango", "green"), ("Black leather boots", "Clarks", "black"),
    ("Silver necklace", "Pandora", "silver"), ("Gold ring", "Pandora", "gold"),
    ("Pink rose bouquet", "Flora", "pink"), ("Rose blouse", "Mango", "rose"), ("Code Red DVD", "Columbia", ""),
    ("Wireless charging pad", "Wireless", ""), ("Wireless mouse", "Logitech", ""),
    ("Wireless headphones", "Sony", ""), ("Back massager", "Back", ""), ("Back support belt", "Mueller", ""),
    ("Laptop bag with back pocket", "Samsonite", ""), ("Tripod", "Unknown", ""),
    ("Unknown pleasures CD", "Factory", ""), ("Vitamin C tablets", "C", ""), ("USB C cable", "Anker", ""),
    ("USB C hub", "Anker", ""), ("HP laptop", "HP", ""), ("HP printer", "HP", ""),
    ("Laptop sleeve", "Anker", ""), ("Phone", "Apple", ""), ("Tablet", "Apple", ""),
    ("Camera EOS", "Canon", ""), ("Dr. Martens boots", "Dr. Martens", ""), ("Sharp microwave", "Sharp®", ""),
    ("Pencil", "Faber", ""), ("Remote URC", "Universal Remote Control", ""),
)  # fmt: skip


def shop() -> Lexicon:
    """Each title twice: phrases of one title alone are not learned."""
    return Lexicon.of(
        Product(id=str(number), title=title, brand=brand, attributes={"colour": (colour,)} if colour else {})
        for number, (title, brand, colour) in enumerate(SHOP * 2)
    )


LEXICON, DOMAIN = shop(), embedded_domain()
FINDER = ConstraintFinder(DOMAIN.conditions, DOMAIN.graph, "USD")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("red bull", ["Red Bull"]),
        ("orange juice", []),
        ("apple juice", []),
        ("black & decker", ["Black & Decker"]),
        ("black and decker drill", ["Black & Decker"]),
        ("black decker", ["Black & Decker"]),
        ("gold bond", ["Gold Bond"]),
        ("rose hair oil", []),
        ("silver spring", ["Silver Spring"]),
        ("code red", []),
        ("wireless mouse", []),
        ("wireless", []),
        ("back support", []),
        ("back", []),
        ("unknown", []),
        ("unknown tripod", []),
        ("usb c cable", []),
        ("c", []),
        ("sharp pencil", []),
        ("red dress", ["red"]),
        ("orange dress", ["orange"]),
        ("red boots", ["red"]),
        ("silver necklace", ["silver"]),
        ("rose blouse", ["rose"]),
        ("hp laptop", ["HP"]),
        ("apple phone", ["Apple"]),
        ("canon camera", ["Canon"]),
        ("sharp microwave", ["Sharp®"]),
        ("sharp", ["Sharp®"]),
        ("boots by sharp", ["Sharp®"]),
        ("dr. martens", ["Dr. Martens"]),
        ("mango red dress", ["Mango", "red"]),
        ("dress of mango", []),
        ("universal remote control", []),
        ("green coach", []),
        ("red medal", []),
    ],
)
def test_brands_and_colours(text: str, found: list[str]) -> None:
    """A brand or colour is one only where titles with the same words say so, and each word is used once."""
    assert [one.value for one in FINDER.names(text, LEXICON)] == found


def test_without_statistics() -> None:
    """Without counts of titles a brand is one, but one of two letters only if it is the whole query."""
    old = Lexicon(brands={"back": "Back", "hp": "HP"})
    assert [[one.value for one in FINDER.names(text, old)] for text in ("back pain", "hp", "hp ink")] == [
        ["Back"], ["HP"], [],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [("佳能相机", ["Canon"]), ("佳能", []), ("苹果汁", []), ("大疆相机", [])],
)
def test_chinese_names_of_brands(text: str, found: list[str]) -> None:
    """The Chinese name of a brand of the shop is a condition, if its products are what is asked for."""
    mentions = ConceptFinder(DOMAIN.graph).read(text).mentions
    assert [one.value for one in FINDER.with_concepts([], mentions, LEXICON)] == found
