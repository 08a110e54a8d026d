"""The faults of `benchmarks.faults`: how each begins, how long it lasts, and when it has ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from benchmarks.faults_proxy import STAGES, Disturbance, StageProxy
from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import common_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from ops.client import Connection
from ops.hosting import CONFIG_FILE, ServeConfig, load_serve_config
from ops.processes import suite_processes
from ops.rollout import roll_out
from ops.settings import SuiteSettings
from ops.state import stage_secret_file
from services.common.stage_access import SECRET_KEY
from services.query_encoder.wiring import embedded_model_dir

# Of a tenant that cannot be, which the stage's own code refuses. While a replica is missing, the ingress answers some
# calls with OK and an empty message, so OK says nothing.
_CONTEXT = common_pb2.RequestContext(tenant="!")
_PROBES: dict[str, tuple[str, Message]] = {
    "query_encoder": (
        "/kairos.encoder.v1.QueryEncoderService/EncodeQuery",
        encoder_pb2.EncodeQueryRequest(context=_CONTEXT),
    ),
    "retrieval": (
        "/kairos.retrieval.v1.RetrievalService/LookupProducts",
        retrieval_pb2.LookupProductsRequest(context=_CONTEXT),
    ),
    "ranker": ("/kairos.ranker.v1.RankerService/RankItems", ranker_pb2.RankItemsRequest(context=_CONTEXT)),
    "pricing": ("/kairos.pricing.v1.PricingService/QuotePrices", pricing_pb2.QuotePricesRequest(context=_CONTEXT)),
}
_PROBE_PAUSE_S = 0.02
_HEAL_LIMIT_S = 90.0
# Linux waits at least so long before it sends a lost packet again.
_RETRANSMISSION_S = 0.2
ENCODER = "query_encoder"
CLOCK_STEP_S = 3_600.0
LOSSY, DISK_FULL, CLOCK_STEPPED = "2 % of stage calls wait for a retransmission", "disk full", "clock an hour ahead"
# Faults that a machine may not allow, with the reason.
NOT_EVERYWHERE = {
    DISK_FULL: "mounting a small file system needs root",
    CLOCK_STEPPED: "it would step the clock of the whole machine: --step-clock",
    "packet loss by tc netem": f"many kernels lack it; instead: {LOSSY}",
}


@dataclass(frozen=True)
class Place:
    """The suite that the faults disturb. `disk`: a small file system that has its state; None: there is none."""

    settings: SuiteSettings
    connection: Connection
    proxy: StageProxy
    folder: Path
    disk: Path | None


@dataclass(frozen=True)
class Fault:
    """`inflict` begins and ends the fault; inside the context it lasts `lasts_s` seconds.

    `stage`: the stage that degraded answers must name; empty: the fault need not degrade any.
    """

    name: str
    stage: str
    inflict: Callable[[Place], AbstractContextManager[None]]
    lasts_s: float


def all_faults(lasts_s: float, step_clock: bool) -> list[Fault]:
    found = []
    for stage in STAGES.values():
        for delay_ms in (20, 200, 2_000):
            slow = Disturbance(delay_s=delay_ms / 1e3)
            named = stage if delay_ms > 20 else ""
            found.append(
                Fault(f"{stage} slowed by {delay_ms:,} ms", named, partial(_disturbed, slow, (stage,)), lasts_s)
            )
        found += [
            Fault(f"{stage} answers garbage", stage, partial(_disturbed, Disturbance(garbage=True), (stage,)), lasts_s),
            Fault(f"{stage} fails half", stage, partial(_disturbed, Disturbance(failing=0.5), (stage,)), lasts_s),
            Fault(f"{stage} paused", stage, partial(_paused, stage), lasts_s),
            Fault(f"{stage} killed", stage, partial(_killed, stage), 0.0),
        ]
    lossy, everywhere = Disturbance(delay_s=_RETRANSMISSION_S, delayed=0.02), tuple(STAGES.values())
    found += [
        Fault(LOSSY, "", partial(_disturbed, lossy, everywhere), lasts_s),
        Fault(DISK_FULL, "", _disk_full, lasts_s),
        Fault("a replica more, then one less", "", _scaled, 0.0),
        Fault("another model", "", _model_swapped, 0.0),
        Fault("a catalogue imported", "", _imported, 0.0),
    ]
    return [*found, Fault(CLOCK_STEPPED, "", _clock_stepped, lasts_s)] if step_clock else found


def serve_config() -> ServeConfig:
    """That of `kairos up`, with the surge of `production`: a new replica starts before the old one stops."""
    config = load_serve_config(CONFIG_FILE)
    for application in config.applications:
        application.deployments[0].max_surge_percent = 100
    return config


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path | None]:
    """A file system in memory, mounted on a new folder in `folder`; None if this user may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "kairos-faults", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        # Lazily: a process that ends late may have a file open.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextlib.contextmanager
