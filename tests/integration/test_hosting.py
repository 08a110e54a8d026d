"""Serve as the launcher starts it: HAProxy, direct ingress, healing. One host with two echoing stages for all tests."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kairos.assistant.v1 import assistant_pb2
from kairos.assistant.v1.assistant_pb2_grpc import AssistantServiceStub
from kairos.encoder.v1.encoder_pb2 import EncodeQueryRequest
from kairos.encoder.v1.encoder_pb2_grpc import QueryEncoderServiceStub
from ops.hosting import Application, Deployment, ServeConfig, haproxy_folder, has_haproxy, hosting_environment
from ops.processes import end_all, marker_of, suite_members, suite_processes
from ops.settings import LOOPBACK, SuiteSettings
from tests.contract.refusals import reason_of

STAGES = ("query_encoder", "retrieval")
START_TIMEOUT_S = 180.0
# Calls that one replica works on at a time. A method's own bound is higher (services/common/call_limit.py).
MOST_CALLS = 8


needs_haproxy = pytest.mark.skipif(not has_haproxy(), reason="direct ingress needs HAProxy, which has no wheel here")


@dataclass
class Host:
    """A started `ops.host`."""

    settings: SuiteSettings
    process: subprocess.Popen[bytes]

    @property
    def target(self) -> str:
        return f"{LOOPBACK}:{self.settings.ingress_grpc_port}"

    def pid_of(self, stage: str) -> int:
        """Of the only replica of an application."""
        (pid,) = (process.pid for process in suite_processes(self.settings.data_dir) if process.name == stage)
        return pid

    def log(self) -> str:
        return (self.settings.data_dir / "host.log").read_text()[-4000:]

    def stop(self) -> None:
        """Ends all processes of the suite; safe to repeat."""
        members = suite_members(self.settings.data_dir)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        end_all(self.settings.data_dir, members)
        shutil.rmtree(haproxy_folder(self.settings), ignore_errors=True)


def echo_config() -> ServeConfig:
    deployment = Deployment(
        name="stage", num_replicas=1, max_ongoing_requests=MOST_CALLS, health_check_period_s=1,
        health_check_timeout_s=10, graceful_shutdown_timeout_s=2, ray_actor_options={"num_cpus": 0.5},
    )  # fmt: skip
    path = "tests.integration.echo_stage:build_stage"
    return ServeConfig(
        applications=[
            Application(name=stage, import_path=path, route_prefix=f"/{stage}", deployments=[deployment])
            for stage in STAGES
        ]
    )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("hosting")
    config = folder / "serve.yaml"
    config.write_text(yaml.safe_dump(echo_config().model_dump(exclude_none=True)))
    settings = SuiteSettings.on_free_ports(folder, serve_config=config).resolved()
    environment = hosting_environment(settings) | settings.environment() | marker_of(folder)
    with (folder / "host.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.host"],
            env=os.environ | environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    started = Host(settings, process)
    yield started
    started.stop()


@pytest.fixture
async def stub(host: Host) -> AsyncIterator[QueryEncoderServiceStub]:
    """A stub of a host that answers."""
    async with grpc.aio.insecure_channel(host.target) as channel:
        stub = QueryEncoderServiceStub(channel)  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            assert host.process.poll() is None, host.log()
            try:
                await stub.EncodeQuery(EncodeQueryRequest(text="x"), metadata=(("application", STAGES[0]),), timeout=5)
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline, host.log()
                await asyncio.sleep(0.2)
        yield stub


async def direct(stub: QueryEncoderServiceStub) -> None:
    """Waits until HAProxy knows the replica's port: until then it sends calls to Serve's own proxy, which leaves a
    request_id in the trailing metadata.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        call = stub.EncodeQuery(EncodeQueryRequest(text="shoes"), metadata=(("application", STAGES[0]),), timeout=10)
        assert (await call).language == "en"
        if "request_id" not in {key for key, _ in await call.trailing_metadata()}:
            return
        assert time.monotonic() < deadline, "calls still go through Serve's own proxy"
        await asyncio.sleep(0.2)


