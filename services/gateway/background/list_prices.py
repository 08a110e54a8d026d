"""For which tenants computed prices are switched off: a published price policy with `list_price_only` says so."""

from __future__ import annotations

from collections.abc import Callable

from kairos.control.v1 import control_pb2


class ListPriceSwitch:
    def __init__(self) -> None:
        self._tenants = frozenset[str]()

    def is_on(self, tenant: str) -> bool:
        """Whether only the shop's own prices apply."""
        return tenant in self._tenants

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        is_on = any(resource.price_policy.list_price_only for resource in snapshot.resources)

        def use() -> None:
            own = frozenset([snapshot.tenant])
            self._tenants = self._tenants | own if is_on else self._tenants - own

        return use
