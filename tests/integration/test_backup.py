"""Backup and restore: the shop after the loss of everything, Redis, a Qdrant server, vectors that are written to."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from typer.testing import CliRunner, Result

from cli.main import app
from demo.catalogue import build_catalogue
from demo.loading import load_shop
from ops.backup import qdrant_dump, redis_dump
from ops.backup.manifest import Refused
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.convert import product_to_proto
from services.common.faq import FaqEntry
from services.common.product import Product
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.domain.event import Batch, Event, EventType
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.domain.candidates import IndexedProduct
from services.retrieval.domain.query import FloatArray, RetrievalQuery
from services.retrieval.ports import Columns, Vectors
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import retriever_over
from tests.integration.redis_server import RedisServer
from tests.integration.shop_answers import answers, requests_of, same
from tests.needed import needs

NOW_S = 1_800_000_000.0
MODEL = "m@1"


def kairos(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_shop_answers_as_before(tmp_path: Path) -> None:
    """Searches with their pages, recommendations and prices are the same after all state was removed and restored.

    The backup is taken while the suite serves; a second restore into the restored place is refused.
    """
    state, catalogue = tmp_path / "var", build_catalogue(size=80)
    with in_process_suite(state) as suite:
        connection = Connection(suite.gateway_target, timeout_s=30)
        users = load_shop(connection, tmp_path, catalogue, shoppers=20)
        suite.wait_until_counted()
        saved = kairos("backup", tmp_path / "backup", "--data-dir", state)
        assert saved.exit_code == 0, saved.output
        asked = requests_of(catalogue, users[:12])
        before = answers(connection, asked)
        running = kairos("restore", tmp_path / "backup", "--data-dir", state, "--force")
        assert running.exit_code == 2
        assert "stop it first" in running.output.replace("\n", " ")
    shutil.rmtree(state)
    restored = kairos("restore", tmp_path / "backup", "--data-dir", state)
    assert restored.exit_code == 0, restored.output
    with in_process_suite(state) as suite:
        suite.wait_until_counted()
        after = answers(Connection(suite.gateway_target, timeout_s=30), asked)
    assert len(after) == 24
    assert all(answer.get("results") or answer.get("quotes") for answer in after)
    assert after == same(before)
    assert kairos("restore", tmp_path / "backup", "--data-dir", state).exit_code == 2


def indexed(number: int) -> IndexedProduct:
    product = Product(id=f"p{number}", title=f"lamp number {number}")
    return IndexedProduct(product, product_to_proto(product).SerializeToString(), product.id.encode())


def vectors(count: int) -> FloatArray:
    found: FloatArray = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def test_a_backup_between_two_writes(tmp_path: Path) -> None:
    """A copy that is taken while batches are written holds whole batches, and opens."""
    batch, state, settings = 25, tmp_path / "var", RetrievalSettings()
    collections = EdgeCollections(state / "retrieval", settings.edge)
    index = retriever_over(collections, settings).index
    stop, written = threading.Event(), list[int]()

    def write() -> None:
        while not stop.is_set():
            numbers = range(len(written) * batch, (len(written) + 1) * batch)
            index.upsert("default", [indexed(number) for number in numbers], Vectors(vectors(batch), MODEL))
            written.append(batch)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 3:
            stop.wait(0.01)
        saved = kairos("backup", tmp_path / "backup", "--data-dir", state)
        at_the_end = len(written)
    finally:
        stop.set()
        writer.join()
        index.close()
    assert saved.exit_code == 0, saved.output
    copied = EdgeCollections(tmp_path / "backup" / "retrieval.data_dir", settings.edge)
    try:
        live = retriever_over(copied, settings).index.reembedding.describe("default").live
    finally:
        copied.close()
    assert live is not None
    assert live.products % batch == 0
    assert 3 * batch <= live.products <= (at_the_end + 1) * batch


def test_a_qdrant_server_goes_into_another(tmp_path: Path) -> None:
    """Products, vectors, the model's name and a staged collection come back in a server that is empty."""
    first, second = QdrantClient(":memory:"), QdrantClient(":memory:")
    settings, table = RetrievalSettings(), vectors(30)
    retriever = retriever_over(ServerCollections(first, "shop-"), settings)
    retriever.index.upsert("default", [indexed(number) for number in range(30)], Vectors(table, MODEL))
    retriever.index.reembedding.begin("default", "m@2", 4)
    item_map = np.ones((table.shape[1] + 1, 2), np.float32)
    retriever.index.item_vectors.begin("default", "shopper@1", 2, Vectors(item_map, MODEL))
    retriever.index.item_vectors.begin("default", "shopper@2", 3, None)
    items = Vectors(np.arange(6, dtype=np.float32).reshape(3, 2), "shopper@1")
    retriever.index.item_vectors.store("default", "shopper@1", ["p0", "p1", "p2"], items, is_complete=True)
    entry = FaqEntry("returns", "return policy", "Within 30 days.")
    assert retriever.faq is not None
    retriever.faq.upsert("default", [entry], [Vectors(np.ones((1, 3), np.float32), MODEL)])
    wanted = RetrievalQuery("lamp 7", table[7:8], MODEL, limit=5, with_vectors=True)
    before = retriever.retrieve("default", wanted).candidates
    fingerprints = retriever.index.lookup("default", before.ids, Columns(fingerprints=True)).fingerprints

    qdrant_dump.dump(first, "shop-", tmp_path / "dump")
    assert not qdrant_dump.is_occupied(second, "shop-")
    qdrant_dump.restore(second, "shop-", tmp_path / "dump")

    other = retriever_over(ServerCollections(second, "shop-"), settings)
    assert other.faq is not None
    assert other.faq.entries("default", "", 9) == retriever.faq.entries("default", "", 9) == [replace(entry, version=1)]
    after = other.retrieve("default", wanted).candidates
    assert after.ids == before.ids
    assert after.vectors is not None
    assert before.vectors is not None
    assert after.vectors.tobytes() == before.vectors.tobytes()
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-5)
    assert other.index.lookup("default", before.ids, Columns(fingerprints=True)).fingerprints == fingerprints
    assert other.index.model_version("default") == MODEL
    staged = other.index.reembedding.describe("default").staged
    assert staged is not None
    assert (staged.model_version, staged.dimensions, staged.products) == ("m@2", 4, 0)
    assert other.index.item_vectors.describe("default") == retriever.index.item_vectors.describe("default")
    near = RetrievalQuery(shopper=np.array([[1, 2]], np.float32), shopper_version="shopper@1", limit=30)
    found = [index.retrieve("default", near).candidates for index in (retriever, other)]
    assert dict(zip(found[0].ids, found[0].scores, strict=True)) == dict(
        zip(found[1].ids, found[1].scores, strict=True)
    )
    other.index.upsert("default", [indexed(30)], Vectors(table[:1], MODEL))
    assert other.index.item_vectors.describe("default")[0].product_count == 31


