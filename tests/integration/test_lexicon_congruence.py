"""The same tests for both lexicon stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from services.common.errors import Unavailable
from services.common.product import Product
from services.query_encoder.adapters.redis_lexicon import RedisLexiconStore
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.domain.lexicon import FORGOTTEN, Lexicon, terms_of
from services.query_encoder.ports import LexiconStore
from tests.integration.redis_server import RedisServer

SHOE = Product(
    id="1", title="Nike Pegasus shoe", localized_titles={"zh": "跑步鞋"}, brand="Nike",
    category_path=("Shoes", "Running Shoes"), attributes={"colour": ("Dark Blue",)},
)  # fmt: skip
LAMP = Product(id="2", title="Green lamp", brand="Ström", category_path=("Home",))

# One more process with the same lexicons.
Replica = Callable[[], LexiconStore]


@pytest.fixture(params=["sqlite", "redis"])
def replica(request: pytest.FixtureRequest, tmp_path: Path) -> Replica:
    if request.param == "sqlite":
        return lambda: SqliteLexiconStore(tmp_path)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()
    return lambda: RedisLexiconStore(server.client())


def put(store: LexiconStore, *products: Product, tenant: str = "shop") -> None:
    store.put(tenant, {product.id: terms_of(product) for product in products})


def same(left: Lexicon, right: Lexicon) -> bool:
    """Whether they are equal but for their versions."""
    return replace(left, version=0) == replace(right, version=0)


def test_replicas_share_words(replica: Replica) -> None:
    """Products of replicas are counted together, and a product that comes again counts once."""
    one, other = replica(), replica()
    put(one, SHOE)
    once = other.read("shop", None)
    assert same(once, Lexicon.of([SHOE]))
    put(other, SHOE, LAMP, replace(SHOE, id="3"))
    twice = one.read("shop", once)
    assert same(twice, Lexicon.of([SHOE, LAMP, replace(SHOE, id="3")]))
    assert (twice.words["pegasus"], twice.phrases["nike pegasus"], twice.brands["ström"]) == (2, 2, "Ström")
    assert sorted(map(sorted, one.words_of_products("shop"))) == sorted(
        sorted(text for kind, text in terms_of(product) if kind == "words") for product in (SHOE, LAMP, SHOE)
    )


def test_phrases_of_one_title_with_operators(replica: Replica) -> None:
    """ "no country" of one title is read, "old men" is not; brands that titles lack are counted."""
    store = replica()
    put(
        store,
        Product(id="1", title="No country for old men", brand="Paramount"),
        Product(id="2", title="Long red dress", attributes={"colour": ("Red",)}),
    )
    lexicon = store.read("shop", None)
    assert set(lexicon.phrases) == {"no country", "no country for"}
    assert (lexicon.described, lexicon.untitled) == ({"long red": 1, "red dress": 1}, {"paramount": 1})


def test_an_unchanged_lexicon_is_not_read_again(replica: Replica) -> None:
    """`read` returns the given lexicon itself until a product changes."""
    one, other = replica(), replica()
    put(one, SHOE)
    known = other.read("shop", None)
    put(one, SHOE)
    one.put("shop", {"unknown": FORGOTTEN})
    assert other.read("shop", known) is known
    put(one, replace(SHOE, title="Nike Pegasus boot"))
    assert other.read("shop", known) is not known


def test_products_take_their_terms_back(replica: Replica) -> None:
    """After any change and deletion the lexicon is that of the products that there are; so it is after a restart."""
    store = replica()
    put(store, SHOE, LAMP, replace(LAMP, id="3"))
    put(store, renamed := replace(SHOE, title="Pegasus trail shoe", brand="Ström", attributes={"sole": ("Rubber",)}))
    changed = store.read("shop", None)
    assert same(changed, Lexicon.of([renamed, LAMP, replace(LAMP, id="3")]))
    assert ("nike" in changed.words, changed.brands, list(changed.values)) == (False, {"ström": "Ström"}, ["sole"])
    store.put("shop", {"1": FORGOTTEN, "2": FORGOTTEN, "none": FORGOTTEN})
    store.close()
    assert same(replica().read("shop", None), Lexicon.of([LAMP]))
    replica().put("shop", {"3": FORGOTTEN})
    empty = replica().read("shop", None)
    assert same(empty, Lexicon())
    assert not list(replica().words_of_products("shop"))


def test_replicas_at_the_same_time(replica: Replica) -> None:
    """Counts are exact if several replicas change the same products at once."""
    stores = [replica() for _ in range(3)]
    shoes = [replace(SHOE, id=str(number), title=f"Shoe {number % 3}") for number in range(12)]

    def change(number: int) -> None:
        for step in range(6):
            put(stores[number], *shoes[step : step + 6])
            stores[number].put("shop", {shoes[step].id: FORGOTTEN})

    with ThreadPoolExecutor(len(stores)) as threads:
        list(threads.map(change, range(len(stores))))
    put(stores[0], *shoes)
    assert same(stores[1].read("shop", None), Lexicon.of(shoes))


def test_an_earlier_layout_is_not_read(replica: Replica, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Counts without products cannot shrink: they stay where they are, and the next import fills the lexicon."""
    if "redis" in request.node.name:
        request.getfixturevalue("redis_server").client().hset("kairos:{shop}:lexicon:words", "teal", 1)
    else:
        with closing(sqlite3.connect(tmp_path / "lexicon.db")) as db, db:
            db.execute("CREATE TABLE word (tenant TEXT, word TEXT, count INTEGER)")
    store = replica()
    assert not store.read("shop", None).words
    put(store, SHOE)
    assert same(store.read("shop", None), Lexicon.of([SHOE]))


def test_tenants_do_not_share(replica: Replica) -> None:
    """Tenants have separate words."""
    store = replica()
    put(store, SHOE)
    assert not store.read("another", None).words


def test_a_redis_that_is_down_is_unavailable() -> None:
    """Without its Redis the store raises Unavailable."""
    store = RedisLexiconStore(redis.Redis(host="127.0.0.1", port=1))
    for call in (lambda: store.read("shop", None), lambda: put(store, SHOE)):
        with pytest.raises(Unavailable, match="Redis"):
            call()
