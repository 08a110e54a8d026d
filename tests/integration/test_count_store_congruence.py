"""One test suite for both stores of counts, SQLite and a real Redis, and for what the counter writes to them."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.ranker.adapters.redis_counts import RedisCountStore
from services.ranker.adapters.sqlite_counts import COUNTS_FILE, SqliteCountStore
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.event import Batch, Event, EventType, ItemFeatures
from services.ranker.domain.item_counts.neighbours import Related
from services.ranker.domain.item_counts.relations import Relation
from services.ranker.domain.person import person_key
from services.ranker.domain.user_history import UserHistory
from services.ranker.item_counter import STEP, ItemCounter
from services.ranker.item_lists import ItemLists
from services.ranker.ports import CountKind, CountStore, Document, LogBound, ProfileStore, Progress
from tests.integration.redis_server import RedisServer

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
KIND = CountKind.TREND
NUMBERS = itertools.count()

Reopen = Callable[[], CountStore]


@pytest.fixture(params=["sqlite", "redis"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same store again, as after a kill; the old one is never closed."""
    if request.param == "sqlite":
        return lambda: SqliteCountStore(tmp_path)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()

    def restart() -> CountStore:
        server.kill()
        server.start()
        return RedisCountStore(server.client())

    return restart


@pytest.fixture
def counts(reopen: Reopen) -> CountStore:
    return reopen()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ProfileStore]:
    with closing(SqliteProfileStore(tmp_path / "log", lambda: NOW_S)) as store:
        yield store


def event(kind: EventType, user: str, item: str, age_s: float = 0.0, visitor: str = "", order: str = "") -> Event:
    return Event(f"e{next(NUMBERS)}", user, "", item, kind, NOW_S - age_s, visitor_id=visitor, order_id=order)


def bought(user: str, *items: str, age_s: float = 0.0) -> list[Event]:
    return [event(EventType.PURCHASE, user, item, age_s) for item in items]


def record(log: ProfileStore, *events: Event) -> None:
    categories = {id: "Desks" if id == "desk" else "Coffee" for id in {each.item_id for each in events}}
    items = [ItemFeatures(id, None, "", 1.0, category, "") for id, category in categories.items()]
    log.record([Batch("t", events, items)])


class Counted:
    """A counter without its thread's help, and the lists that read what it writes."""

    def __init__(self, log: ProfileStore, counts: CountStore) -> None:
        self.counter = ItemCounter(log, counts, 1_000, 1_000, 3_600.0, lambda: NOW_S)
        self.lists = ItemLists(log, counts, lambda: NOW_S)

    def catch_up(self) -> None:
        while self.counter.count_some("t"):
            pass

    def together(self, item: str, relation: Relation = Relation.BOUGHT) -> dict[str, int]:
        return {each.item_id: each.persons for each in self.related(item, relation)}

    def related(self, item: str, relation: Relation = Relation.BOUGHT) -> list[Related]:
        self.catch_up()
        return self.lists.related("t", [item], relation, 10)


@pytest.fixture
def counted(log: ProfileStore, counts: CountStore) -> Iterator[Counted]:
    made = Counted(log, counts)
    yield made
    made.counter.close()


def test_documents(counts: CountStore) -> None:
    """A document is read by tenant, kind and key; None removes it; a text of any characters comes back."""
    text = '["é\\u0000中",1]'
    documents = {(KIND, "a"): Document(text, 1.0), (KIND, "b"): Document("2", 2.0)}
    assert counts.write("t", Progress(0, 0), 7, documents)
    assert counts.progress("t") == Progress(1, 7)
    assert counts.read("t", KIND, ["a", "b", "c"]) == {"a": text, "b": "2"}
    assert counts.read("t", CountKind.PERSON, ["a"]) == counts.read("other", KIND, ["a"]) == {}
    assert counts.write("t", Progress(1, 7), 8, {(KIND, "a"): None})
    assert counts.read("t", KIND, ["a", "b"]) == {"b": "2"}


def test_an_overtaken_write_changes_nothing(counts: CountStore) -> None:
    """Of two writers that have read the same progress, the second one is refused."""
    assert counts.write("t", Progress(0, 0), 5, {(KIND, "a"): Document("first", 1.0)})
    assert not counts.write("t", Progress(0, 0), 9, {(KIND, "a"): Document("second", 1.0)})
    assert counts.read("t", KIND, ["a"]) == {"a": "first"}
    assert counts.progress("t") == Progress(1, 5)


