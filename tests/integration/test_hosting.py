"""Serve as the launcher starts it: HAProxy, direct ingress, healing. One suite of echoing stages for all tests."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from benchmarks.hosting import START_TIMEOUT_S, Mechanism, Suite, wait_until_ready
from benchmarks.hosting_servers import STAGES
from kairos.encoder.v1.encoder_pb2 import EncodeQueryRequest
from kairos.encoder.v1.encoder_pb2_grpc import QueryEncoderServiceStub
from ops.hosting import has_haproxy
from ops.processes import suite_processes


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    suite = Suite(tmp_path_factory.mktemp("hosting"))
    yield suite
    suite.stop()


@pytest.fixture(scope="module")
def started(suite: Suite) -> Mechanism:
    return suite.start_kairos()


@pytest.fixture
async def stub(suite: Suite, started: Mechanism) -> AsyncIterator[QueryEncoderServiceStub]:
    await wait_until_ready(suite, started)
    async with grpc.aio.insecure_channel(started.stage_target) as channel:
        yield QueryEncoderServiceStub(channel)  # type: ignore[no-untyped-call]


@pytest.mark.skipif(not has_haproxy(), reason="direct ingress needs HAProxy, which has no wheel here")
async def test_calls_reach_the_handler_directly(stub: QueryEncoderServiceStub) -> None:
    """A call takes the short way to the handler: Serve's own way leaves a request_id in the trailing metadata."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        call = stub.EncodeQuery(EncodeQueryRequest(text="shoes"), metadata=(("application", STAGES[0]),), timeout=10)
        assert (await call).language == "en"
        if "request_id" not in {key for key, _ in await call.trailing_metadata()}:
            return
        # Until HAProxy has heard of the replica's port it sends calls to Serve's own proxy.
        assert time.monotonic() < deadline, "calls still go through Serve's own proxy"
        await asyncio.sleep(0.2)


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


async def test_a_killed_replica_comes_back(suite: Suite, started: Mechanism, stub: QueryEncoderServiceStub) -> None:
    """After kill -9 of its only replica an application answers again, without anybody's help."""
    folder = suite.folder_of("kairos")
    replicas = {process.name: process.pid for process in suite_processes(folder)}
    os.kill(replicas[STAGES[0]], signal.SIGKILL)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            await stub.EncodeQuery(
                EncodeQueryRequest(text="x"), metadata=(("application", STAGES[0]),), timeout=5, wait_for_ready=True
            )
            break
        except grpc.aio.AioRpcError:
            assert time.monotonic() < deadline, "the replica did not come back"
    assert {process.name: process.pid for process in suite_processes(folder)}[STAGES[0]] != replicas[STAGES[0]]


def test_stopping_leaves_no_process(suite: Suite, started: Mechanism) -> None:
    """When the suite has stopped, none of its processes lives."""
    folder = suite.folder_of("kairos")
    pids = [process.pid for process in suite_processes(folder)]
    suite.stop()
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
