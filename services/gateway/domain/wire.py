"""Counts the fields of an encoded message before it is parsed.

The parser's time and memory grow with the number of fields, and not with the number of bytes: an empty submessage has
two bytes on the wire, and some hundred in memory. The count stops at a limit, so a message costs no more than a valid
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

# By tag (field number and wire type): the shape of the submessage, or the number of its fields if each of them is a
# single text or number. Tags of other fields are left out.
Shape = Mapping[int, "Shape | int"]
# The shape of a packed field: each of its bytes counts, because each may be an element.
PACKED: Shape = MappingProxyType({})
LENGTH_DELIMITED = 2
_VARINT, _FIXED64, _START_GROUP, _END_GROUP, _FIXED32 = 0, 1, 3, 4, 5
_UNKNOWN: Shape = MappingProxyType({})
# A longer varint is broken.
_VARINT_BYTES = 10
# A plain submessage of so few bytes counts as its fields without a look: what it repeats costs the parser little.
_SMALL_BYTES = 64


class BrokenMessage(Exception):
    """The bytes are not an encoded message."""


class TooManyFields(Exception):
    """More fields than allowed; the rest of the message was not read.

    `path` leads to a list with too many entries: the tag of each field, and which of its entries it is, from 1. Empty:
    the message as a whole has too many fields.
    """

    def __init__(self, path: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        self.path = path


def count_fields(data: bytes, shape: Shape, most: int, most_in_a_row: int) -> int:
    """The number of fields of a message and of all its submessages, unknown ones too.

    Raises TooManyFields above `most`, and for one field that comes more than `most_in_a_row` times one after the other,
    as the entries of a list do. Raises BrokenMessage; text that is not UTF-8 is left to the parser.
    """
    position, end, count, last, row = 0, len(data), 0, 0, 0
    around: list[tuple[int, Shape, int, int]] = []
    try:
        while True:
            if position >= end:
                if position > end:
                    raise BrokenMessage
                if not around:
                    break
                end, shape, last, row = around.pop()
                continue
            # One byte is the usual case of tags and lengths: it is read here, without a call.
            tag = data[position]
            position += 1
            if tag > 127:
                tag, position = _varint(data, position - 1)
            if tag == last:
                row += 1
                if row > most_in_a_row:
                    raise TooManyFields([*((outer, entry) for _, _, outer, entry in around), (tag, row)])
            else:
                last, row = tag, 1
            count += 1
            if count > most:
                raise TooManyFields
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
                elif isinstance(inner, int) and length <= _SMALL_BYTES:
                    count += inner
                    position += length
                else:
                    around.append((end, shape, last, row))
                    if position + length > end:
                        raise BrokenMessage
                    end, last, row = position + length, 0, 0
                    shape = _UNKNOWN if isinstance(inner, int) else inner
            elif kind == _VARINT:
                position = position + 1 if data[position] < 128 else _varint(data, position)[1]
            elif kind == _FIXED32:
                position += 4
            elif kind == _FIXED64:
                position += 8
            elif kind == _START_GROUP:
                # No contract has groups: what is in one is unknown.
                around.append((end, shape, last, row))
                shape, last, row = _UNKNOWN, 0, 0
            elif kind == _END_GROUP and around:
                end, shape, last, row = around.pop()
            else:
                raise BrokenMessage
    except IndexError:
        raise BrokenMessage from None
    if count > most:
        raise TooManyFields
    return count


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """(the value, the position after it)."""
    value = 0
    for index in range(_VARINT_BYTES):
        byte = data[position + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise BrokenMessage