def test_the_newest_and_the_oldest(counts: CountStore) -> None:
    """`newest` gives what changed lately; `trim` removes what is too old, and then the oldest beyond the number."""
    documents = {(KIND, f"k{n}"): Document(str(n), float(n)) for n in range(10)}
    counts.write("t", Progress(0, 0), 1, documents)
    assert set(counts.newest("t", KIND, 7.0, 100)) == {"k7", "k8", "k9"}
    assert set(counts.newest("t", KIND, 0.0, 2)) == {"k8", "k9"}
    assert counts.trim("t", KIND, LogBound(age_s=8.0, count=5), now_s=10.0) == 5
    assert set(counts.newest("t", KIND, 0.0, 100)) == {f"k{n}" for n in range(5, 10)}


def test_counts_survive_a_kill(reopen: Reopen, log: ProfileStore) -> None:
    """After a kill the rest of the log is counted, and nothing twice."""
    first = Counted(log, reopen())
    record(log, *bought("u", "beans", "mug"))
    assert first.together("beans") == {"mug": 1}
    record(log, *bought("v", "beans", "mug"))
    second = Counted(log, reopen())
    assert second.together("beans") == {"mug": 2}
    for each in (first, second):
        each.counter.close()


def test_lost_counts_are_made_again(log: ProfileStore, tmp_path: Path) -> None:
    """A file of another layout is emptied, and the log that is there is counted from its beginning."""
    record(log, *bought("u", "beans", "mug"))
    first = Counted(log, SqliteCountStore(tmp_path / "counts"))
    assert first.together("beans") == {"mug": 1}
    first.counter.close()
    with closing(sqlite3.connect(tmp_path / "counts" / COUNTS_FILE)) as db:
        db.execute("PRAGMA user_version=99")
    second = Counted(log, SqliteCountStore(tmp_path / "counts"))
    assert second.together("beans") == {"mug": 1}
    second.counter.close()


def test_counts_of_an_earlier_layout_are_removed(request: pytest.FixtureRequest) -> None:
    """In Redis the keys of the layout before go with the next removal, and the log is counted from its beginning."""
    server: RedisServer = request.getfixturevalue("redis_server")
    client = server.client()
    client.flushall()
    client.hset("kairos:{t}:counts:progress", mapping={"revision": 3, "position": 9})
    client.hset("kairos:{t}:counts:trend", "a", "[]")
    client.zadd("kairos:{t}:counts:trend:times", {"a": 1.0})
    store = RedisCountStore(client)
    assert store.progress("t") == Progress(0, 0)
    store.trim("t", KIND, LogBound(age_s=8.0, count=5), now_s=10.0)
    assert not client.keys("kairos:{t}:counts:*")


def test_two_replicas_count_once(log: ProfileStore, counts: CountStore) -> None:
    """Two counters over one log and one store count each event once."""
    one, two = Counted(log, counts), Counted(log, counts)
    for user in range(STEP):
        record(log, *bought(f"u{user}", "beans", "mug"))
    while one.counter.count_some("t") or two.counter.count_some("t"):
        pass
    assert one.together("beans") == two.together("beans") == {"mug": STEP}
    for each in (one, two):
        each.counter.close()


def test_what_makes_a_pair(counted: Counted, log: ProfileStore) -> None:
    """Purchases of one person within a day, and clicks within half an hour; not those of two persons."""
    record(log, *bought("u", "beans"), *bought("u", "mug", age_s=DAY_S - 1), *bought("u", "tea", age_s=2 * DAY_S))
    record(log, *bought("v", "kettle"))
    clicks = [event(EventType.CLICK, "u", id, age) for id, age in (("a", 0), ("b", 1_799), ("c", 3_700))]
    record(log, *clicks)
    assert counted.together("beans") == {"mug": 1}
    assert counted.together("a", Relation.VIEWED) == {"b": 1}
    assert counted.together("c", Relation.VIEWED) == {}


def test_a_person_counts_once(counted: Counted, log: ProfileStore) -> None:
    """The same pair on several days, in any order of arrival, is one person."""
    for day in (3, 1, 2, 1):
        record(log, *bought("u", "beans", "mug", age_s=day * DAY_S))
    assert counted.together("beans") == {"mug": 1}


