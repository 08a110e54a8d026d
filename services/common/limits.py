"""Limits of fields that several messages have."""

from __future__ import annotations

import re
import unicodedata

# Characters of every id: of a product, user, visitor, session, event, ranking or request.
MAX_ID = 128
# Characters of the id of a price list or a place.
MAX_LIST_ID = 64
# Characters of a query's text.
MAX_QUERY = 512
MAX_ATTRIBUTION_TOKEN = 1_024
# Of feedback: characters of the text, and the best rating.
MAX_FEEDBACK_TEXT, MAX_RATING = 2_000, 5
# Declared attributes of one request; texts of one attribute; characters of a name, and of a text.
MAX_SET_ATTRIBUTES, MAX_ATTRIBUTE_TEXTS = 32, 16
MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_TEXT = 64, 64
# Characters of a page token, of a model's version and of a language tag.
MAX_PAGE_TOKEN = 4_096
MAX_MODEL_VERSION = 256
MAX_LANGUAGE = 35
# Queries of one PreviewRules.
MAX_PREVIEWS = 1_000
# Characters of what a shopper says in a turn of a conversation, and of what the assistant answers; alternatives of a
# transcript; products of a turn; bytes of a conversation's state.
MAX_UTTERANCE, MAX_ANSWER, MAX_TRANSCRIPTS, MAX_TURN_ITEMS, MAX_STATE_BYTES = 1_000, 4_000, 8, 20, 4 << 10
# Products whose neighbours one CheckEmbeddings looks up.
MAX_SAMPLE = 200
# Length of the item vectors of a shopper model.
MAX_ITEM_DIMENSIONS = 1_024
# Size of an image as it is sent, and after decoding: in all, and on each side. A telephone's photograph has 12 million
# pixels.
MAX_IMAGE_BYTES = 8 << 20
MAX_IMAGE_PIXELS = 25_000_000
MAX_IMAGE_SIDE = 16_384

# The syntax of BCP 47 (RFC 5646, section 2.1), without its private and irregular tags.
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


def text_problem(value: str, limit: int) -> str | None:
    """What is wrong with a text, for an error's text; None for a valid one."""
    return f"has {len(value)} characters; send at most {limit}" if len(value) > limit else None


def language_problem(tag: str) -> str | None:
    """What is wrong with a language tag, for an error's text; None for a well-formed one."""
    if len(tag) > MAX_LANGUAGE or not _LANGUAGE.fullmatch(tag):
        return f"{tag[:MAX_LANGUAGE]!r} is no language tag of BCP 47; send one such as 'en' or 'zh-TW'"
    return None


def id_problem(value: str, *, required: bool = True, limit: int = MAX_ID) -> str | None:
    """What is wrong with an id, for an error's text; None for a valid one. An empty id is valid if not `required`.

    Characters of the categories Cc (control), Cs (surrogate), Zl and Zp (line and paragraph separators) are refused:
    stores and logs separate their records by them.
    """
    if len(value) > limit or (required and not value):
        return f"has {len(value)} characters; send {'1 to' if required else 'at most'} {limit}"
    if value and not value.strip():
        return "is blank; send an id with visible characters"
    if value.isascii() and value.isprintable():
        return None
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        return "holds a control character or line separator; send printable characters only"
    return None
