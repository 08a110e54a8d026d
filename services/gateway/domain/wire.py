"""Counts the fields of an encoded message before it is parsed.

The parser's time and memory grow with the number of fields, and not with the number of bytes: an empty submessage has
two bytes on the wire, and some hundred in memory. The count stops at a limit, so a message costs no more than a valid
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# By tag (field number and wire type): the shape of the submessage. Tags of other fields are left out.
Shape = Mapping[int, "Shape"]
# The shape of a packed field: each of its bytes counts, because each may be an element.
PACKED: Shape = {}
LENGTH_DELIMITED = 2
_VARINT, _FIXED64, _START_GROUP, _END_GROUP, _FIXED32 = 0, 1, 3, 4, 5
_UNKNOWN: Shape = MappingProxyType({})
# A longer varint is broken.
_VARINT_BYTES = 10


class BrokenMessage(Exception):
    """The bytes are not an encoded message."""


def count_fields(data: bytes, shape: Shape, most: int) -> int:
    """The number of fields of a message and of all its submessages, unknown ones too. A number above `most` is `most` +
    1 or more: the rest was not read.

    Raises BrokenMessage. Text that is not UTF-8 is left to the parser.
    """
    position, end, count = 0, len(data), 0
    around: list[tuple[int, Shape]] = []
    try:
        while True:
            if position >= end:
                if position > end:
                    raise BrokenMessage
                if not around:
                    return count
                end, shape = around.pop()
                continue
            count += 1
            if count > most:
                return count
            # One byte is the usual case: it is read here, without a call.
            tag = data[position]
            position += 1
            if tag > 127:
                tag, position = _varint(data, position - 1)
            kind = tag & 7
            if kind == LENGTH_DELIMITED:
                length = data[position]
                position += 1
                if length > 127:
                    length, position = _varint(data, position - 1)
                inner = shape.get(tag)
                if inner is None:
                    position += length
                elif inner is PACKED:
                    count += length
                    position += length
                else:
                    around.append((end, shape))
                    if position + length > end:
                        raise BrokenMessage
                    end, shape = position + length, inner
            elif kind == _VARINT:
                position = position + 1 if data[position] < 128 else _varint(data, position)[1]
            elif kind == _FIXED32:
                position += 4
            elif kind == _FIXED64:
                position += 8
            elif kind == _START_GROUP:
                # No contract has groups: what is in one is unknown.
                around.append((end, shape))
                shape = _UNKNOWN
            elif kind == _END_GROUP and around:
                end, shape = around.pop()
            else:
                raise BrokenMessage
    except IndexError:
        raise BrokenMessage from None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """(the value, the position after it)."""
    value = 0
    for index in range(_VARINT_BYTES):
        byte = data[position + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise BrokenMessage
