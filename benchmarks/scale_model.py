"""A queueing model of the suite: what `benchmarks.scale` simulates.

Each replica is one core that serves in the order of arrival; a request goes to the replica with the fewest requests.
Service times come from benchmarks.request_costs. Budgets are computed by the gateway's own code: a stage that cannot
finish within its timeout is skipped. The number of replicas follows Ray Serve's autoscaling policy: ongoing requests,
averaged over the look-back period and divided by the target, once the result has held for the delay; replicas report
their ongoing requests every two seconds (`push_s`). The gateways follow Kubernetes' horizontal pod autoscaler by CPU.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import simpy

from benchmarks.manifests import Object, serve_applications
from services.gateway.domain.budget import RequestBudget, Stage
from services.gateway.settings import BudgetSettings, StagesSettings

GATEWAY = "gateway"
POOLS = (GATEWAY, *(stage.value for stage in Stage))
_SHARES = StagesSettings().shares()
_BUDGET = BudgetSettings()
# Standard deviation of the logarithm of service times: long queries, users with long histories.
_SPREAD = 0.4
_TICK_S = 1.0
# Ray Serve's default.
_LOOK_BACK_S = 30.0
# Period of Kubernetes' horizontal pod autoscaler and of its metrics.
_HPA_PERIOD_S = 15.0


@dataclass(frozen=True)
class Scaling:
    """Ray Serve's autoscaling_config of one deployment, or the gateways' HPA where `cpu_target` is set."""

    min_replicas: int
    max_replicas: int
    target_ongoing_requests: float = 2.0
    upscale_delay_s: float = 3.0
    downscale_delay_s: float = 300.0
    look_back_s: float = 10.0
    push_s: float = 2.0
    cpu_target: float = 0.0


def scalings_of(objects: list[Object]) -> dict[str, Scaling]:
    """By service: the settings of the RayServices and of the gateways' HorizontalPodAutoscaler in a built overlay.

    Raises ValueError if a service is missing or does not scale.
    """
    found = {}
    for application in serve_applications(objects):
        if config := application["deployments"][0].get("autoscaling_config"):
            settings = dict(config)
            settings["look_back_s"] = settings.pop("look_back_period_s", _LOOK_BACK_S)
            found[application["name"]] = Scaling(**settings)
    for item in objects:
        if item["kind"] == "HorizontalPodAutoscaler":
            spec = item["spec"]
            used = spec["metrics"][0]["resource"]["target"]["averageUtilization"] / 100
            found[GATEWAY] = Scaling(
                spec["minReplicas"], spec["maxReplicas"], upscale_delay_s=0,
                look_back_s=_HPA_PERIOD_S, push_s=_HPA_PERIOD_S, cpu_target=used,
            )  # fmt: skip
    if missing := set(POOLS) - set(found):
        raise ValueError(f"the manifests do not scale {', '.join(sorted(missing))}")
    return found


@dataclass
class Replica:
    free_at_s: float = 0.0
    ongoing: int = 0


@dataclass
class Pool:
    """The replicas of one service. `mean_s` is the CPU time of one request on one core."""

    name: str
    scaling: Scaling
    mean_s: float
    starting_s: float
    replicas: list[Replica] = field(default_factory=list)
    wanted: int = 0
    busy_s: float = 0.0
    replica_s: float = 0.0
    _seen: deque[float] = field(default_factory=deque)
    _reported: float = 0.0
    _since_s: float | None = None
    _direction: int = 0
    _last_busy_s: float = 0.0

    def __post_init__(self) -> None:
        self.wanted = self.scaling.min_replicas
        self.replicas = [Replica() for _ in range(self.wanted)]

    def place(self, now_s: float, work_s: float, timeout_s: float) -> tuple[Replica, float] | None:
        """(replica, seconds until it is done); None, without any work, if that would be after the timeout."""
        replica = min(self.replicas, key=lambda one: (one.ongoing, one.free_at_s))
        begins_s = max(now_s, replica.free_at_s)
        if begins_s + work_s - now_s > timeout_s:
            return None
        replica.free_at_s = begins_s + work_s
        replica.ongoing += 1
        self.busy_s += work_s
        return replica, replica.free_at_s - now_s

    def decide(self, now_s: float) -> int:
        """The wanted number of replicas at `now_s`; called once a tick."""
        if self.scaling.cpu_target:
            used, self._last_busy_s = self.busy_s - self._last_busy_s, self.busy_s
            self._seen.append(used / _TICK_S / self.scaling.cpu_target)
        else:
            self._seen.append(sum(one.ongoing for one in self.replicas) / self.scaling.target_ongoing_requests)
        while len(self._seen) > self.scaling.look_back_s / _TICK_S:
            self._seen.popleft()
        if now_s % self.scaling.push_s < _TICK_S:
            self._reported = sum(self._seen) / len(self._seen)
        # Rounding errors must not add a replica.
        desired = math.ceil(self._reported - 1e-9)
        desired = min(max(desired, self.scaling.min_replicas), self.scaling.max_replicas)
        direction = (desired > self.wanted) - (desired < self.wanted)
        if direction != self._direction:
            self._direction, self._since_s = direction, now_s
        delay_s = self.scaling.upscale_delay_s if direction > 0 else self.scaling.downscale_delay_s
        if direction and self._since_s is not None and now_s - self._since_s >= delay_s:
            self.wanted, self._since_s = desired, now_s
        return self.wanted


@dataclass
class Window:
    """Counts of one interval of the simulation; `degraded` are answers without some stage."""

    start_s: float
    arrivals: int = 0
    refused: int = 0
    degraded: int = 0
    latencies_s: list[float] = field(default_factory=list)
    replicas: dict[str, int] = field(default_factory=dict)


class Suite:
    """One simulated suite: `run` it, then read `windows` and `pools`."""

    def __init__(
        self,
        rate: Callable[[float], float],
        costs_ms: dict[str, float],
        scalings: dict[str, Scaling],
        *,
        hop_ms: float = 0.9,
        starting_s: float = 30.0,
        window_s: float = 10.0,
        seed: int = 7,
    ) -> None:
        self._rate, self._random, self.window_s = rate, Random(seed), window_s
        self._hop_s = hop_ms / 1e3
        self._env: Any = simpy.Environment()
        self.pools = {name: Pool(name, scalings[name], costs_ms[name] / 1e3, starting_s) for name in POOLS}
        self.windows: list[Window] = []

    def run(self, duration_s: float) -> None:
        for process in (self._arrive(duration_s), self._scale(), self._watch()):
            self._env.process(process)
        self._env.run(until=duration_s)

    def core_hours(self) -> dict[str, float]:
        return {name: pool.replica_s / 3600 for name, pool in self.pools.items()}

    def _arrive(self, duration_s: float) -> Generator[Any, Any, None]:
        """A Poisson process with a changing rate, by thinning (Lewis and Shedler, 1979)."""
        most = max(self._rate(float(second)) for second in range(int(duration_s)))
        while True:
            yield self._env.timeout(self._random.expovariate(most))
            if self._random.random() * most < self._rate(self._env.now):
                self._env.process(self._request())

    def _request(self) -> Generator[Any, Any, None]:
        window, began = self.windows[-1], self._env.now
        window.arrivals += 1
        budget = RequestBudget(began, began + _BUDGET.default_ms / 1e3, _SHARES, _BUDGET.reserve_ms / 1e3)
        is_whole = True
        gateway = self.pools[GATEWAY].place(began, self._work(GATEWAY), budget.total_s)
        if gateway is None:
            window.refused += 1
            return
        yield self._env.timeout(gateway[1])
        gateway[0].ongoing -= 1
        for stage, later in _FLOW:
            timeout_s = budget.timeout_s(stage, dict.fromkeys(later, 0.0), self._env.now) - self._hop_s
            placed = self.pools[stage.value].place(self._env.now, self._work(stage.value), timeout_s)
            if placed is None:
                # The worst case: the gateway notices only at the end of the timeout.
                is_whole = False
                yield self._env.timeout(max(timeout_s, 0.0))
                continue
            yield self._env.timeout(placed[1] + self._hop_s)
            placed[0].ongoing -= 1
        window.degraded += not is_whole
        window.latencies_s.append(self._env.now - began)

    def _scale(self) -> Generator[Any, Any, None]:
        while True:
            yield self._env.timeout(_TICK_S)
            for pool in self.pools.values():
                pool.replica_s += len(pool.replicas) * _TICK_S
                before, wanted = pool.wanted, pool.decide(self._env.now)
                for _ in range(before, wanted):
                    self._env.process(self._start(pool))
                # A removed replica finishes its requests, which no longer count as ongoing.
                if wanted < len(pool.replicas):
                    pool.replicas.sort(key=lambda one: one.ongoing, reverse=True)
                    del pool.replicas[max(wanted, 1) :]

    def _start(self, pool: Pool) -> Generator[Any, Any, None]:
        pool.replica_s += pool.starting_s  # its core is reserved from now on
        yield self._env.timeout(pool.starting_s)
        if len(pool.replicas) < pool.wanted:
            pool.replicas.append(Replica(self._env.now))

    def _watch(self) -> Iterator[Any]:
        while True:
            replicas = {name: len(pool.replicas) for name, pool in self.pools.items()}
            self.windows.append(Window(self._env.now, replicas=replicas))
            yield self._env.timeout(self.window_s)

    def _work(self, name: str) -> float:
        """Seconds of one request: log-normal around the measured mean."""
        return self.pools[name].mean_s * self._random.lognormvariate(-(_SPREAD**2) / 2, _SPREAD)


_STAGES = list(Stage)
_FLOW = [(stage, _STAGES[place + 1 :]) for place, stage in enumerate(_STAGES)]
