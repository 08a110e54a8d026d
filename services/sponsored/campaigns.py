"""The campaigns that control publishes, compiled for auctions. Without control those of the last snapshot stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kairos.control.v1 import control_pb2
from services.sponsored.convert import campaign_from_proto
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.target_index import TargetIndex

WATCHED = (control_pb2.RESOURCE_KIND_CAMPAIGN,)
_NONE = TargetIndex(())


class Campaigns:
    """By tenant. `keep` is given the campaigns of each snapshot before they are used, and may block."""

    def __init__(self, keep: Callable[[str, Iterable[Campaign]], None] = lambda _, __: None) -> None:
        self._keep = keep
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
        self._keep(snapshot.tenant, index.campaigns.values())

        def use() -> None:
            self._indices[snapshot.tenant] = index

        return use
