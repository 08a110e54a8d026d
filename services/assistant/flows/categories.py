"""The categories of a shop, by the names that shoppers use for them: 电动工具 is "Garden & Tools > Power Tools"."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.assistant.domain.conversation import CATEGORY
from services.assistant.domain.vocabulary import Vocabulary, value_form
from services.assistant.ports import Caller, Query, Shop
from services.common.product import CATEGORY_SEPARATOR

# Tenants whose categories are kept, and for how long.
_MOST_TENANTS = 1_000
_KEPT_S = 300.0


class Categories:
    """Keeps the most frequent 100 categories of each tenant. `clock` gives seconds, as time.monotonic."""

    def __init__(self, shop: Shop, vocabulary: Vocabulary, clock: Callable[[], float] = time.monotonic) -> None:
        self._shop, self._vocabulary, self._clock = shop, vocabulary, clock
        self._kept: dict[str, tuple[float, dict[str, str]]] = {}

    async def named(self, caller: Caller, text: str) -> str:
        """The path of the category that the whole text names; empty if it names none."""
        return (await self._names(caller)).get(value_form(text), "")

    async def _names(self, caller: Caller) -> dict[str, str]:
        """Paths by each name of the leaf. A name of two categories is that of the larger one."""
        read_s, names = self._kept.get(caller.tenant, (-_KEPT_S, {}))
        if self._clock() - read_s < _KEPT_S:
            return names
        found = await self._shop.search(caller, Query(size=1, facets=True))
        facet = next((facet for facet in found.facets if facet.field == CATEGORY), None)
        names = {}
        for value in facet.values if facet else ():
            leaf = value.value.rpartition(CATEGORY_SEPARATOR)[2]
            for name in self._vocabulary.names(leaf):
                names.setdefault(name, value.value)
        self._kept.pop(caller.tenant, None)
        self._kept[caller.tenant] = (self._clock(), names)
        while len(self._kept) > _MOST_TENANTS:
            self._kept.pop(next(iter(self._kept)))
        return names
