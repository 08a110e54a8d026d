"""One test suite for both stores of conversations, SQLite and a real Redis."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.errors import Aborted, NotFound
from services.ranker.adapters.conversation_bytes import to_bytes
from services.ranker.adapters.redis_conversations import RedisConversationStore
from services.ranker.adapters.sqlite_conversations import CONVERSATIONS_FILE, SqliteConversationStore
from services.ranker.domain.conversation import MOST_TURNS, Conversation, Turn
from services.ranker.ports import MOST_OF_PERSON, ConversationLimits, ConversationStore
from services.ranker.settings import ConversationSettings
from tests.integration.redis_server import RedisServer

LIMITS = ConversationLimits(ttl_s=60.0, count=5, bytes=ConversationSettings().bytes)
ANN, BOB = ["user:ann", "visitor:v1"], ["visitor:bob"]


class Clock:
    """Of the store: seconds since the epoch."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


Reopen = Callable[..., ConversationStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "redis"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Reopen:
    """Opens the same store again, as after a kill; the old one is never closed."""
    if request.param == "sqlite":
        return lambda limits=LIMITS: SqliteConversationStore(tmp_path, limits, clock)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()

    def restart(limits: ConversationLimits = LIMITS) -> ConversationStore:
        server.kill()
        server.start()
        return RedisConversationStore(server.client(), limits, clock)

    return restart


@pytest.fixture
def store(reopen: Reopen) -> ConversationStore:
    return reopen()


def new_id() -> str:
    return secrets.token_urlsafe(16)


def turn(number: int, clock: Clock, **fields: object) -> Turn:
    return Turn(f"t{number}", clock.now_s, **fields)  # type: ignore[arg-type]


def say(
    store: ConversationStore, clock: Clock, id: str, turns: int = 1, persons: list[str] = ANN, tenant: str = "t"
) -> Conversation:
    known = store.conversation(tenant, id, persons)
    first = known.turn_count if known else 0
    for number in range(first, first + turns):
        known = store.append(tenant, id, persons, turn(number, clock), b"state", number)
    assert known is not None
    return known


def test_a_turn_is_durable(reopen: Reopen, clock: Clock) -> None:
    """An acknowledged turn survives the death of the store, with everything in it."""
    id, said = new_id(), turn(0, clock, utterance="牛仔裤", answer="Two.", shown_item_ids=("a", "b"))
    reopen().append("t", id, ANN, said, b"\0state", 0)
    assert reopen().conversation("t", id, ANN) == Conversation(id, (said,), b"\0state", 1)


def test_who_may_read(store: ConversationStore, clock: Clock) -> None:
    """Only with the right id, in the right tenant, for the person who said it: a merged visitor is the user."""
    id = new_id()
    say(store, clock, id, persons=["visitor:v1"])
    assert store.conversation("t", id, ANN) is not None
    assert store.conversation("t", id, BOB) is None
    assert store.conversation("other", id, ANN) is None
    assert store.conversation("t", new_id(), ANN) is None
    with pytest.raises(NotFound):
        store.append("t", id, BOB, turn(1, clock), b"", 1)


def test_two_turns_at_the_same_time(store: ConversationStore, clock: Clock) -> None:
    """The second one of two turns that answer the same conversation is refused; nothing of it is stored."""
    id = new_id()
    say(store, clock, id, turns=2)
    with pytest.raises(Aborted) as refused:
        store.append("t", id, ANN, turn(9, clock), b"late", 1)
    assert refused.value.metadata == {"turn_count": "1", "current_turn_count": "2"}
    assert [each.id for each in say(store, clock, id, turns=0).turns] == ["t0", "t1"]


def test_a_repeated_turn(store: ConversationStore, clock: Clock) -> None:
    """A turn that is stored already succeeds and changes nothing."""
    id = new_id()
    say(store, clock, id, turns=2)
    again = store.append("t", id, ANN, turn(1, clock), b"other", 1)
    assert (again.turn_count, again.state) == (2, b"state")


def test_an_unknown_conversation(store: ConversationStore, clock: Clock) -> None:
    """A further turn of a conversation that is not stored is NOT_FOUND."""
    with pytest.raises(NotFound):
        store.append("t", new_id(), ANN, turn(3, clock), b"", 3)


def test_it_expires(store: ConversationStore, clock: Clock) -> None:
    """A conversation lives from its last turn on; an expired one leaves no room taken."""
    if isinstance(store, RedisConversationStore):
        pytest.skip("Redis expires keys by its own clock")
    id = new_id()
    say(store, clock, id)
    clock.now_s += 50
    say(store, clock, id)
    clock.now_s += 50
    assert store.conversation("t", id, ANN) is not None
    clock.now_s += 11
    assert store.conversation("t", id, ANN) is None
    assert store.of_persons("t", ANN) == []
    assert sum(store.trim()) == 1


def test_the_bound_of_a_tenant(store: ConversationStore, clock: Clock) -> None:
    """Beyond it those without a turn for longest are removed; another tenant's stay."""
    say(store, clock, other := new_id(), tenant="other")
    ids = [new_id() for _ in range(7)]
    for number, id in enumerate(ids):
        clock.now_s += 1
        say(store, clock, id, persons=[f"user:{number}"])
    list(store.trim())
    left = [id for number, id in enumerate(ids) if store.conversation("t", id, [f"user:{number}"])]
    assert left == ids[2:]
    assert store.conversation("other", other, ANN) is not None


def test_the_bound_of_a_person(reopen: Reopen, clock: Clock) -> None:
    """Beyond it the conversation that began first is removed."""
    store = reopen(ConversationLimits(60.0, 1_000, 1_200))
    ids = [new_id() for _ in range(MOST_OF_PERSON + 2)]
    for id in ids:
        say(store, clock, id)
    assert [each.id for _, each in store.of_persons("t", ANN)] == ids[2:]


def test_the_newest_turns(store: ConversationStore, clock: Clock) -> None:
    """A conversation keeps its newest turns, and knows how many there were."""
    known = say(store, clock, new_id(), turns=MOST_TURNS + 3)
    assert (known.turn_count, known.turns[-1].id) == (23, "t22")
    assert len(known.turns) == MOST_TURNS


def test_all_of_a_person(store: ConversationStore, clock: Clock) -> None:
    """All conversations of a user and of merged visitors, in the order in which they began."""
    ids = [new_id() for _ in range(3)]
    for id, person in zip(ids, ("user:ann", "visitor:v1", "user:ann"), strict=True):
        say(store, clock, id, persons=[person])
    say(store, clock, new_id(), persons=BOB)
    found = store.of_persons("t", ANN)
    assert sorted(each.id for _, each in found) == sorted(ids)
    assert [place for place, _ in found] == sorted({place for place, _ in found})


def test_deletion(reopen: Reopen, clock: Clock) -> None:
    """A deleted person's conversations are gone for good, and a turn from before the deletion does not come back."""
    store, late = reopen(), turn(0, clock)
    say(store, clock, gone := new_id(), turns=2)
    say(store, clock, kept := new_id(), persons=BOB)
    clock.now_s += 1
    assert store.delete_persons("t", ANN) == 1
    store = reopen()
    assert store.conversation("t", gone, ANN) is None
    assert store.conversation("t", kept, BOB) is not None
    with pytest.raises(NotFound):
        store.append("t", new_id(), ANN, late, b"", 0)
    with pytest.raises(NotFound):
        store.append("t", gone, ANN, turn(2, clock), b"", 2)
    clock.now_s += 1
    say(store, clock, new_id())
    assert store.delete_persons("t", ANN) == 1


def test_an_idle_conversation_is_small(reopen: Reopen, clock: Clock, tmp_path: Path, redis_server: RedisServer) -> None:
    """A conversation that is kept to its bound, with shown products and a state, takes at most 2 KiB of the engine."""
    count, draw, most = 120, random.Random(7), LIMITS.bytes
    store = reopen(ConversationLimits(1e6, 1_000, most))

    def used() -> int:
        list(store.trim())
        if isinstance(store, RedisConversationStore):
            return int(redis_server.client().info("memory")["used_memory"])
        return (tmp_path / CONVERSATIONS_FILE).stat().st_size

    # Scripts, connections and empty tables.
    say(store, clock, new_id())
    before = used()
    for _ in range(count):
        id, person = new_id(), [f"visitor:{new_id()}"]
        for number in range(2):
            answer, shown = draw.randbytes(500).hex(), ("sku-1", "sku-2")
            said = Turn(new_id(), clock.now_s, "a warm shirt, 便宜一点的", answer, shown)
            known = store.append("default", id, person, said, draw.randbytes(200), number)
    assert 0.7 * most < len(to_bytes(known, most)) <= most
    assert 800 < (used() - before) / count <= 2_048
