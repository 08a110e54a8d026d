"""Identifiers of products, in every spelling: the shop's id, SKU, GTIN and manufacturer's part number.

Their form has letters and digits only, without regard to case: "WH-1000XM4" and "wh 1000 xm4" are one. A form of digits
is also found without its leading zeros, because a GTIN is written with 12, 13 or 14 digits.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.product import Product
from services.retrieval.domain.catalogue.growing import IntArray

# Characters of the form from which on a prefix is completed.
MIN_PREFIX = 3
# Looking through the tail for a prefix takes 0.3 ms.
_TAIL = 4_096
_MERGED_FACTOR = 4
_TEXTS = np.dtypes.StringDType()

Texts = npt.NDArray[Any]


def identifier_form(text: str) -> str:
    """Letters and digits, casefolded: "whx100" for "WH-X 100". Empty if there are none."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", folded)))


def identifier_forms(text: str) -> list[str]:
    """The form, and that without leading zeros if it has digits only; none if the text has no letter and no digit."""
    form = identifier_form(text)
    if not form:
        return []
    short = form.lstrip("0") if form.isdigit() else form
    return [form] if short in (form, "") else [form, short]


def identifiers_of(product: Product) -> list[str]:
    """As the product spells them: id, SKU, GTIN, part number; without those that it lacks."""
    return [text for text in (product.id, product.sku, product.gtin, product.mpn) if text]


def spelling_of(product: Product, form: str) -> str:
    """The identifier of the product that has this form; its id if none has."""
    return next((text for text in identifiers_of(product) if form in identifier_forms(text)), product.id)


@dataclass(frozen=True)
class _Segment:
    """`texts` ascending; rows[i] has texts[i]."""

    texts: Texts
    rows: IntArray


@dataclass
class Identifiers:
    """As the postings of words: a tail, and sorted segments that are merged as they grow."""

    _segments: list[_Segment] = field(default_factory=list)
    _tail: dict[str, list[int]] = field(default_factory=dict)
    _tail_size: int = 0

    def add(self, row: int, product: Product) -> None:
        for form in {form for text in identifiers_of(product) for form in identifier_forms(text)}:
            self._tail.setdefault(form, []).append(row)
            self._tail_size += 1

    def rows(self, form: str) -> IntArray:
        """The rows with this form, living or not."""
        found = [
            segment.rows[bisect_left(segment.texts, form) : bisect_right(segment.texts, form)]
            for segment in self._segments
        ]
        return np.concatenate([*found, np.array(self._tail.get(form, ()), np.int32)])

    def beginning_with(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(form, row) in order of the forms; rows living or not."""
        tail = sorted(
            (form, row) for form, rows in self._tail.items() if form.startswith(prefix) for row in sorted(rows)
        )
        yield from merge(tail, *(_walk(segment, prefix) for segment in self._segments))

    @property
    def nbytes(self) -> int:
        """Without texts of more than 15 bytes, which numpy keeps apart, and without the tail."""
        return sum(segment.texts.nbytes + segment.rows.nbytes for segment in self._segments)

    @property
    def is_due(self) -> bool:
        return self._tail_size > _TAIL

    def tidied(self) -> Identifiers:
        """Equal identifiers, without a tail."""
        segments = [*self._segments, self._tail_segment()]
        while len(segments) > 1 and len(segments[-2].rows) < _MERGED_FACTOR * len(segments[-1].rows):
            last, before = segments.pop(), segments.pop()
            segments.append(_together([before, last]))
        return Identifiers(segments)

    def compacted(self, moved: IntArray) -> Identifiers:
        """`moved`: by row its new number, -1 for one that is gone."""
        whole = _together([*self._segments, self._tail_segment()])
        rows = moved[whole.rows]
        kept = rows >= 0
        return Identifiers([_Segment(whole.texts[kept], rows[kept])])

    def _tail_segment(self) -> _Segment:
        pairs = [(form, row) for form, rows in self._tail.items() for row in rows]
        texts = np.array([form for form, _ in pairs], dtype=_TEXTS)
        return _together([_Segment(texts, np.array([row for _, row in pairs], np.int32))])


def _together(segments: Sequence[_Segment]) -> _Segment:
    texts = np.concatenate([segment.texts for segment in segments])
    rows = np.concatenate([segment.rows for segment in segments])
    order = np.argsort(texts, kind="stable")
    return _Segment(texts[order], rows[order])


def _walk(segment: _Segment, prefix: str) -> Iterator[tuple[str, int]]:
    for place in range(bisect_left(segment.texts, prefix), len(segment.texts)):
        form = segment.texts[place]
        if not form.startswith(prefix):
            return
        yield form, int(segment.rows[place])
