"""The ids of archived entries, as digests of 16 bytes: an entry that comes again later is recognised by its digest."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from services.control.adapters.schema import ARCHIVED_IDS

_BYTES = 16
# Digests of one row: 64 KiB.
_ROW = 4_096


def digest_of(tenant: str, kind: str, id: str) -> bytes:
    # None of the three has a control character.
    return hashlib.blake2b(f"{tenant}\0{kind}\0{id}".encode(), digest_size=_BYTES).digest()


def rows_of(number: int, digests: Sequence[bytes]) -> Iterator[dict[str, object]]:
    """The rows of ARCHIVED_IDS for a partition. `digests` are in order."""
    for start in range(0, len(digests), _ROW):
        some = digests[start : start + _ROW]
        yield {"number": number, "first": some[0], "digests": b"".join(some)}


def known_among(connection: sa.Connection, number: int, digests: Iterable[bytes]) -> set[bytes]:
    """Those that an archived partition has."""
    columns = ARCHIVED_IDS.c
    query = sa.select(columns.first).where(columns.number == number).order_by(columns.first)
    firsts = [bytes(first) for first in connection.execute(query).scalars()]
    by_row: dict[bytes, list[bytes]] = {}
    for digest in digests:
        if place := bisect_right(firsts, digest):
            by_row.setdefault(firsts[place - 1], []).append(digest)
    known = set[bytes]()
    for first, wanted in by_row.items():
        one = sa.select(columns.digests).where(columns.number == number, columns.first == first)
        row = bytes(connection.execute(one).scalar_one())
        known.update(digest for digest in wanted if _has(row, digest))
    return known


def _has(row: bytes, digest: bytes) -> bool:
    places = range(0, len(row), _BYTES)
    at = bisect_left(places, digest, key=lambda place: row[place : place + _BYTES]) * _BYTES
    return row[at : at + _BYTES] == digest
