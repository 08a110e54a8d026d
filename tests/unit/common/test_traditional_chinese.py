"""Traditional characters become simplified ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.traditional_chinese import simplified, traditional_forms


@pytest.mark.parametrize(
    ("traditional", "expected"),
    [
        ("紅色牛仔褲", "红色牛仔裤"),
        ("雙肩後背包", "双肩后背包"),
        ("電熱水壺", "电热水壶"),
        # Taiwan and Hong Kong: OpenCC's table of characters has none of these.
        ("矽膠項鍊", "硅胶项链"),
        ("27吋枱燈", "27寸台灯"),
        ("籐椅穿著", "藤椅穿着"),
        ("红色跑步鞋", "红色跑步鞋"),
        ("Nike 跑鞋", "Nike 跑鞋"),
        ("한국어", "한국어"),
    ],
)
def test_words_of_shops(traditional: str, expected: str) -> None:
    """Words of shops in Taiwan and Hong Kong read as the simplified words; everything else stays as it is."""
    assert simplified(traditional) == expected


@given(st.text(alphabet=st.characters(min_codepoint=0x3400, max_codepoint=0x323AF)))
def test_places_stay(text: str) -> None:
    """The replacement keeps the length, and replacing a second time changes nothing."""
    once = simplified(text)
    assert len(once) == len(text)
    assert simplified(once) == once


@pytest.mark.parametrize(("character", "forms"), [("红", {"紅"}), ("发", {"發", "髮"}), ("鞋", set())])
def test_forms(character: str, forms: set[str]) -> None:
    """A simplified character names all the traditional characters that it replaces."""
    assert set(traditional_forms(character)) == forms
    assert {simplified(form) for form in forms} <= {character}
