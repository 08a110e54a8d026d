"""Keeps the item vectors at the gateway in step with the registry of shopper models: those of the current version are
stored again after the collections were switched, and those out of use are removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import structlog

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.gateway_access import GatewayAccessSettings
from services.common.models.registry import ModelRegistry
from services.ranker.adapters.item_vector_messages import begin_message, store_messages

# A version that is complete and not in use may be one that is being published: it is removed when it has been out of
# use for so long.
GRACE_S = 600.0

_log = structlog.get_logger("kairos.learner")


class ItemVectorKeeper:
    """`look` does what is due; a gateway that cannot be reached is asked again at the next look.

    `texts` is the registry of text models: their steps switch the collections.
    """

    def __init__(
        self, registry: ModelRegistry, settings: GatewayAccessSettings, clock: Callable[[], float] = time.time,
        texts: ModelRegistry | None = None,
    ) -> None:  # fmt: skip
        self._registry, self._texts, self._settings, self._clock = registry, texts, settings, clock
        self._channel = settings.channel()
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._unused_since: dict[str, float] = {}
        # The pointers when nothing was left to do: nothing is asked before one changes.
        self._done: object = None

    def look(self) -> None:
        stamp = self._registry.stamp(), self._texts.stamp() if self._texts is not None else None
        # Without a registry no shopper model is used, and nobody may have written item vectors.
        if stamp[0] is None or stamp == self._done:
            return
        try:
            unused = self._unused()
            self._restore()
        except (grpc.RpcError, OSError, ValueError, KeyError) as error:
            _log.info("item vectors are looked at later", reason=str(error))
            return
        self._done = stamp if not unused else None

    def close(self) -> None:
        self._channel.close()

    def _restore(self) -> None:
        """After a switch the live collection may have none of the current version: its source would find nothing."""
        if self._texts is None or not (current := self._registry.rollout().current):
            return
        name, folder = self._registry.manifest(current)["model_version"], self._registry.path(current)
        held = self._call(self._stub.DescribeItemVectors, gateway_pb2.DescribeItemVectorsRequest()).versions
        if any(version.model_version == name for version in held):
            return
        live = self._call(self._stub.DescribeCollections, gateway_pb2.DescribeCollectionsRequest()).live.model_version
        self._call(self._stub.BeginItemVectors, begin_message(folder, live))
        for message in store_messages(folder):
            self._call(self._stub.StoreItemVectors, message)
        _log.info("item vectors were stored again", version=name)

    def _unused(self) -> set[str]:
        """Removes the versions whose grace is over; gives those that still wait."""
        used, now_s = self._in_use(), self._clock()
        asked = self._call(self._stub.DescribeItemVectors, gateway_pb2.DescribeItemVectorsRequest())
        unused = {version.model_version for version in asked.versions} - used
        self._unused_since = {name: self._unused_since.get(name, now_s) for name in unused}
        for name in sorted(unused):
            if now_s - self._unused_since[name] < GRACE_S:
                continue
            self._call(self._stub.DropItemVectors, gateway_pb2.DropItemVectorsRequest(model_version=name))
            _log.info("item vectors of a version that is out of use were removed", version=name)
            del self._unused_since[name]
        return set(self._unused_since)

    def _call(self, method: Any, request: Any) -> Any:
        return method(request, timeout=self._settings.timeout_s, metadata=self._settings.metadata)

    def _in_use(self) -> set[str]:
        """Model versions that serve, or that the next rollback returns to."""
        rollout = self._registry.rollout()
        versions = {rollout.current, rollout.other or "", *rollout.before[-1:]} - {""}
        return {self._registry.manifest(version)["model_version"] for version in versions}
