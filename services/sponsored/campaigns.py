"""The campaigns that control publishes, compiled for auctions. Without control those of the last snapshot stay."""

from __future__ import annotations

from collections.abc import Callable

from kairos.control.v1 import control_pb2
from services.sponsored.convert import campaign_from_proto
from services.sponsored.domain.target_index import TargetIndex

WATCHED = (control_pb2.RESOURCE_KIND_CAMPAIGN,)
_NONE = TargetIndex(())


class Campaigns:
    """By tenant."""

    def __init__(self) -> None:
        self._indices: dict[str, TargetIndex] = {}

    def of(self, tenant: str) -> TargetIndex:
        return self._indices.get(tenant, _NONE)

    @property
    def tenants(self) -> list[str]:
        return list(self._indices)

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        index = TargetIndex(
            campaign_from_proto(resource)
            for resource in snapshot.resources
            if resource.kind == control_pb2.RESOURCE_KIND_CAMPAIGN
        )

        def use() -> None:
            self._indices[snapshot.tenant] = index

        return use