def test_a_dump_of_an_earlier_layout_is_refused(tmp_path: Path) -> None:
    """The alias of a staged collection had another name once. The refusal names the remedy, and nothing is written."""
    client = QdrantClient(":memory:")
    retriever = retriever_over(ServerCollections(client, "shop-"), RetrievalSettings())
    retriever.index.upsert("default", [indexed(1)], Vectors(vectors(1), MODEL))
    qdrant_dump.dump(client, "shop-", tmp_path / "dump")
    qdrant_dump.check(tmp_path / "dump")
    alias = models.CreateAlias(collection_name="shop-default", alias_name="shop-default.beside")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    qdrant_dump.dump(client, "shop-", tmp_path / "dump")
    with pytest.raises(Refused, match=r"shop-default\.beside.*--skip retrieval\.server\.url"):
        qdrant_dump.check(tmp_path / "dump")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    needs("redis-server")
    pair = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        pair.append(RedisServer(tmp_path / name))
    yield pair[0], pair[1]
    for server in pair:
        server.kill()


def test_redis_goes_into_another(tmp_path: Path, servers: tuple[RedisServer, RedisServer]) -> None:
    """Profiles, logs and remembered deletions come back in a Redis that is empty, and an event twice stays one."""
    first, second = (server.client() for server in servers)
    store = RedisProfileStore(first)
    events = [Event(f"e{n}", f"u{n % 3}", "s", f"i{n}", EventType.CLICK, NOW_S + n) for n in range(60)]
    store.record([Batch("t", tuple(events), ())])
    store.delete_person("t", "user:u2")
    first.set("somebody:else", "1")

    assert redis_dump.dump(first, tmp_path / "dump")
    assert not redis_dump.is_occupied(second)
    redis_dump.restore(second, tmp_path / "dump")

    other = RedisProfileStore(second)
    for person in ("user:u0", "user:u1", "user:u2"):
        assert other.user_history("t", person) == store.user_history("t", person)
    assert other.events_after("t", 0, 100) == store.events_after("t", 0, 100)
    assert other.record([Batch("t", tuple(events[:2]), ())]) == [[]]
    (forgotten,) = second.keys("kairos:*forgotten:*")
    assert abs(second.ttl(forgotten) - first.ttl(forgotten)) <= 2
    assert second.get("somebody:else") is None


def test_a_log_may_be_larger_than_a_value(tmp_path: Path, servers: tuple[RedisServer, RedisServer]) -> None:
    """Large logs, sets and hashes are saved in parts: none is larger than what Redis takes at once."""
    first, second = (server.client() for server in servers)
    for client in (first, second):
        client.flushall()
    store = RedisProfileStore(first)
    kinds = list(EventType)
    for batch in range(6):
        events = [
            Event(f"e{n}", "u", "s", f"i{n}", kinds[n % 7], NOW_S + n, query="a long query " * 30)
            for n in range(batch * 500, batch * 500 + 500)
        ]
        store.record([Batch("t", events, ())])
    second.config_set("proto-max-bulk-len", 1 << 20)
    assert (first.memory_usage("kairos:{t}:events") or 0) > 1 << 20

    redis_dump.dump(first, tmp_path / "dump")
    redis_dump.restore(second, tmp_path / "dump")

    other = RedisProfileStore(second)
    assert other.user_history("t", "user:u") == store.user_history("t", "user:u")
    assert other.events_after("t", 0, 9_999) == store.events_after("t", 0, 9_999)
    assert other.popularity("t", ["i7", "i8"], NOW_S) == store.popularity("t", ["i7", "i8"], NOW_S)
    new = Event("new", "u", "s", "i", EventType.CLICK, NOW_S)
    assert other.record([Batch("t", [new, *events[:3]], ())]) == [["new"]]
    assert other.events_after("t", 3_000, 9)[0][0] == 3_001
    for key in first.scan_iter("kairos:*"):
        assert second.type(key) == first.type(key)


def test_writers_wait_for_the_dump_and_go_on(tmp_path: Path, servers: tuple[RedisServer, RedisServer]) -> None:
    """A dump that outlasts the pause says that it is not of one moment; afterwards Redis takes writes."""
    client = servers[0].client()
    RedisProfileStore(client).record([Batch("t", (Event("e", "u", "s", "i", EventType.CLICK, NOW_S),), ())])
    assert not redis_dump.dump(client, tmp_path / "dump", pause_s=0.0)
    assert client.set("kairos:after", "1")
