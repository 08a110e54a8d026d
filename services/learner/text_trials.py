"""The trial of a text version. Its promotion switches the collections too: each has vectors of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
import structlog

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.gateway_access import GatewayAccessSettings
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, StepKind
from services.common.models.text_version import read_text_version
from services.learner.metrics import LearnerMetrics
from services.learner.settings import TrialSettings
from services.learner.trial import Decision
from services.learner.trials import Trials, TrialState

_log = structlog.get_logger("kairos.learner")


class TextTrials(Trials):
    """`switch(model_version)` makes the collection with vectors of a model the live one; it raises ValueError or a
    gRPC error if that is not possible now.

    Before a version is on trial, its collection is filled by hand: `kairos models promote`. Once it is promoted, the
    version before answers nobody, and stays in use for a rollback by hand.
    """

    def __init__(
        self, registry: ModelRegistry, counts: Callable[[str], Mapping[str, float]], settings: TrialSettings,
        metrics: LearnerMetrics, state: TrialState, switch: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__(registry, counts, settings, metrics, state)
        self._texts, self._switch = registry, switch

    def _is_watched(self, rollout: Rollout) -> bool:
        return rollout.challenger is not None

    def _is_prepared(self, decision: Decision, version: str) -> bool:
        if decision.kind is not StepKind.PROMOTED:
            return True
        try:
            self._switch(read_text_version(self._texts.path(version)).name)
        except (ValueError, grpc.RpcError) as error:
            _log.warning("a text version is promoted later", version=version, reason=str(error))
            return False
        return True

    def _promoted(self, now: Rollout, version: str) -> Rollout:
        return now.promoted(version, keep=True)


def collection_switch(settings: GatewayAccessSettings) -> Callable[[str], None]:
    """See TextTrials. Idempotent."""

    def switch(model_version: str) -> None:
        with settings.channel() as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            timeout_s, key = settings.timeout_s, settings.metadata
            asked = gateway_pb2.DescribeCollectionsRequest()
            state = stub.DescribeCollections(asked, timeout=timeout_s, metadata=key)
            if state.live.model_version == model_version:
                return
            if state.staged.model_version != model_version or state.staged.product_count != state.live.product_count:
                raise ValueError(
                    f"no collection has vectors of {model_version} for all products; repeat `kairos models promote`"
                )
            change = gateway_pb2.SwitchCollectionsRequest(model_version=model_version)
            stub.SwitchCollections(change, timeout=timeout_s, metadata=key)

    return switch
