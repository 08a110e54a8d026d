"""A simulated suite: stages and a gateway that share the cores of one machine, and an open loop of searches.

The limits, the queues, the breaker and the budgets are the real ones; only the work is simulated. Everything runs on
virtual time (`virtual_time`) and is seeded. All times are in seconds.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from kairos.common.v1 import common_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import Overloaded
from services.gateway.domain.budget import Stage
from services.gateway.metrics import Metrics
from services.gateway.request_info import RequestInfo
from services.gateway.settings import GatewaySettings
from services.gateway.stage_calls import StageAccess, StageCalls
from tests.unit.gateway.virtual_time import clock

# CPU time of a search on the measured machine: mean of each stage, and of the gateway's steps between them.
_MEAN_S = {Stage.QUERY_ENCODER: 0.004, Stage.RETRIEVAL: 0.006, Stage.RANKER: 0.004, Stage.PRICING: 0.002}
_OWN_S = (0.0015, 0.0010, 0.0010, 0.0005, 0.0020)
_REFUSAL_S = 0.0004
_WORKERS = {Stage.QUERY_ENCODER: 1, Stage.RETRIEVAL: 2, Stage.RANKER: 2, Stage.PRICING: 1}
# One way over loopback, with the wake-up of a process.
_HOP_S = 0.0005
# Cores go from task to task after so much time.
_QUANTUM_S = 0.002
_SIGMA, _TAIL, _TAIL_FACTOR = 0.3, 0.02, 5.0
# The stages of a search without campaigns.
FLOW = list(_MEAN_S)
_ANSWER = common_pb2.Degradation()


@dataclass
class Fault:
    """`slower_s`: added to each call without using a core; `paused`: no call ends; `failing`: the part of calls that
    fail at once; `heavier`: factor of the CPU time."""

    slower_s: float = 0.0
    paused: bool = False
    failing: float = 0.0
    heavier: float = 1.0


@dataclass
class Answers:
    """What became of the searches that began within a period."""

    whole: int = 0
    degraded: int = 0
    refused: int = 0
    late: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)

    @property
    def admitted(self) -> int:
        return self.whole + self.degraded

    @property
    def whole_share(self) -> float:
        return self.whole / max(1, self.admitted + self.refused)


class SimulatedSuite:
    """`limits` and others are settings of the gateway. Needs a running virtual loop."""

    def __init__(self, seed: int, settings: GatewaySettings | None = None, cores: int = 2) -> None:
        self._random = random.Random(seed)
        self.access = StageAccess(settings or GatewaySettings(), Metrics(), clock)
        self._cores = asyncio.Semaphore(cores)
        self._workers = {stage: asyncio.Semaphore(count) for stage, count in _WORKERS.items()}
        self._gateway = asyncio.Semaphore(1)
        self.faults = {stage: Fault() for stage in Stage}
        self._running = set[asyncio.Task[None]]()

    async def search_for(
        self, duration_s: float, per_s: float, deadline_s: float = 0.15, splits: Sequence[float] = ()
    ) -> list[Answers]:
        """Searches at `per_s`, whatever becomes of them (open loop, Poisson). One result for each part of the time:
        `splits` are the ends of all parts but the last."""
        began_s = clock()
        parts = [Answers() for _ in range(len(splits) + 1)]
        at_s = began_s
        while True:
            at_s += self._random.expovariate(per_s)
            if at_s > began_s + duration_s:
                break
            await asyncio.sleep(at_s - clock())
            part = parts[sum(at_s - began_s >= split for split in splits)]
            self._start(self._search(part, deadline_s))
        await asyncio.sleep(began_s + duration_s - clock())
        return parts

    async def _search(self, answers: Answers, deadline_s: float) -> None:
        sent_s, limit = clock(), self.access.limit
        try:
            await self._own(_REFUSAL_S / 2)
            left_s = deadline_s - (clock() - sent_s)
            limit.require_room(left_s, 1.0)
            info = RequestInfo("r", received_s=clock(), deadline_s=sent_s + deadline_s)
            async with limit.place("Search", left_s, 1.0, info.work):
                calls = self.access.for_read(info, "")
                await self._flow(calls)
        except Overloaded:
            await self._own(_REFUSAL_S / 2)
            answers.refused += 1
            answers.refusals_s.append(clock() - sent_s)
            return
        latency_s = clock() - sent_s
        answers.latencies_s.append(latency_s)
        answers.late += latency_s > deadline_s + 0.005
        if calls.degradations or latency_s > deadline_s:
            answers.degraded += 1
            answers.reasons.update(f"{d.stage}:{d.reason}" for d in calls.degradations)
        else:
            answers.whole += 1

    async def _flow(self, calls: StageCalls) -> None:
        requests: dict[Stage, Any] = {
            Stage.QUERY_ENCODER: encoder_pb2.EncodeQueryRequest(),
            Stage.RETRIEVAL: retrieval_pb2.RetrieveCandidatesRequest(),
            Stage.RANKER: ranker_pb2.RankItemsRequest(),
            Stage.PRICING: pricing_pb2.QuotePricesRequest(),
        }
        has_candidates = True
        for stage, own_s in zip(FLOW, _OWN_S, strict=False):
            await self._own(own_s)
            if stage is Stage.RANKER and not has_candidates:
                continue
            answer = await calls.call_or_degrade(
                stage, _Method(self, stage), requests[stage], FLOW[FLOW.index(stage) + 1 :], "fallback"
            )
            has_candidates &= not (stage is Stage.RETRIEVAL and answer is None)
        await self._own(_OWN_S[-1])

    async def serve(self, stage: Stage, timeout_s: float) -> None:
        """One call at a stage. Raises AioRpcError as gRPC does. Work that was begun is done to its end, if in vain."""
        if self._random.random() < self.faults[stage].failing:
            await asyncio.sleep(2 * _HOP_S)
            raise _error(grpc.StatusCode.UNAVAILABLE)
        work = self._start(self._at_stage(stage))
        done, _ = await asyncio.wait({work}, timeout=max(0.0, timeout_s))
        if not done:
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED)

    async def _at_stage(self, stage: Stage) -> None:
        fault = self.faults[stage]
        await asyncio.sleep(_HOP_S + fault.slower_s)
        while self.faults[stage].paused:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(20 * _QUANTUM_S)
        async with self._workers[stage]:
            await self._work(self._duration(_MEAN_S[stage]) * fault.heavier)
        await asyncio.sleep(_HOP_S)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        # The event loop itself does not keep a task alive.
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _own(self, mean_s: float) -> None:
        """A step of the gateway's only thread."""
        async with self._gateway:
            await self._work(self._duration(mean_s))

    async def _work(self, cpu_s: float) -> None:
        while cpu_s > 0:
            async with self._cores:
                await asyncio.sleep(min(cpu_s, _QUANTUM_S))
            cpu_s -= _QUANTUM_S

    def _duration(self, mean_s: float) -> float:
        tail = _TAIL_FACTOR if self._random.random() < _TAIL else 1.0
        body = self._random.lognormvariate(-(_SIGMA**2) / 2, _SIGMA)
        return mean_s * body * tail / (1 + _TAIL * (_TAIL_FACTOR - 1))


@dataclass(frozen=True)
class _Method:
    """Stands for the method of a stub."""

    suite: SimulatedSuite
    stage: Stage

    async def __call__(self, request: Any, timeout: float, metadata: Any) -> Message:  # noqa: ASYNC109 - gRPC's name
        await self.suite.serve(self.stage, timeout)
        return _ANSWER


def _error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "simulated")


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else 0.0
