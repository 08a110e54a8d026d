"""Limits of fields that several messages have."""

from __future__ import annotations

import unicodedata

# Characters of every id: of a product, user, visitor, session, event, ranking or request.
MAX_ID = 128
# Characters of a query's text.
MAX_QUERY = 512
MAX_ATTRIBUTION_TOKEN = 1_024
# Size of an image as it is sent, and after decoding: in all, and on each side. A telephone's photograph has 12 million
# pixels.
MAX_IMAGE_BYTES = 8 << 20
MAX_IMAGE_PIXELS = 25_000_000
MAX_IMAGE_SIDE = 16_384


def id_problem(value: str, *, required: bool = True) -> str | None:
    """What is wrong with an id, for an error's text; None for a valid one. An empty id is valid if not `required`.

    Characters of the categories Cc (control), Cs (surrogate), Zl and Zp (line and paragraph separators) are refused:
    stores and logs separate their records by them.
    """
    if len(value) > MAX_ID or (required and not value):
        return f"has {len(value)} characters; send {'1 to' if required else 'at most'} {MAX_ID}"
    if value.isascii() and value.isprintable():
        return None
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        return "holds a control character or line separator; send printable characters only"
    return None
