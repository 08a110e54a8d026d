"""What the gateway knows of the campaigns that control publishes: which products they advertise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kairos.control.v1 import control_pb2


@dataclass(frozen=True)
class Advertised:
    """By the campaigns of one tenant. `has_audience`: whether one of them depends on what a person has declared."""

    product_ids: frozenset[str] = frozenset()
    has_audience: bool = False


_NOTHING = Advertised()


class PublishedCampaigns:
    """A request that finds no advertised product is not sent to the auction: without campaigns ads cost nothing."""

    def __init__(self) -> None:
        self._of: dict[str, Advertised] = {}

    def of(self, tenant: str) -> Advertised:
        return self._of.get(tenant, _NOTHING)

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        campaigns = [resource.campaign for resource in snapshot.resources if resource.HasField("campaign")]
        found = Advertised(
            frozenset(id for campaign in campaigns for id in campaign.product_ids),
            any(campaign.targets.audience for campaign in campaigns),
        )

        def use() -> None:
            self._of.pop(snapshot.tenant, None)
            if found.product_ids:
                self._of[snapshot.tenant] = found

        return use