def test_few_persons_do_not_win(counted: Counted, log: ProfileStore) -> None:
    """Thirty of a hundred buyers are stronger than the single buyer of a rare item, whose cosine is higher."""
    for number in range(100):
        record(log, *bought(f"u{number}", "beans", *(["mug"] if number < 30 else [])))
    record(log, *bought("once", "beans", "rare"))
    assert [each.item_id for each in counted.related("beans")] == ["mug", "rare"]


@pytest.mark.parametrize("kind", [EventType.REFUND, EventType.CANCELLATION])
def test_an_undone_purchase_leaves_no_pair(counted: Counted, log: ProfileStore, kind: EventType) -> None:
    """A refund takes back the pairs of the purchase, and what others have bought stays."""
    record(log, *bought("u", "beans", "mug"), *bought("v", "beans", "mug"))
    assert counted.together("beans") == {"mug": 2}
    record(log, event(kind, "u", "mug"))
    assert counted.together("beans") == {"mug": 1}
    record(log, event(kind, "v", "mug"))
    assert counted.together("beans") == {}


def test_a_merged_visitor_is_one_person(counted: Counted, log: ProfileStore) -> None:
    """What visitor and user have both counted counts once after the merge, and their purchases make pairs."""
    record(log, *bought("u", "beans", "mug"))
    visitor = [event(EventType.PURCHASE, "", id, visitor="v") for id in ("beans", "mug", "kettle")]
    record(log, *visitor)
    assert counted.together("beans") == {"mug": 2, "kettle": 1}
    log.merge("t", "v", "u")
    counted.counter.merge("t", person_key("", "v"), person_key("u", ""))
    assert counted.together("beans") == {"mug": 1, "kettle": 1}
    record(log, event(EventType.PURCHASE, "", "filter", visitor="v"))
    assert counted.together("filter") == {"beans": 1, "mug": 1, "kettle": 1}


def test_a_deleted_person_is_taken_back(counted: Counted, log: ProfileStore, counts: CountStore) -> None:
    """Deletion removes what is kept of the person, and the person's pairs; those of others stay."""
    record(log, *bought("u", "beans", "mug"), *bought("v", "beans", "mug"), event(EventType.CLICK, "u", "kettle"))
    relations = (Relation.BOUGHT, Relation.FOLLOWED)
    assert [counted.together("beans", each) for each in relations] == [{"mug": 2}, {"mug": 2, "kettle": 1}]
    person = person_key("u", "")
    assert counts.read("t", CountKind.PERSON, [person])
    log.delete_person("t", person)
    counted.counter.forget("t", [person])
    assert not counts.read("t", CountKind.PERSON, [person])
    assert [counted.together("beans", each) for each in relations] == [{"mug": 1}, {"mug": 1}]


def test_persons_come_and_go(counted: Counted, log: ProfileStore) -> None:
    """Deleted persons and merged visitors leave the counts of the others, in all relations and in any step."""
    for number in range(12):
        record(
            log,
            *bought(f"u{number}", "beans", "mug"),
            *(event(EventType.CLICK, f"u{number}", id) for id in ("tea", "mug")),
        )
        record(log, *(event(EventType.CART, "", id, visitor=f"v{number}") for id in ("mug", "kettle")))
        if number % 3 == 0:
            counted.catch_up()
        if number % 2:
            log.merge("t", f"v{number}", f"u{number}")
            counted.counter.merge("t", person_key("", f"v{number}"), person_key(f"u{number}", ""))
        if number % 4 == 1:
            persons = log.persons("t", [person_key(f"u{number}", "")])[person_key(f"u{number}", "")]
            log.delete_person("t", person_key(f"u{number}", ""))
            counted.counter.forget("t", persons)
    # Three of twelve users are deleted, with their visitors; three users have absorbed theirs.
    assert counted.together("mug", Relation.FOLLOWED) == {"beans": 9, "tea": 9, "kettle": 9}
    assert counted.together("kettle", Relation.FOLLOWED) == {"mug": 9, "beans": 3, "tea": 3}
    assert counted.together("beans") == {"mug": 9}
    assert counted.together("tea", Relation.VIEWED) == {"mug": 9}


