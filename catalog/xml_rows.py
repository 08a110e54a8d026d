"""Reads product feeds in XML: the items of RSS 2.0 and the entries of Atom, one at a time.

The parser expands no entities, loads no DTD, opens no address and keeps libxml2's limits of size and depth. A document
type declaration refuses the file: feeds have none, and attacks begin with one.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from catalog.files import MAX_ROW, FileRefused, Row, open_bytes

# Google's own elements, `g:price`; the same name without a prefix belongs to RSS or Atom.
_GOOGLE = "http://base.google.com/"
_ATOM = "http://www.w3.org/2005/Atom"
_DECLARED = re.compile(rb"""^(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding=["']([A-Za-z0-9._-]{1,40})["']""")
_ROOTS, _ITEMS = frozenset({"rss", "feed", "RDF"}), frozenset({"item", "entry"})
# Elements of one item. Google's longest items have some hundreds.
_MAX_ELEMENTS = 5_000


def xml_encoding(path: Path) -> tuple[str, bool]:
    """(the encoding that the file declares, whether a byte order mark begins it). Raises FileRefused."""
    with open_bytes(path) as file:
        start = file.read(200)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16", True
    declared = _DECLARED.search(start)
    return declared[1].decode().upper() if declared else "UTF-8", start.startswith(codecs.BOM_UTF8)


def xml_rows(path: Path) -> Iterator[Row]:
    """An item's elements by name, without the prefix `g:`; of two with one name Google's own counts. `link` of Atom is
    its address. An element that stands several times is a list, one with elements inside is an object. A row's line is
    the number of its item: the parser counts lines to 65,535 only. Raises FileRefused.
    """
    with open_bytes(path) as file:
        item, count, size, number = None, 0, 0, 0
        for event, element in _events(path, file):
            if event == "start":
                if item is None and _name(element)[1] in _ITEMS:
                    item, count, size, number = element, 0, 0, number + 1
                continue
            if item is None:
                _forget(element)
                continue
            count += 1
            size += _size(element)
            if element is item:
                yield _row(item, number, count, size)
                item = None
                _forget(element)
            elif count > _MAX_ELEMENTS or size > MAX_ROW:
                _forget(element)


def _events(path: Path, file: io.BufferedReader) -> Iterator[tuple[str, Any]]:
    parser = etree.iterparse(
        file, events=("start", "end"), resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    is_first = True
    try:
        for event, element in parser:
            if not isinstance(element.tag, str):
                continue
            if is_first:
                is_first = False
                _check(path, element)
            yield event, element
    except etree.XMLSyntaxError as error:
        first = next((entry.message for entry in parser.error_log), error.msg)
        raise FileRefused(f"{path.name} is not well-formed XML: {first}; correct it there") from None
    except (ValueError, LookupError, etree.LxmlError) as error:
        raise FileRefused(f"{path.name} cannot be read as XML: {error}") from None


def _check(path: Path, root: Any) -> None:
    if root.getroottree().docinfo.internalDTD is not None:
        raise FileRefused(f"{path.name} has a document type declaration; remove the line <!DOCTYPE …>")
    name = _name(root)[1]
    if name not in _ROOTS:
        raise FileRefused(f"{path.name} begins with <{name}>; a feed in XML is RSS 2.0 or Atom, with the elements g:…")


def _size(element: Any) -> int:
    """Characters of an element that has just ended, and of the text before it."""
    previous = element.getprevious()
    before = "" if previous is None else previous.tail or ""
    return len(element.text or "") + len(before) + sum(map(len, element.attrib.values()))


def _forget(element: Any) -> None:
    """Frees the element and those before it, so that memory does not grow with the file."""
    element.clear(keep_tail=False)
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _row(item: Any, number: int, count: int, size: int) -> Row:
    if count > _MAX_ELEMENTS or size > MAX_ROW:
        problem = f"has more than {_MAX_ELEMENTS:,} elements or {MAX_ROW >> 20} million characters"
        return Row(number, {}, problem)
    others: dict[str, Any] = {}
    google: dict[str, Any] = {}
    for child in item.iterchildren("*"):
        namespace, name = _name(child)
        value = child.get("href", "") if (namespace, name) == (_ATOM, "link") else _value(child)
        _add(google if namespace.startswith(_GOOGLE) else others, name, value)
    values = others | google
    return Row(number, values, raw=json.dumps(values, ensure_ascii=False))


def _name(element: Any) -> tuple[str, str]:
    """(namespace, name)."""
    namespace, _, name = str(element.tag).rpartition("}")
    return namespace.removeprefix("{"), name


def _value(element: Any) -> Any:
    """The text of an element, or its elements by name."""
    if not len(element):
        return "".join(element.itertext())
    inner: dict[str, Any] = {}
    for child in element.iterchildren("*"):
        _add(inner, _name(child)[1], "".join(child.itertext()))
    return inner


def _add(values: dict[str, Any], name: str, value: Any) -> None:
    if name not in values:
        values[name] = value
    elif isinstance(values[name], list):
        values[name].append(value)
    else:
        values[name] = [values[name], value]
