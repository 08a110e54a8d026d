"""Removes the item vectors of shopper models that are out of use, through the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import structlog

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.gateway_access import GatewayAccessSettings
from services.common.models.registry import ModelRegistry

# A version that is complete and not in use may be one that is being published: it is removed when it has been out of
# use for so long.
GRACE_S = 600.0

_log = structlog.get_logger("kairos.learner")


class UnusedItemVectors:
    """`look` removes what is out of use; a gateway that cannot be reached is asked again at the next look."""

    def __init__(
        self, registry: ModelRegistry, settings: GatewayAccessSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._registry, self._settings, self._clock = registry, settings, clock
        self._channel = settings.channel()
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._unused_since: dict[str, float] = {}
        # The pointer when nothing was left to remove: nothing is asked before it changes.
        self._done: object = None

    def look(self) -> None:
        stamp = self._registry.stamp()
        # Without a registry no shopper model is used, and nobody may have written item vectors.
        if stamp is None or stamp == self._done:
            return
        try:
            unused = self._unused()
        except (grpc.RpcError, OSError, ValueError, KeyError) as error:
            _log.info("item vectors are looked at later", reason=str(error))
            return
        self._done = stamp if not unused else None

    def close(self) -> None:
        self._channel.close()

    def _unused(self) -> set[str]:
        """Removes the versions whose grace is over; gives those that still wait."""
        used, now_s = self._in_use(), self._clock()
        asked = self._stub.DescribeItemVectors(
            gateway_pb2.DescribeItemVectorsRequest(), timeout=self._settings.timeout_s, metadata=self._settings.metadata
        )
        unused = {version.model_version for version in asked.versions} - used
        self._unused_since = {name: self._unused_since.get(name, now_s) for name in unused}
        for name in sorted(unused):
            if now_s - self._unused_since[name] < GRACE_S:
                continue
            self._stub.DropItemVectors(
                gateway_pb2.DropItemVectorsRequest(model_version=name), timeout=self._settings.timeout_s,
                metadata=self._settings.metadata,
            )  # fmt: skip
            _log.info("item vectors of a version that is out of use were removed", version=name)
            del self._unused_since[name]
        return set(self._unused_since)

    def _in_use(self) -> set[str]:
        """Model versions that serve, or that the next rollback returns to."""
        rollout = self._registry.rollout()
        versions = {rollout.current, rollout.other or "", *rollout.before[-1:]} - {""}
        return {self._registry.manifest(version)["model_version"] for version in versions}
