"""What a layout is, and what several of them need."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.files import Row
from catalog.text import is_missing, plain_text, stripped

# Opens the file and reads its rows from the first one.
ReadRows = Callable[[], Iterator[Row]]


@dataclass(frozen=True)
class Layout:
    """`matches`: whether the columns of a file are this layout's. `rows`: the rows of products. `derived`: columns that
    `rows` adds to every row. `uses`: whether `rows` reads a column of the file.
    """

    name: str
    matches: Callable[[Collection[str]], bool]
    rows: Callable[[ReadRows], Iterator[Row]]
    derived: Sequence[str]
    uses: Callable[[str], bool]


PLAIN = Layout("plain", lambda columns: True, lambda read: read(), (), lambda column: False)


def lower(name: str) -> str:
    """A column's name for comparisons: `Variant  SKU ` is `variant sku`."""
    return " ".join(stripped(name).lower().split())


def text_of(value: Any) -> str:
    """A cell as text; empty if it says nothing."""
    return "" if is_missing(value) else stripped(str(value))


def parts(text: str, separators: str) -> list[str]:
    """The values of a cell; a separator after a backslash belongs to the value."""
    pieces = re.split(rf"(?<!\\)[{re.escape(separators)}]", plain_text(text))
    cleaned = (stripped(re.sub(rf"\\([{re.escape(separators)}])", r"\1", piece)) for piece in pieces)
    return [piece for piece in cleaned if not is_missing(piece)]


def attribute_name(name: str) -> str:
    """The name of an attribute. `color` is `colour`: the conditions of queries ("red shoes") use that name."""
    name = lower(plain_text(name))
    return "colour" if name == "color" else name


def first_category(paths: Iterable[str]) -> dict[str, Any]:
    """The first path as the category; further ones as an attribute, so that none is invented or lost."""
    first, *others = list(paths) or [""]
    return {"category": first} | ({"attributes.other_categories": others} if others else {})
