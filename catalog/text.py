"""Text of a cell as it was meant: without HTML, without invisible characters, and whether it says nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from lxml import etree

from services.common.typed_text import decoded

# What programs write for an empty cell.
_MISSING = frozenset({"nan", "null", "nil", "none", "n/a", "#n/a", "<na>", "undefined", "\\n", "-", "--", "–", "—"})
_LONGEST = max(map(len, _MISSING))
_INVISIBLE = "\ufeff\u200b\u2060"
# Elements of HTML. A text is read as HTML only if it holds one of them: "<3" and "a < b" are plain text.
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "button", "caption", "center", "dd", "div", "dl", "dt",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html",
    "iframe", "img", "li", "main", "nav", "ol", "option", "p", "pre", "section", "select", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "ul", "video",
})  # fmt: skip
_INLINE = frozenset({
    "a", "abbr", "b", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "label", "mark", "q", "s", "small",
    "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
})  # fmt: skip
_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "math", "object", "textarea"})
_HTML = re.compile(
    rf"<(?:!--|!doctype\b|/?(?:{'|'.join(sorted(_BLOCKS | _INLINE | _HIDDEN))})(?=[\s/>]))", re.IGNORECASE
)
_PARSER = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)


def plain_text(text: str) -> str:
    """Without HTML: entities are decoded, tags and their attributes removed, scripts and styles left out.

    A block, such as a paragraph or a cell of a table, is set apart by a space. Text without tags keeps its spaces.
    """
    text = decoded(text)
    if "<" not in text or not _HTML.search(text):
        return text
    root = etree.fromstring(f"<div>{text.replace('&', '&amp;')}</div>".encode(), _PARSER)
    return "" if root is None else " ".join("".join(_pieces(root)).split())


def _pieces(root: Any) -> Iterator[str]:
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        if element.tag in _BLOCKS:
            yield " "
        if event == "start" and element.tag in _HIDDEN:
            walk.skip_subtree()
        elif event == "start":
            yield element.text or ""
        else:
            yield element.tail or ""


def stripped(text: str) -> str:
    """Without spaces and invisible characters around."""
    text = text.strip()
    while text and (text[0] in _INVISIBLE or text[-1] in _INVISIBLE):
        text = text.strip(_INVISIBLE).strip()
    return text


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: None, NaN, blank, or a word that programs write for it, such as "null"."""
    if isinstance(value, str):
        if len(value) > _LONGEST and value[0].isalnum():  # most cells
            return False
        text = stripped(value)
        return not text or (len(text) <= _LONGEST and text.lower() in _MISSING)
    return value is None or value != value


def with_plain_digits(text: str) -> str:
    """Digits and signs of any script as ASCII: "１，２９９．００" is "1,299.00". Superscripts stay."""
    return text if text.isascii() else "".join(_plain(character) for character in text)


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if character in _SIGNS:
        return _SIGNS[character]
    category = unicodedata.category(character)
    if category == "Cf":  # a mark of direction, a soft hyphen
        return ""
    return " " if category == "Zs" else character


_SIGNS = {
    "．": ".", "，": ",", "＋": "+", "－": "-", "−": "-", "’": "'", "‘": "'", "ʼ": "'", "＇": "'", "´": "'",
    "٫": ".", "٬": "'", "：": ":", "／": "/",
}  # fmt: skip
