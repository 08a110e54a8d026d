"""How values of products are compared: one rule for filters, facets and their counts."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# A shop has few brands, categories and attribute values, and each of them many times.
_REMEMBERED_TEXTS = 16_384
_CATEGORY_LEVELS = ">"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII)


@lru_cache(_REMEMBERED_TEXTS)
def comparison_form(text: str) -> str:
    """Equal for texts that differ in case, width and blanks only: " Navy  Blue" and "navy blue"."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def category_form(path: Iterable[str]) -> tuple[str, ...]:
    """A category path from broad to narrow, each level in its comparison form."""
    return tuple(map(comparison_form, path))


def category_form_of(text: str) -> tuple[str, ...]:
    """Of a path in one text: "Shoes > Boots" and "shoes>boots" are equal. Blank levels are left out."""
    return category_form(level for level in text.split(_CATEGORY_LEVELS) if level.strip())


def number_of(text: str) -> float | None:
    """The number that the text is: 2.5 for " 2.5 "; None for "2.5 kg" and for numbers beyond a float's range."""
    form = comparison_form(text)
    if not _NUMBER.fullmatch(form):
        return None
    number = float(form)
    return number if math.isfinite(number) else None
