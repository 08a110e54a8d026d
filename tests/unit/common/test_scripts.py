"""Which characters count as Chinese."""

from __future__ import annotations

import unicodedata

import pytest

from services.common.scripts import has_han, is_han


@pytest.mark.parametrize(
    "character",
    ["\u4e00", "\u9fff", "\u3400", "\u4dbf", "\uf900", "\ufaff", "\u8c48", "\U00020000", "\U000323af", "鞋", "靴"],
)
def test_ideographs_are_han(character: str) -> None:
    """Unified ideographs, their extensions and the compatibility ideographs are Han characters."""
    assert is_han(character)


@pytest.mark.parametrize(
    "character",
    ["한", "\uac00", "\ud7a3", "\u1100", "ᄒ", "く", "ツ", "ー", "a", "é", "ж", "1", "、", "\ue000", "\ua015", ""],
)
def test_other_scripts_are_not(character: str) -> None:
    """Hangul, kana, letters, digits, punctuation, private-use characters and Yi are not Han characters."""
    assert not is_han(character)


def test_every_named_ideograph_of_the_basic_plane() -> None:
    """In the basic plane a character is Han exactly where Unicode names it an ideograph of Chinese."""
    named = {
        chr(code)
        for code in range(0x3100, 0x10000)
        if unicodedata.name(chr(code), "").startswith(("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH"))
    }
    assert {character for character in named if not is_han(character)} == set()
    others = (chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) != "Cn")
    assert {character for character in others if is_han(character)} == named


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nike 跑步鞋", True),
        ("赤いくつ", True),
        ("운동화", False),
        ("ランニングシューズ", False),
        ("running shoes", False),
        ("", False),
    ],
)
def test_text_with_han(text: str, expected: bool) -> None:
    """A text has Han characters if at least one of its characters is one."""
    assert has_han(text) is expected
