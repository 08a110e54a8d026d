"""The delivery of an outbox, to a control over real gRPC that keeps entries in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr

from kairos.control.v1 import audit_pb2
from services.common.outbox.delivery import Delivery
from services.common.outbox.outbox import Outbox, OutboxBounds, packed
from services.common.outbox.redis_outbox import RedisOutbox
from services.common.outbox.sqlite_outbox import SqliteOutbox
from services.common.server_access import ServerAccessSettings
from tests.fakes.audit import FakeAudit, serving
from tests.fakes.waiting import until
from tests.integration.redis_server import RedisServer

BOUNDS = OutboxBounds(1_000_000, 64 << 20)


class Shop:
    """A control, and replicas of a service that deliver to it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.audit, self.outbox = FakeAudit(), SqliteOutbox(folder, BOUNDS)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._control = stack.enter_context(ExitStack())
        stack.callback(self.outbox.close)

    def start_control(self) -> None:
        self._control.enter_context(serving(self.audit, self.port))

    def stop_control(self) -> None:
        self._control.close()

    def replica(self, outbox: Outbox | None = None, api_key: str = "") -> Delivery:
        opened = outbox or self._stack.enter_context(closing(SqliteOutbox(self._folder, BOUNDS)))
        settings = ServerAccessSettings(target=f"127.0.0.1:{self.port}", api_key=SecretStr(api_key))
        return self._stack.enter_context(closing(Delivery(opened, settings, interval_s=0.02)))

    def is_delivered(self) -> bool:
        return self.outbox.size().entries == 0


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(tmp_path, stack)


def append(outbox: Outbox, *ids: str, tenant: str = "default") -> None:
    """Each in a batch of its own."""
    for id in ids:
        outbox.append(packed(tenant, [audit_pb2.AuditEntry(id=id, subject_id=f"about {id}")]))


def names(first: int, last: int) -> list[str]:
    return [f"q{number:04}" for number in range(first, last)]


async def test_entries_arrive_as_they_are(shop: Shop) -> None:
    """Control gets the entries of each tenant, with the key, and the outbox is empty then."""
    shop.start_control()
    append(shop.outbox, "a", "b")
    append(shop.outbox, "a", tenant="other")
    delivery = shop.replica(api_key="secret")
    await until(shop.is_delivered)
    assert sorted(shop.audit.stored) == [("default", "a"), ("default", "b"), ("other", "a")]
    assert shop.audit.stored["other", "a"].subject_id == "about a"
    assert shop.audit.keys == {"Bearer secret"}
    assert (delivery.delivered, delivery.failures) == (3, 0)


async def test_many_entries_take_few_calls(shop: Shop) -> None:
    """Batches of a tenant travel together."""
    append(shop.outbox, *names(0, 300))
    shop.start_control()
    shop.replica()
    await until(shop.is_delivered)
    assert (len(shop.audit.stored), shop.audit.received) == (300, 300)
    assert shop.audit.calls <= 3


async def test_control_comes_later(shop: Shop) -> None:
    """While control is down entries wait; they arrive when it is back."""
    delivery = shop.replica()
    append(shop.outbox, *names(0, 10))
    await until(lambda: delivery.failures > 0)
    assert shop.outbox.size().entries == 10
    shop.start_control()
    await until(shop.is_delivered)
    assert len(shop.audit.stored) == 10
    shop.stop_control()
    append(shop.outbox, "late")
    failures = delivery.failures
    await until(lambda: delivery.failures > failures)
    shop.start_control()
    await until(shop.is_delivered)
    assert ("default", "late") in shop.audit.stored


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED])
async def test_a_control_that_refuses(shop: Shop, code: grpc.StatusCode) -> None:
    """A wrong key, or a control of an earlier version, loses no entry: they arrive when it is corrected."""
    shop.start_control()
    shop.audit.refusal = code
    append(shop.outbox, "a")
    delivery = shop.replica()
    await until(lambda: delivery.failures > 0)
    assert shop.outbox.size().entries == 1
    shop.audit.refusal = None
    await until(shop.is_delivered)


async def test_a_refused_entry_holds_up_nobody(shop: Shop) -> None:
    """An entry that control refuses stays in the outbox; those behind it and beside it arrive."""
    shop.start_control()
    shop.audit.refused = {"q0001"}
    append(shop.outbox, *names(0, 300))
    delivery = shop.replica()
    await until(lambda: len(shop.audit.stored) == 299)
    await until(lambda: delivery.failures > 0)
    assert shop.outbox.size().entries == 1
    shop.audit.refused = set()
    await until(shop.is_delivered)


async def test_replicas_share_the_work(shop: Shop) -> None:
    """With three replicas on one outbox every entry arrives, and hardly one twice."""
    shop.start_control()
    replicas = [shop.replica() for _ in range(3)]
    for first in range(0, 400, 10):
        append(shop.outbox, *names(first, first + 10))
    await until(shop.is_delivered)
    assert len(shop.audit.stored) == shop.audit.received == 400
    assert sum(replica.delivered for replica in replicas) == 400


async def test_a_redis_stream_is_delivered(shop: Shop, redis_server: RedisServer) -> None:
    """Also across a kill of Redis."""
    shop.start_control()
    outbox = RedisOutbox(redis_server.client(), "delivered", BOUNDS)
    delivery = shop.replica(outbox)
    append(outbox, *names(0, 50))
    await until(lambda: len(shop.audit.stored) == 50)
    redis_server.kill()
    await until(lambda: delivery.failures > 0)
    redis_server.start()
    append(outbox, *names(50, 100))
    await until(lambda: len(shop.audit.stored) == 100)
    await until(lambda: outbox.size().entries == 0)
