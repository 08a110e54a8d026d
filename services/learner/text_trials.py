"""The trial of a text version. Its promotion switches the collections too: each has vectors of one model."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import grpc
import structlog

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.gateway_access import GatewayAccessSettings
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, Stage, StepKind
from services.common.models.text_version import read_text_version
from services.learner.metrics import LearnerMetrics
from services.learner.settings import TrialSettings
from services.learner.trial import Decision
from services.learner.trials import Trials, TrialState

# Seconds between two looks at the counts of searches in shadow.
_ASK_S = 10.0

_log = structlog.get_logger("kairos.learner")


class Collections(Protocol):
    """The tenant's collections at the gateway."""

    def switch(self, model_version: str) -> None:
        """Makes the collection with vectors of this model the live one. Idempotent.

        Raises ValueError or a gRPC error if that is not possible now.
        """

    def shadow_counts(self, trial: str) -> Mapping[str, float]:
        """What a version in shadow has done, by the names of `decide`; as far as it is known."""


class TextTrials(Trials):
    """Before a version is on trial, its collection is filled by hand: `kairos models promote`. Once it is promoted, the
    version before answers nobody, and stays in use for a rollback by hand.
    """

    def __init__(
        self, registry: ModelRegistry, collections: Collections, settings: TrialSettings, metrics: LearnerMetrics,
        state: TrialState,
    ) -> None:  # fmt: skip
        super().__init__(registry, self._shadow_counts, settings, metrics, state)
        self._texts, self._collections = registry, collections

    def _is_watched(self, rollout: Rollout) -> bool:
        return rollout.challenger is not None

    def _is_prepared(self, decision: Decision, version: str) -> bool:
        if decision.kind is not StepKind.PROMOTED:
            return True
        try:
            self._collections.switch(read_text_version(self._texts.path(version)).name)
        except (ValueError, grpc.RpcError) as error:
            _log.warning("a text version is promoted later", version=version, reason=str(error))
            return False
        return True

    def _shadow_counts(self, trial: str) -> Mapping[str, float]:
        # Once a version has a share, its persons' clicks decide; of its errors and times nothing is counted.
        return self._collections.shadow_counts(trial) if self.rollout().stage is Stage.SHADOW else {}

    def _promoted(self, now: Rollout, version: str) -> Rollout:
        return now.promoted(version, keep=True)


class GatewayCollections:
    """See Collections. Replicas of retrieval are asked in turn, as the gateway's calls reach them."""

    def __init__(self, settings: GatewayAccessSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._trial, self._asked_s = "", -math.inf
        # By replica, the counts of the trial that it named last.
        self._counts: dict[str, retrieval_pb2.TextShadowCounts] = {}

    def switch(self, model_version: str) -> None:
        with self._settings.channel() as channel:
            stub = gateway_pb2_grpc.GatewayServiceStub(channel)
            state = self._describe(stub)
            if state.live.model_version == model_version:
                return
            if state.staged.model_version != model_version or state.staged.product_count != state.live.product_count:
                raise ValueError(
                    f"no collection has vectors of {model_version} for all products; repeat `kairos models promote`"
                )
            change = gateway_pb2.SwitchCollectionsRequest(model_version=model_version)
            stub.SwitchCollections(change, timeout=self._settings.timeout_s, metadata=self._settings.metadata)

    def shadow_counts(self, trial: str) -> Mapping[str, float]:
        if trial != self._trial:
            self._trial, self._counts = trial, {}
        if self._clock() - self._asked_s >= _ASK_S:
            self._asked_s = self._clock()
            self._ask()
        sums = Counter[str]()
        for each in self._counts.values():
            sums.update(
                {
                    "shadow.requests": each.request_count, "shadow.errors": each.error_count,
                    "shadow.agreement": each.agreement, "shadow.seconds": each.seconds,
                    "shadow.seconds_of_current": each.seconds_of_current,
                }
            )  # fmt: skip
        return sums

    def _ask(self) -> None:
        try:
            with self._settings.channel() as channel:
                found = self._describe(gateway_pb2_grpc.GatewayServiceStub(channel)).text_shadow
        except grpc.RpcError as error:
            _log.info("the searches in shadow are asked for later", reason=str(error))
            return
        if found.trial == self._trial:
            self._counts[found.replica] = found

    def _describe(self, stub: gateway_pb2_grpc.GatewayServiceStub) -> gateway_pb2.DescribeCollectionsResponse:
        return stub.DescribeCollections(
            gateway_pb2.DescribeCollectionsRequest(), timeout=self._settings.timeout_s, metadata=self._settings.metadata
        )
