"""The queries of each tenant, and by how many people each was sent, in the memory of this process."""

from __future__ import annotations

import hashlib
import secrets
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.personal_data import may_hold_personal_data

# Queries of one tenant, and tenants. Beyond these bounds the ones that were not sent for the longest time are dropped.
_MAX_QUERIES = 5_000
_MAX_TENANTS = 200
# Longer queries, in characters, are pasted texts and are not counted.
_MAX_LENGTH = 64
# Digests that are kept of one query: 128 bytes. Up to so many people the count is exact.
_DIGESTS = 16


class PastQueries:
    """People are counted, not searches: what one person searches often is not offered to others.

    Of a query only the smallest digests of its people are kept, and their number is estimated from these (Bar-Yossef et
    al., "Counting distinct elements in a data stream", 2002). The digests are salted at random: nobody can be named
    from them. Counts and digests end with the process. Each replica counts only the queries that it answers itself.
    """

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)
        self._tenants: OrderedDict[str, _Queries] = OrderedDict()

    def add(self, tenant: str, query: str, shopper: str) -> None:
        """`shopper` tells people apart. Without it, the query is not counted: it may be the same person every time. Nor
        is one that may hold personal data: nobody else may see it.
        """
        if not shopper or len(query) > _MAX_LENGTH or may_hold_personal_data(query):
            return
        queries = self._tenants.setdefault(tenant, _Queries())
        digest = hashlib.blake2b(shopper.encode(), digest_size=8, key=self._salt).digest()
        queries.add(query, int.from_bytes(digest, "little"))
        self._tenants.move_to_end(tenant)
        if len(self._tenants) > _MAX_TENANTS:
            self._tenants.popitem(last=False)

    def counts_of(self, tenant: str) -> Mapping[str, int]:
        """By how many people each query of `tenant` was sent; above 16 an estimate, mostly within a quarter."""
        queries = self._tenants.get(tenant)
        return queries.people if queries else {}


@dataclass
class _Queries:
    """Of one tenant. `digests`: by query, the smallest ones, ascending."""

    people: OrderedDict[str, int] = field(default_factory=OrderedDict)
    digests: dict[str, array[int]] = field(default_factory=dict)

    def add(self, query: str, digest: int) -> None:
        smallest = self.digests.setdefault(query, array("Q"))
        place = bisect_left(smallest, digest)
        if place < _DIGESTS and (place == len(smallest) or smallest[place] != digest):
            smallest.insert(place, digest)
            del smallest[_DIGESTS:]
            is_exact = len(smallest) < _DIGESTS
            self.people[query] = len(smallest) if is_exact else int((_DIGESTS - 1) * 2**64 / (smallest[-1] + 1))
        self.people.move_to_end(query)
        if len(self.people) > _MAX_QUERIES:
            dropped, _ = self.people.popitem(last=False)
            del self.digests[dropped]
