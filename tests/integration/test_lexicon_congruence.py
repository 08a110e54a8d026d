"""The same tests for both lexicon stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis

from services.common.errors import Unavailable
from services.common.product import Product
from services.query_encoder.adapters.redis_lexicon import RedisLexiconStore
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.domain.lexicon import MAX_ATTRIBUTES, MAX_VALUES, LexiconUpdate, learn
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


def test_replicas_share_words(replica: Replica) -> None:
    """Counts of replicas are added, names are as the shop writes them, and of the phrases of one title those are read
    that begin or end with a name or an operator.
    """
    one, other = replica(), replica()
    one.add("shop", learn([SHOE]))
    once = other.read("shop", None)
    assert (once.words["pegasus"], once.phrases) == (1, {"nike pegasus": 1, "nike pegasus shoe": 1})
    assert (once.branded["nike pegasus"], once.companions["nike shoe"], once.described) == (1, 1, {})
    assert (once.brands, once.values) == ({"nike": "Nike"}, {"colour": {"dark blue": "Dark Blue"}})
    assert once.categories == {"shoes": "Shoes", "running shoes": "Shoes > Running Shoes"}
    other.add("shop", learn([SHOE, LAMP]))
    twice = one.read("shop", once)
    assert (twice.words["pegasus"], twice.words["跑步"], twice.words["lamp"]) == (2, 2, 1)
    assert twice.phrases["nike pegasus"] == 2
    assert "green lamp" not in twice.phrases
    assert twice.brands["ström"] == "Ström"


def test_phrases_of_one_title_with_operators_and_values(replica: Replica) -> None:
    """ "no country" and "red dress" of one title are read, "old men" is not; brands that titles lack are counted."""
    store = replica()
    store.add(
        "shop",
        learn([
            Product(id="1", title="No country for old men", brand="Paramount"),
            Product(id="2", title="Long red dress", attributes={"colour": ("Red",)}),
        ]),
    )  # fmt: skip
    lexicon = store.read("shop", None)
    assert {"no country", "no country for", "long red", "red dress"} == set(lexicon.phrases)
    assert (lexicon.described, lexicon.untitled) == ({"long red": 1, "red dress": 1}, {"paramount": 1})


def test_an_unchanged_lexicon_is_not_read_again(replica: Replica) -> None:
    """`read` returns the given lexicon itself until something is added."""
    one, other = replica(), replica()
    one.add("shop", learn([SHOE]))
    known = other.read("shop", None)
    assert other.read("shop", known) is known
    one.add("shop", learn([]))
    assert other.read("shop", known) is not known


def test_values_are_bounded(replica: Replica) -> None:
    """Beyond its bounds a store takes no further attributes and no further values, and keeps the ones that it has."""
    store = replica()
    many = LexiconUpdate(values={"level": {f"value {n}": f"Value {n}" for n in range(MAX_VALUES + 5)}})
    store.add("shop", many)
    store.add("shop", LexiconUpdate(values={"level": {"one more": "One more"}}))
    assert len(store.read("shop", None).values["level"]) == MAX_VALUES
    store.add("shop", LexiconUpdate(values={f"attribute {n}": {"a": "A"} for n in range(MAX_ATTRIBUTES + 5)}))
    known = store.read("shop", None).values
    assert len(known) == MAX_ATTRIBUTES
    assert "value 3" in known["level"]


def test_colours_of_earlier_versions(replica: Replica, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Colours that an earlier version stored are values of the attribute "colour"."""
    store = replica()
    store.add("shop", learn([SHOE]))
    if "redis" in request.node.name:
        client: redis.Redis = request.getfixturevalue("redis_server").client()
        client.hset("kairos:{shop}:lexicon:colours", "teal", "Teal")
    else:
        with closing(sqlite3.connect(tmp_path / "lexicon.db")) as db, db:
            db.execute("INSERT INTO name VALUES ('shop', 'colours', 'teal', 'Teal')")
    assert replica().read("shop", None).values == {"colour": {"dark blue": "Dark Blue", "teal": "Teal"}}


def test_tenants_do_not_share(replica: Replica) -> None:
    """Tenants have separate words."""
    store = replica()
    store.add("shop", learn([SHOE]))
    assert not store.read("another", None).words


def test_a_redis_that_is_down_is_unavailable() -> None:
    """Without its Redis the store raises Unavailable."""
    store = RedisLexiconStore(redis.Redis(host="127.0.0.1", port=1))
    for call in (lambda: store.read("shop", None), lambda: store.add("shop", learn([SHOE]))):
        with pytest.raises(Unavailable, match="Redis"):
            call()
