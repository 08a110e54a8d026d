"""Cursor of a browsing request: where its next page begins.

The order is a total one: by the sort's field, then products without the field, equal ones by key. A cursor names the
last product of the page before by its place in that order, not by counting: products that are removed or added
between two pages shift nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import struct
from dataclasses import dataclass

from services.common.errors import InvalidArgument
from services.common.filters import SortOrder

MAX_KEY = 2**64 - 1

# A token of another number describes another order, and is refused.
_ORDER_VERSION = 1
_SORTS = tuple(SortOrder)
# Version of the order, sort, flags, value, key; all little-endian.
_LAYOUT = struct.Struct("<BBBdQ")
_HAS_VALUE, _SOFT_FILTER_APPLIED = 1, 2
# With them the token's bytes are a multiple of three: base64 without padding or spare bits.
_DIGEST_BYTES = 5


@dataclass(frozen=True)
class Position:
    """A place in a sort's order: behind the product of this key. `value` is None among those without the field."""

    value: float | None
    key: int


@dataclass(frozen=True)
class Cursor:
    """`soft_filter_applied` is the first page's decision, which holds for all pages."""

    sort: SortOrder
    position: Position
    soft_filter_applied: bool = False

    def to_token(self) -> str:
        value = self.position.value
        flags = _HAS_VALUE * (value is not None) | _SOFT_FILTER_APPLIED * self.soft_filter_applied
        packed = _LAYOUT.pack(_ORDER_VERSION, _SORTS.index(self.sort), flags, value or 0.0, self.position.key)
        return _token(packed)

    @classmethod
    def from_token(cls, token: str) -> Cursor:
        """Raises InvalidArgument for anything that `to_token` does not make."""
        try:
            data = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        packed = data[: _LAYOUT.size]
        if len(packed) != _LAYOUT.size or token != _token(packed):
            raise _invalid("is damaged; send next_page_token as it came, or nothing for the first page")
        version, sort, flags, value, key = _LAYOUT.unpack(packed)
        if version != _ORDER_VERSION or sort >= len(_SORTS) or not math.isfinite(value):
            raise _invalid("was made by another version; begin with the first page")
        position = Position(value if flags & _HAS_VALUE else None, key)
        return cls(_SORTS[sort], position, bool(flags & _SOFT_FILTER_APPLIED))


def _token(packed: bytes) -> str:
    """With a digest that detects damage; it is no signature."""
    digest = hashlib.blake2b(packed, digest_size=_DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(packed + digest).decode()


def _invalid(description: str) -> InvalidArgument:
    return InvalidArgument.of("page_token", description)
