"""The campaigns that control publishes, kept in the ledger: also archived ones may owe something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kairos.control.v1 import control_pb2
from services.sponsored.convert import campaign_from_proto
from services.sponsored.domain.campaign import Campaign
from services.sponsored.ports import Ledger


@dataclass
class FollowedCampaigns:
    """Of one tenant. `number` changes with each snapshot. `clock` gives seconds since 1970."""

    ledger: Ledger
    tenant: str
    clock: Callable[[], float]
    number: int = 0
    _published: Sequence[Campaign] = ()

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        if snapshot.tenant != self.tenant:
            return lambda: None
        found = [
            campaign_from_proto(resource)
            for resource in snapshot.resources
            if resource.kind == control_pb2.RESOURCE_KIND_CAMPAIGN
        ]

        def use() -> None:
            self._published = found
            self.keep()
            self.number += 1

        return use

    def keep(self) -> None:
        """The ledger forgets campaigns that were not kept for long."""
        self.ledger.keep_campaigns(self.tenant, self._published, self.clock())
