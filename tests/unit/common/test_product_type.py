"""What a product is, by its title."""

from __future__ import annotations

import pytest

from services.common.product import Product
from services.common.product_type import product_type, read_title


@pytest.mark.parametrize(
    ("title", "brand", "type"),
    [
        ("Acme® - Slate® 2 with Wi-Fi - 16GB - Black", "Acme", "slate"),
        ("Leather Case for Acme Slate 2 - Black", "", "case"),
        ("Acme &amp; Sons - Folding Chair (2-Pack)", "Acme &amp; Sons", "chair"),
        ('Acme - 46" Class / 1080p / 120Hz / LCD HDTV', "Acme", "hdtv"),
        ("Acme - Refurbished 32 Class - LED - 1080p - HDTV", "Acme", "hdtv"),
        ("Hidden Camera [2 Discs] - Widescreen - DVD", "", "dvd"),
        ("Acme - Satellite Laptop / 15.6 Display / 4GB Memory - Silver", "Acme", "laptop"),
        ("4 in. x 4 in. x 8 ft. Vinyl Fence Post", "", "post"),
        ("1-Handle Shower Faucet Trim Kit in Chrome (Valve Not Included)", "", "kit"),
        ("36 in. - 66 in. Telescoping Curtain Rod in Bronze", "", "rod"),
        ("2-Way Speaker System (Pair)", "", "speaker"),
        ("Acme - 30-Mile, 7-Channel Weather Radio", "Acme", "radio"),
        ("Acme - microTALK 27-Mile, 22-Channel 2-Way Radio (Pair)", "Acme", "radio"),
        ("Acme - 3D / Wi-Fi Built-In Blu-ray Disc Player - Silver", "Acme", "player"),
        ("Case Works - Case for Portable Hard Drives", "Case Works", "case"),
        ("Acme - TV Stand for Flat-Panel TVs Up to 42", "Contoso", "stand"),
        ("Acme - Fit Armband for Slate", "Acme", "armband"),
        ("Acme - Orbit 360 4GB Console", "Acme", "console"),
        ("Galaxy Racer: The Return of the Camera - PlayStation 3", "Acme", "game"),
        ("Galaxy Racer (Game Guide) - PlayStation 3, Xbox 360", "Acme", "guide"),
        ("Acme Photo Editor Deluxe - Mac/Windows", "Acme", "software"),
        ("Acme - D3100 - Black", "Acme", ""),
        ("Acme D3100", "Acme", ""),
        ("苹果手机壳", "", ""),
        ("12345", "", ""),
    ],
)
def test_types(title: str, brand: str, type: str) -> None:
    """The head of the first part after the brand; a medium, a platform or a TV at the end decides."""
    assert product_type(Product(id="p", title=title, brand=brand)) == type


def test_a_title_in_english_beside_a_chinese_one() -> None:
    """A product with a Chinese title has the type of its English one."""
    assert product_type(Product(id="p", title="苹果手机壳", localized_titles={"en": "Silicone Phone Cases"})) == "case"


@pytest.mark.parametrize(
    ("title", "words", "others", "lead"),
    [
        ("Acme - Slate 2 with Wi-Fi - Black", "acme slate 2", "wi-fi black", "slate"),
        ("Acme - Leather Case for Fabrikam Slate - Black", "acme leather case", "fabrikam slate black", "leather"),
        ("Acme - Voyager Laptop / 15.6 Display / Hard Drive", "acme voyager laptop", "display hard drive", "voyager"),
        ("Acme - Acme 3DS (Red)", "acme 3ds", "red", "3ds"),
    ],
)
def test_the_phrase_that_names_the_product(title: str, words: str, others: str, lead: str) -> None:
    """It ends before a preposition, and with the part of the head; the lead is its first word behind the brand."""
    reading = read_title(Product(id="p", title=title, brand="Acme"))
    assert set(words.split()) <= set(reading.phrase.split())
    assert set(others.split()).isdisjoint(reading.phrase.split())
    assert reading.lead == lead
