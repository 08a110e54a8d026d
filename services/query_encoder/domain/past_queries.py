"""The queries of each tenant, counted in the memory of this process. `Suggest` offers frequent ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

# Queries of one tenant, and tenants. Beyond these bounds the ones that were not sent for the longest time are dropped.
_MAX_QUERIES = 5_000
_MAX_TENANTS = 200
# Longer queries, in characters, are pasted texts and are not counted.
_MAX_LENGTH = 64


class PastQueries:
    """The counts end with the process. Each replica counts only the queries that it answers itself."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()

    def add(self, tenant: str, query: str) -> None:
        if len(query) > _MAX_LENGTH:
            return
        counts = self._counts.setdefault(tenant, OrderedDict())
        counts[query] = counts.get(query, 0) + 1
        for entries, bound, newest in ((counts, _MAX_QUERIES, query), (self._counts, _MAX_TENANTS, tenant)):
            entries.move_to_end(newest)
            if len(entries) > bound:
                entries.popitem(last=False)

    def counts_of(self, tenant: str) -> Mapping[str, int]:
        """How often each query of `tenant` was sent."""
        return self._counts.get(tenant, {})
