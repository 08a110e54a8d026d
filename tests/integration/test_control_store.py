"""One test suite for both stores of control: SQLite, and a real PostgreSQL on a free port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.common.errors import Aborted, AlreadyExists, Conflict, InvalidArgument, NotFound
from services.control.adapters.sql_store import SqlControlStore
from services.control.domain.changes import Author, Changes, Reference, TenantView, archive, create, publish, update
from services.control.domain.resources import Action, Content, Key, Resource, State
from services.control.ports import Listing, Retention
from tests.integration.postgres_server import PostgresServer

SHOP, OTHER = "shop", "other"
AUTUMN = Key("synonym_set", "autumn")
ANNA, BORIS = Author("anna", 1_000_000), Author("boris", 2_000_000)
FALL, COAT = {"words": ["autumn", "fall"]}, {"words": ["coat", "jacket"]}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'control.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
def store(url: str) -> Iterator[SqlControlStore]:
    with closing(SqlControlStore(url, Retention(revisions=5, snapshots=3, archived=2))) as opened:
        yield opened


def nothing_wrong(_: TenantView, __: Mapping[Key, Content]) -> Sequence[tuple[Key, str]]:
    return []


def made(store: SqlControlStore, key: Key = AUTUMN, content: Content = FALL, tenant: str = SHOP) -> Resource:
    return store.change(tenant, lambda view: create(view, key, content, ANNA)).resources[0]


def changed(store: SqlControlStore, before: Resource, content: Content, author: Author = BORIS) -> Resource:
    reference = Reference(before.key, before.etag)
    return store.change(SHOP, lambda view: update(view, reference, lambda _: content, author)).resources[0]


def published(store: SqlControlStore, *drafts: Resource, author: Author = BORIS, tenant: str = SHOP) -> Changes:
    references = [Reference(draft.key, draft.etag) for draft in drafts]
    return store.change(tenant, lambda view: publish(view, references, nothing_wrong, author))


def archived(store: SqlControlStore, before: Resource) -> Resource:
    reference = Reference(before.key, before.etag)
    return store.change(SHOP, lambda view: archive(view, reference, nothing_wrong, BORIS)).resources[0]


def effective(store: SqlControlStore, tenant: str = SHOP) -> tuple[int, dict[Key, Any]]:
    """Version and contents of the snapshot."""
    snapshot = store.snapshot(tenant)
    assert snapshot is not None
    assert store.versions()[tenant] == snapshot.version
    return snapshot.version, {key: each.content for key, each in snapshot.resources}


def test_what_is_created_is_there_after_a_restart(url: str) -> None:
    """A resource has the same fields when the store is opened again, in every script."""
    content = {"words": ["秋天", "Herbst\x00\n", "autumn"]}
    with closing(SqlControlStore(url)) as first:
        draft = made(first, content=content)
    with closing(SqlControlStore(url)) as second:
        assert second.resource(SHOP, AUTUMN) == draft
    assert (draft.version, draft.state, draft.changed_by, draft.effective) == (1, State.DRAFT, "anna", None)


def test_an_id_is_created_once(store: SqlControlStore) -> None:
    """The second creation is refused; another tenant may have the same id."""
    made(store)
    with pytest.raises(AlreadyExists, match="update it"):
        made(store, content=COAT)
    made(store, content=COAT, tenant=OTHER)
    found = store.resource(SHOP, AUTUMN)
    assert found is not None
    assert found.content == FALL


def test_the_second_editor_learns_both_versions(store: SqlControlStore) -> None:
    """An update for an outdated etag changes nothing, and names what was read, what is there, and whose it is."""
    read = made(store)
    changed(store, read, COAT)
    with pytest.raises(Aborted, match="boris") as raised:
        changed(store, read, FALL, ANNA)
    facts = raised.value.metadata
    assert (facts["sent_version"], facts["current_version"], facts["changed_by"]) == ("1", "2", "boris")
    found = store.resource(SHOP, AUTUMN)
    assert found is not None
    assert found.content == COAT


def test_a_draft_leaves_what_is_published(store: SqlControlStore) -> None:
    """An update is not effective until the next publish."""
    first = published(store, made(store)).resources[0]
    draft = changed(store, first, COAT)
    assert effective(store) == (1, {AUTUMN: FALL})
    assert draft.effective is not None
    assert (draft.state, draft.effective.version) == (State.DRAFT, 2)
    published(store, draft)
    assert effective(store) == (2, {AUTUMN: COAT})


def test_a_publish_is_whole_or_nothing(store: SqlControlStore) -> None:
    """If one of several resources has changed, none is published."""
    good, read = made(store), made(store, Key("synonym_set", "coat"), COAT)
    changed(store, read, FALL)
    with pytest.raises(Aborted):
        published(store, good, read)
    assert store.snapshot(SHOP) is None
    found = store.resource(SHOP, AUTUMN)
    assert found is not None
    assert found.state is State.DRAFT


def test_a_repeated_publish_makes_no_snapshot(store: SqlControlStore) -> None:
    """A caller that lost the answer publishes again: nothing is doubled."""
    draft = made(store)
    first, again = published(store, draft), published(store, draft)
    assert again.snapshot is None
    assert again.resources == first.resources
    assert effective(store)[0] == 1


def test_what_is_wrong_together_is_not_published(store: SqlControlStore) -> None:
    """The error names the place in the request; what was published stays."""
    draft = made(store)
    reference = Reference(AUTUMN, draft.etag)

    def wrong(_: TenantView, contents: Mapping[Key, Content]) -> Sequence[tuple[Key, str]]:
        return [(key, "says the same as another") for key in contents]

    with pytest.raises(InvalidArgument) as raised:
        store.change(SHOP, lambda view: publish(view, [reference], wrong, ANNA))
    assert raised.value.violations[0].field == "resources[0]"
    assert store.snapshot(SHOP) is None


def test_archived_is_not_effective(store: SqlControlStore) -> None:
    """Archiving makes a snapshot without the resource; an update makes a draft of it again."""
    resource = published(store, made(store)).resources[0]
    gone = archived(store, resource)
    assert effective(store) == (2, {})
    assert gone.state is State.ARCHIVED
    assert archived(store, resource) == gone
    assert store.resources(SHOP, Listing(), None, 10) == []
    with pytest.raises(Conflict, match="archived"):
        published(store, gone)
    assert changed(store, gone, COAT).state is State.DRAFT


def test_unknown_resources_are_not_found(store: SqlControlStore) -> None:
    """A change of what does not exist names it."""
    with pytest.raises(NotFound, match="autumn"):
        store.change(SHOP, lambda view: update(view, Reference(AUTUMN, "1-d"), lambda content: content, ANNA))
    assert store.resource(SHOP, AUTUMN) is None


def test_history_has_every_change(store: SqlControlStore) -> None:
    """Each change is recorded with author, time, content before and after, and its snapshot; the newest is first."""
    resource = published(store, changed(store, made(store), COAT)).resources[0]
    archived(store, resource)
    history = store.revisions(SHOP, AUTUMN, None, 10)
    assert [(one.version, one.action, one.changed_by, one.snapshot_version) for one in history] == [
        (4, Action.ARCHIVED, "boris", 2), (3, Action.PUBLISHED, "boris", 1), (2, Action.UPDATED, "boris", 0),
        (1, Action.CREATED, "anna", 0),
    ]  # fmt: skip
    assert [(one.before, one.after) for one in history] == [(COAT, None), (None, COAT), (FALL, COAT), (None, FALL)]
    assert store.revisions(SHOP, AUTUMN, 3, 1) == [history[2]]


def test_the_past_is_bounded(store: SqlControlStore, url: str) -> None:
    """Only the newest revisions and snapshots, and the archived resources of the retention, are kept."""
    resource = made(store)
    for turn in range(8):
        resource = changed(store, resource, {"words": ["autumn", str(turn)]})
        resource = published(store, resource).resources[0]
    assert [one.version for one in store.revisions(SHOP, AUTUMN, None, 100)] == [17, 16, 15, 14, 13]
    for number in range(4):
        archived(store, made(store, Key("synonym_set", f"old{number}"), COAT))
    assert len(store.resources(SHOP, Listing(state=State.ARCHIVED), None, 100)) == 2
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        kept = connection.execute(sa.text("SELECT version FROM snapshots ORDER BY version")).scalars().all()
    engine.dispose()
    assert list(kept) == [6, 7, 8]


def test_lists_are_paged_and_filtered(store: SqlControlStore) -> None:
    """By kind, state and text, in the order of kind and id whatever the language of the database."""
    names = ["b-b", "a_a", "ab", "a-z", "a1"]
    drafts = [made(store, Key("synonym_set", name), {"words": ["Größe 100%", name]}) for name in names]
    made(store, Key("campaign", "z"), {"advertiser": "Acme", "product_ids": ["p_1"]})
    made(store, tenant=OTHER)
    published(store, drafts[0])

    def ids(listing: Listing, after: Key | None = None, limit: int = 10) -> list[str]:
        return [resource.key.id for resource in store.resources(SHOP, listing, after, limit)]

    assert ids(Listing()) == ["z", *sorted(names)]
    assert ids(Listing(), Key("synonym_set", "a1"), 2) == ["a_a", "ab"]
    assert ids(Listing(kind="campaign")) == ["z"]
    assert ids(Listing(state=State.PUBLISHED)) == ["b-b"]
    assert ids(Listing(text="GRÖSSE")) == sorted(names)
    assert ids(Listing(text="100%")) == sorted(names)
    assert ids(Listing(text="_")) == ["z", "a_a"]
    assert ids(Listing(text="p_1")) == ["z"]


def test_tenants_are_apart(store: SqlControlStore) -> None:
    """Each tenant has its own resources, versions and snapshots."""
    published(store, made(store))
    other = made(store, content=COAT, tenant=OTHER)
    published(store, other, tenant=OTHER)
    assert effective(store) == (1, {AUTUMN: FALL})
    assert effective(store, OTHER) == (1, {AUTUMN: COAT})
    assert store.revisions(OTHER, AUTUMN, None, 10)[0].after == COAT


def test_concurrent_publishes_make_one_snapshot_each(url: str) -> None:
    """Several processes publish at the same time: versions have no gap, and the last snapshot has everything."""
    stores = [SqlControlStore(url) for _ in range(3)]
    start = threading.Barrier(len(stores))

    def work(number: int) -> None:
        start.wait()
        for turn in range(5):
            published(stores[number], made(stores[number], Key("synonym_set", f"s{number}-{turn}"), COAT))

    with ThreadPoolExecutor(len(stores)) as pool:
        for future in [pool.submit(work, number) for number in range(len(stores))]:
            future.result()
    version, contents = effective(stores[0])
    for store in stores:
        store.close()
    assert (version, len(contents)) == (15, 15)


def test_a_newer_schema_is_refused(url: str) -> None:
    """A store that a newer version made is left alone, and the error says what to do."""
    SqlControlStore(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(Conflict, match="newer version of Kairos"):
        SqlControlStore(url)


def test_processes_that_start_together_migrate_once(url: str) -> None:
    """Each of them then works."""
    make: Callable[[int], SqlControlStore] = lambda _: SqlControlStore(url)  # noqa: E731
    with ThreadPoolExecutor(3) as pool:
        stores = list(pool.map(make, range(3)))
    made(stores[0])
    assert stores[2].resource(SHOP, AUTUMN) is not None
    for store in stores:
        store.close()