async def streamed(stub: AssistantServiceStub, conversation_id: str = "") -> tuple[list[str], list[float], str]:
    """(words, seconds at which they came, text of the last event) of a stream."""
    request = assistant_pb2.ConverseRequest(
        conversation_id=conversation_id, utterance=assistant_pb2.Utterance(text="one two three")
    )
    metadata = (("application", STAGES[0]), ("authorization", "Bearer key"))
    words, times, last = list[str](), list[float](), ""
    async for event in stub.Converse(request, metadata=metadata, timeout=10):
        words += [event.segment.text] if event.HasField("segment") else []
        times.append(time.monotonic())
        last = event.ended.language
    return words, times, last


async def test_streams_cross_the_ingress(host: Host, stub: QueryEncoderServiceStub) -> None:
    """The messages of a stream come one by one, its metadata arrive, and an error in it has its google.rpc details: by
    the short way, and through Serve's own proxy, where a host that has just started sends its calls.
    """
    async with grpc.aio.insecure_channel(host.target) as channel:
        conversation = AssistantServiceStub(channel)
        for _ in range(2):
            words, times, last = await streamed(conversation)
            assert words == ["one", "two", "three"]
            assert times[-1] - times[0] > 0.2
            assert last == "Bearer key"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await streamed(conversation, "unknown")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert reason_of(caught.value) == "NOT_FOUND"
            if has_haproxy():
                await direct(stub)


@needs_haproxy
async def test_calls_reach_the_handler_directly(stub: QueryEncoderServiceStub) -> None:
    """A call takes the short way to the handler."""
    await direct(stub)


@needs_haproxy
async def test_calls_beyond_the_bound_are_refused(stub: QueryEncoderServiceStub) -> None:
    """While a replica works on `max_ongoing_requests` calls, further ones are refused at once as overloaded."""
    await direct(stub)

    async def refusal() -> grpc.aio.AioRpcError | None:
        request = EncodeQueryRequest(text="patience")
        try:
            await stub.EncodeQuery(request, metadata=(("application", STAGES[0]),), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error
        return None

    outcomes = await asyncio.gather(*(refusal() for _ in range(2 * MOST_CALLS)))
    refused = [error for error in outcomes if error is not None]
    assert len(refused) == MOST_CALLS
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert {reason_of(error) for error in refused} == {"OVERLOADED"}


async def test_rich_errors_cross_the_ingress(stub: QueryEncoderServiceStub) -> None:
    """The google.rpc details of an error arrive at the caller."""
    request = EncodeQueryRequest(text="shoes")
    request.context.budget.remaining.SetInParent()  # zero: expired
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EncodeQuery(request, metadata=(("application", STAGES[0]),), timeout=10)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "kairos"


async def test_an_unknown_application_is_refused(stub: QueryEncoderServiceStub) -> None:
    """The ingress answers NOT_FOUND for an application that is not there."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EncodeQuery(EncodeQueryRequest(text="x"), metadata=(("application", "nobody"),), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_killed_replica_comes_back(host: Host, stub: QueryEncoderServiceStub) -> None:
    """After kill -9 of its only replica an application answers again without intervention."""
    killed = host.pid_of(STAGES[0])
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            await stub.EncodeQuery(
                EncodeQueryRequest(text="x"), metadata=(("application", STAGES[0]),), timeout=5, wait_for_ready=True
            )
            break
        except grpc.aio.AioRpcError:
            assert time.monotonic() < deadline, "the replica did not come back"
    assert host.pid_of(STAGES[0]) != killed


def test_stopping_leaves_no_process(host: Host) -> None:
    """When the suite has stopped, none of its processes lives."""
    pids = [process.pid for process in suite_processes(host.settings.data_dir)]
    host.stop()
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