def test_what_followed(counted: Counted, log: ProfileStore) -> None:
    """Items of one person are a pair whatever the time and the kind of event; removals are not."""
    ages = {
        "a": (EventType.PURCHASE, 28),
        "b": (EventType.CLICK, 14),
        "c": (EventType.CART, 0),
        "d": (EventType.REMOVE, 1),
    }
    record(log, *(event(kind, "u", id, age_days * DAY_S) for id, (kind, age_days) in ages.items()))
    found = counted.related("c", Relation.FOLLOWED)
    assert [each.item_id for each in found] == ["b", "a"]
    assert found[0].score > found[1].score


def test_neighbours_of_a_history(counted: Counted, log: ProfileStore) -> None:
    """Neighbours of the person's items, strongest first, without these; candidates get the same numbers."""
    for number in range(5):
        record(log, *bought(f"u{number}", "beans", "mug", "filter" if number else "kettle"))
    record(log, *bought("w", "beans"), event(EventType.CLICK, "w", "mug"))
    counted.catch_up()
    history = log.user_history("t", person_key("w", ""))
    found = counted.lists.neighbours("t", history, 10)
    assert [id for id, _ in found] == ["filter", "kettle"]
    assert counted.lists.neighbours("t", history, 1) == found[:1]
    assert counted.lists.neighbours_of("t", person_key("w", ""), 10) == found
    scores = counted.lists.neighbour_scores("t", history, ["kettle", "mug", "unknown", "filter"])
    assert scores is not None
    assert scores.tolist() == pytest.approx([found[1][1], 0, 0, found[0][1]])
    assert counted.lists.neighbour_scores("t", UserHistory(), ["mug"]) is None


def test_a_new_event_wakes_the_counter(log: ProfileStore, counts: CountStore) -> None:
    """Woken, the thread counts at once and not only after its interval; then it is not behind."""
    counter = ItemCounter(log, counts, 1_000, 1_000, 3_600.0, lambda: NOW_S)
    counter.follow("t")
    record(log, *bought("u", "beans", "mug"))
    assert counter.behind() >= 2
    counter.wake()
    began_s = time.monotonic()
    while counter.behind() and time.monotonic() < began_s + 10:
        time.sleep(0.01)
    assert counter.behind() == 0
    assert counts.read("t", CountKind.FOLLOWED, ["beans"])
    counter.close()


def test_rising_items(counted: Counted, log: ProfileStore) -> None:
    """An item that many persons act on today, and few before, is trending; a steady one and one person are not."""
    for day in range(1, 21):
        record(log, *(event(EventType.CLICK, f"s{n}", "steady", day * DAY_S) for n in range(5)))
    record(log, *(event(EventType.CLICK, f"s{n}", "steady") for n in range(5)))
    record(log, *(event(EventType.CLICK, f"r{n}", "rising") for n in range(8)))
    record(log, *(event(EventType.CLICK, "one", "alone") for _ in range(100)))
    counted.catch_up()
    assert [id for id, _ in counted.lists.trending("t", "", 10)] == ["rising"]
    assert [id for id, _ in counted.lists.trending("t", "Coffee", 10)] == ["rising"]
    assert counted.lists.trending("t", "Tea", 10) == []


def test_items_to_buy_again(counted: Counted, log: ProfileStore) -> None:
    """Items are due by their own interval, most overdue first; others buy them again, or the person has."""
    for number in range(40):
        for age_days in (40, 30, 20, 10):
            record(log, *bought(f"w{number}", "beans", age_s=age_days * DAY_S))
        for age_days in (200, 110):
            record(log, *bought(f"w{number}", "filter", age_s=age_days * DAY_S))
    record(log, *bought("u", "beans", "filter", "desk", age_s=20 * DAY_S))
    counted.catch_up()
    due = counted.lists.buy_again("t", person_key("u", ""), 10)
    assert [id for id, _ in due] == ["beans"]
    assert due[0][1] == pytest.approx(2, rel=0.2)


def test_recently_viewed(counted: Counted, log: ProfileStore) -> None:
    """The newest items first, each once; searches and removals are no views."""
    record(
        log, event(EventType.CLICK, "u", "a", 30), event(EventType.CLICK, "u", "b", 20),
        event(EventType.CLICK, "u", "a", 10), event(EventType.REMOVE, "u", "c", 5),
    )  # fmt: skip
    found = counted.lists.recently_viewed("t", person_key("u", ""), 10)
    assert [id for id, _ in found] == ["a", "b"]
