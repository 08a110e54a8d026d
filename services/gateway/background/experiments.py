"""The experiments that control publishes for each tenant."""

from __future__ import annotations

from collections.abc import Callable

from kairos.control.v1 import control_pb2
from services.gateway.convert import published_experiments
from services.gateway.domain.experiments import NOT_ASSIGNED, Assignment, Experiments


class PublishedExperiments:
    """`clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of: dict[str, Experiments] = {}

    def assign(self, tenant: str, user_id: str, visitor_id: str) -> Assignment:
        """The arms of a request of this person."""
        published = self._of.get(tenant)
        return NOT_ASSIGNED if published is None else published.assign(user_id, visitor_id, self._clock())

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        found = published_experiments(snapshot)

        def use() -> None:
            self._of.pop(snapshot.tenant, None)
            if found:
                self._of[snapshot.tenant] = Experiments(found)

        return use
