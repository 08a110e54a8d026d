"""Unicode scripts: which characters are Chinese characters, and which are Latin letters.

All tests of a script use these classes. They are written as code points, because several ideographs have two code
points that look alike: U+8C48 and U+F900 both show as the same character, and a range that starts at the first of them
contains all of Hangul.
"""

from __future__ import annotations

import re

# Han characters, to stand inside the brackets of a regular expression: the unified ideographs, their extensions A to H,
# and the compatibility ideographs. Neither Japanese kana nor Korean Hangul belongs to them.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
# Latin letters of Western Europe, in lower case.
LATIN = "a-z\u00e0-\u00f6\u00f8-\u00ff"
# Hiragana and Katakana: a text that has them is Japanese, and so are its Han characters.
KANA = "\u3041-\u3096\u30a1-\u30fa"

_HAN = re.compile(f"[{HAN}]")


def is_han(character: str) -> bool:
    """Whether this one character is a Han character."""
    return _HAN.fullmatch(character) is not None


def has_han(text: str) -> bool:
    """Whether `text` contains a Han character."""
    return _HAN.search(text) is not None