def _disturbed(disturbance: Disturbance, stages: tuple[str, ...], place: Place) -> Iterator[None]:
    with place.proxy.disturb(disturbance, *stages):
        yield


@contextlib.contextmanager
def _paused(stage: str, place: Place) -> Iterator[None]:
    pids = _pids(stage, place)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def _killed(stage: str, place: Place) -> Iterator[None]:
    """Ends when the stage answers at the ingress again."""
    for pid in _pids(stage, place):
        os.kill(pid, signal.SIGKILL)
    yield
    path, request = _PROBES[stage]
    secret = stage_secret_file(place.settings).read_text().split()[0]
    metadata = (("application", stage), (SECRET_KEY, secret))
    limit_s, answered = time.monotonic() + _HEAL_LIMIT_S, 0
    with grpc.insecure_channel(f"127.0.0.1:{place.settings.ingress_grpc_port}") as channel:
        method: Any = channel.unary_unary(path)
        while answered < 3:
            if time.monotonic() > limit_s:
                raise RuntimeError(f"{stage} is not healthy {_HEAL_LIMIT_S:.0f} s after its process was killed")
            code = grpc.StatusCode.OK
            try:
                method(request.SerializeToString(), timeout=0.5, metadata=metadata)
            except grpc.RpcError as error:
                code = error.code()
            answered = answered + 1 if code is grpc.StatusCode.INVALID_ARGUMENT else 0
            time.sleep(_PROBE_PAUSE_S)


def _pids(stage: str, place: Place) -> list[int]:
    return [process.pid for process in suite_processes(place.settings.data_dir) if process.name == stage]


@contextlib.contextmanager
def _disk_full(place: Place) -> Iterator[None]:
    if place.disk is None:
        raise RuntimeError("no small disk is mounted")
    filler = place.disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def _scaled(place: Place) -> Iterator[None]:
    config = serve_config()
    (application,) = (application for application in config.applications if application.name == ENCODER)
    for replicas in (2, 1):
        application.deployments[0].num_replicas = replicas
        roll_out(place.settings, config)
    yield


@contextlib.contextmanager
def _model_swapped(place: Place) -> Iterator[None]:
    """The same weights in another folder: all that a new model costs, and equal answers."""
    model = place.folder / "model"
    shutil.copytree(embedded_model_dir(), model)
    config = serve_config()
    (application,) = (application for application in config.applications if application.name == ENCODER)
    application.args["model_dir"] = str(model)
    roll_out(place.settings, config)
    yield


@contextlib.contextmanager
def _imported(place: Place) -> Iterator[None]:
    load_products(place.connection, place.folder, build_catalogue(seed=8, size=600))
    yield


@contextlib.contextmanager
def _clock_stepped(place: Place) -> Iterator[None]:
    def step(seconds: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) + seconds)

    step(CLOCK_STEP_S)
    try:
        yield
    finally:
        step(-CLOCK_STEP_S)
