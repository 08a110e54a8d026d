"""The outbox in a SQLite file and in a Redis stream: both do the same."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kairos.control.v1 import audit_pb2
from services.common.errors import InvalidArgument, Overloaded, Unavailable
from services.common.outbox.outbox import EntryBatch, Outbox, OutboxBounds, packed
from services.common.outbox.redis_outbox import RedisOutbox
from services.common.outbox.sqlite_outbox import SqliteOutbox
from tests.integration.redis_server import RedisServer

LARGE = OutboxBounds(1_000_000, 64 << 20)
# Opens the outbox of a test, as one more replica.
Opening = Callable[..., Outbox]
_names = itertools.count()


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    made: list[Outbox] = []
    name = f"service{next(_names)}"

    def opened_with(bounds: OutboxBounds = LARGE) -> Outbox:
        if request.param == "sqlite":
            outbox: Outbox = SqliteOutbox(tmp_path, bounds)
        else:
            outbox = RedisOutbox(request.getfixturevalue("redis_server").client(), name, bounds)
        made.append(outbox)
        return outbox

    yield opened_with
    for outbox in made:
        outbox.close()


def batch(number: int, tenant: str = "shop", count: int = 1, size: int = 10) -> EntryBatch:
    return EntryBatch(tenant, count, f"{number:05}".encode().ljust(size, b"."))


def contents(outbox: Outbox) -> list[bytes]:
    return [stored.batch.content[:5] for stored in outbox.oldest(1_000_000, 64 << 20)]


def test_what_was_appended_is_read_in_order(opened: Opening) -> None:
    """Batches come back as they were, the oldest first, also for another replica."""
    outbox = opened()
    outbox.append([batch(1), batch(2, "other", 3)])
    outbox.append([batch(3)])
    found = opened().oldest(100, 1_000)
    assert [stored.batch for stored in found] == [batch(1), batch(2, "other", 3), batch(3)]


def test_what_was_removed_is_gone(opened: Opening) -> None:
    """Removed batches are not read again; removing them twice changes nothing."""
    outbox = opened()
    outbox.append([batch(number) for number in range(5)])
    first = outbox.oldest(2, 1_000)
    outbox.remove(first)
    opened().remove(first)
    outbox.append([batch(5)])
    assert contents(outbox) == [b"00002", b"00003", b"00004", b"00005"]
    assert (outbox.size().entries, outbox.size().bytes) == (4, 40)


def test_reading_has_bounds(opened: Opening) -> None:
    """A read stops at its entries and its bytes, gives at least one batch, and goes on behind a place."""
    outbox = opened()
    outbox.append([batch(number, count=10, size=100) for number in range(6)])
    assert len(outbox.oldest(35, 10_000)) == 3
    assert len(outbox.oldest(1_000, 250)) == 2
    assert len(outbox.oldest(1, 1)) == 1
    some = outbox.oldest(40, 10_000)
    rest = outbox.oldest(1_000, 10_000, some[-1].place)
    assert [stored.batch.content[:5] for stored in rest] == [b"00004", b"00005"]
    assert outbox.oldest(1_000, 10_000, rest[-1].place) == []


def test_its_size(opened: Opening) -> None:
    """It tells its entries and bytes, and how long the oldest has waited."""
    outbox = opened()
    assert (outbox.size().entries, outbox.size().bytes, outbox.size().oldest_age_s) == (0, 0, 0)
    outbox.append([batch(1, count=7), batch(2, count=3, size=20)])
    size = opened().size()
    assert (size.entries, size.bytes) == (10, 30)
    assert 0 <= size.oldest_age_s < 60
    outbox.remove(outbox.oldest(100, 1_000))
    assert (outbox.size().entries, outbox.size().bytes, outbox.size().oldest_age_s) == (0, 0, 0)


@pytest.mark.parametrize("bounds", [OutboxBounds(10, 1_000), OutboxBounds(1_000, 100)])
def test_a_full_outbox(opened: Opening, bounds: OutboxBounds) -> None:
    """Beyond its entries or bytes it refuses all batches of a call, names the remedy, and has what it had. When some
    are delivered there is room again.
    """
    outbox = opened(bounds)
    outbox.append([batch(number) for number in range(9)])
    with pytest.raises(Overloaded, match=r"outbox\.most_entries"):
        outbox.append([batch(9), batch(10)])
    assert (len(contents(outbox)), outbox.size().entries) == (9, 9)
    outbox.remove(outbox.oldest(1, 1_000))
    outbox.append([batch(9), batch(10)])
    assert contents(outbox)[-2:] == [b"00009", b"00010"]


def test_one_delivers_at_a_time(opened: Opening) -> None:
    """While one replica has the lease no other gets it; afterwards another one does."""
    one, other = opened(), opened()
    with one.lease() as is_mine, other.lease() as is_others:
        assert (is_mine, is_others) == (True, False)
    with other.lease() as is_others:
        assert is_others


def test_replicas_lose_nothing(opened: Opening) -> None:
    """Three replicas append while a fourth removes: each batch is there or was removed, and the size fits."""
    removed: list[bytes] = []

    def write(place: int) -> None:
        outbox = opened()
        for number in range(50):
            outbox.append([batch(100 * place + number)])

    writers = [threading.Thread(target=write, args=(place,)) for place in range(3)]
    for writer in writers:
        writer.start()
    reader = opened()
    while any(writer.is_alive() for writer in writers):
        found = reader.oldest(10, 1_000)
        reader.remove(found)
        removed += [stored.batch.content[:5] for stored in found]
    left = contents(reader)
    assert sorted(removed + left) == [f"{100 * place + n:05}".encode() for place in range(3) for n in range(50)]
    assert reader.size().entries == len(left)


def test_large_requests_are_split() -> None:
    """Entries are packed into batches that control accepts, in order; joined contents are one request."""
    entries = [audit_pb2.AuditEntry(id=str(number), subject_id="s" * 128) for number in range(20_000)]
    batches = packed("shop", entries)
    assert len(batches) > 2
    assert all(len(one.content) <= 1 << 20 for one in batches)
    joined = audit_pb2.RecordEntriesRequest.FromString(b"".join(one.content for one in batches))
    assert [entry.id for entry in joined.entries] == [str(number) for number in range(20_000)]
    assert sum(one.count for one in batches) == 20_000


@pytest.fixture
def lossy_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "--appendfsync", "everysec")
    yield server
    server.kill()


def test_a_redis_that_may_lose_writes_is_refused(lossy_redis: RedisServer) -> None:
    """Without appendfsync always, or with a policy that evicts, the outbox names what to configure."""
    with pytest.raises(InvalidArgument, match=r"configure appendfsync always$"):
        RedisOutbox(lossy_redis.client(), "pricing", LARGE)
    lossy_redis.client().config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(InvalidArgument, match="appendfsync always, maxmemory-policy noeviction"):
        RedisOutbox(lossy_redis.client(), "pricing", LARGE)


def test_where_the_configuration_is_hidden(lossy_redis: RedisServer) -> None:
    """Without the right to read it the outbox asks the operator to vouch, and then works."""
    lossy_redis.client().acl_setuser("default", enabled=True, commands=["-config"], reset_passwords=False)
    with pytest.raises(InvalidArgument, match=r"outbox\.redis_is_durable"):
        RedisOutbox(lossy_redis.client(), "pricing", LARGE)
    outbox = RedisOutbox(lossy_redis.client(), "pricing", LARGE, is_durable=True)
    outbox.append([batch(1)])
    assert contents(outbox) == [b"00001"]


def test_a_killed_redis(tmp_path: Path) -> None:
    """While Redis is down an append is Unavailable; what was acknowledged is there afterwards."""
    server = RedisServer(tmp_path)
    outbox = RedisOutbox(server.client(), "pricing", LARGE)
    acknowledged = []
    for number in range(200):
        outbox.append([batch(number)])
        acknowledged.append(f"{number:05}".encode())
    server.kill()
    with pytest.raises(Unavailable):
        outbox.append([batch(999)])
    server.start()
    found = outbox.oldest(100, 64 << 20)
    outbox.remove(found)
    assert [stored.batch.content[:5] for stored in found] + contents(outbox) == acknowledged
    server.kill()


def test_a_full_redis(tmp_path: Path) -> None:
    """A Redis without memory refuses whole calls; what it has can be read and removed."""
    server = RedisServer(tmp_path, "--maxmemory", "8mb")
    outbox = RedisOutbox(server.client(), "pricing", LARGE)
    count = 0

    def fill() -> None:
        nonlocal count
        while True:
            outbox.append([batch(count, size=2_000), batch(count, size=2_000)])
            count += 2

    with pytest.raises(Overloaded):
        fill()
    assert outbox.size().entries == count > 0
    outbox.remove(outbox.oldest(1_000, 64 << 20))
    assert outbox.size().entries < count
    server.kill()


def test_an_unreachable_redis_is_checked_later(tmp_path: Path) -> None:
    """An outbox can be opened while Redis is down; the check of its configuration is made up for."""
    server = RedisServer(tmp_path, "--appendonly", "no")
    client = server.client()
    server.kill()
    outbox = RedisOutbox(client, "pricing", LARGE)
    with pytest.raises(Unavailable):
        outbox.append([batch(1)])
    server.start()
    with pytest.raises(InvalidArgument, match="appendonly yes"):
        outbox.append([batch(1)])
    server.kill()
