"""Text of comments as Markdown that shows the same characters."""

from __future__ import annotations

import re

# A code span stays as it is. Everything else that Markdown or HTML could read as markup is escaped.
_CODE = re.compile(r"(`[^`\n]+`)")
_MARKUP = re.compile(r"([\\*_\[\]{}<>#|~$^])")


def escaped(text: str) -> str:
    parts = _CODE.split(text)
    return "".join(part if number % 2 else _MARKUP.sub(r"\\\1", part) for number, part in enumerate(parts))


def definition(term: str, *paragraphs: str) -> str:
    """One entry of a definition list. Without a description the term stands alone."""
    described = [paragraph.replace("\n", "\n  ") for paragraph in paragraphs if paragraph]
    if not described:
        return f"{term}\n: –\n"
    return f"{term}\n: " + "\n\n  ".join(described) + "\n"
