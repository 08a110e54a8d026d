"""What a product is, by its title."""

from __future__ import annotations

import pytest

from services.common.product import Product
from services.common.product_type import product_type


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
        ("Acme - D3100 - Black", "Acme", ""),
        ("Acme D3100", "Acme", ""),
        ("苹果手机壳", "", ""),
        ("12345", "", ""),
    ],
)
def test_types(title: str, brand: str, type: str) -> None:
    """The head of the first part after the brand; a medium or a TV at the end decides."""
    assert product_type(Product(id="p", title=title, brand=brand)) == type


def test_a_title_in_english_beside_a_chinese_one() -> None:
    """A product with a Chinese title has the type of its English one."""
    assert product_type(Product(id="p", title="苹果手机壳", localized_titles={"en": "Silicone Phone Cases"})) == "case"
