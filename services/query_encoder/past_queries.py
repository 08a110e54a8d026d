"""Queries that were sent before, counted in this process's memory: what `Suggest` may show again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

# Of one tenant. The longest unseen go first, so that what many send stays.
_MOST = 5_000
_TENANTS = 200
# Longer ones are pasted texts.
_LONGEST = 64


class PastQueries:
    """How often each was sent. Forgotten with the process; several replicas count each their own."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()

    def saw(self, tenant: str, query: str) -> None:
        if len(query) > _LONGEST:
            return
        counts = self._counts.setdefault(tenant, OrderedDict())
        counts[query] = counts.get(query, 0) + 1
        for kept, most, newest in ((counts, _MOST, query), (self._counts, _TENANTS, tenant)):
            kept.move_to_end(newest)
            if len(kept) > most:
                kept.popitem(last=False)

    def of(self, tenant: str) -> Mapping[str, int]:
        return self._counts.get(tenant, {})
