"""A Redis that has reached its `maxmemory` refuses writes clearly, and everything that reads or removes goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from services.common.errors import Overloaded
from services.query_encoder.adapters.redis_lexicon import RedisLexiconStore
from services.query_encoder.domain.lexicon import Term
from services.ranker.adapters.redis_ranking_store import RedisRankingStore
from services.ranker.adapters.redis_store import RedisProfileStore
from services.ranker.domain.event import Batch, Event, EventType
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.person import person_key
from services.ranker.ports import LogBound, RankingLimits, Retention
from tests.integration.redis_server import RedisServer
from tests.unit.ranker.rankings import made_ranking

NOW_S = 1_800_000_000.0


def batch(*numbers: int, user: str = "u") -> list[Batch]:
    events = [Event(f"e{n}", user, "s", "i", EventType.CLICK, NOW_S + n) for n in numbers]
    return [Batch("t", events, [])]


@pytest.fixture
def full(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = redis_server.client()
    client.flushall()
    store = RedisProfileStore(client)
    store.record(batch(*range(50)))
    store.record(batch(100, user="other"))
    store.token_key("sealed")
    client.config_set("maxmemory", 1)
    yield client
    client.config_set("maxmemory", 0)


def test_writes_are_refused(full: redis.Redis) -> None:
    """Each write is RESOURCE_EXHAUSTED with a time to try again, and leaves nothing behind."""
    store, keys = RedisProfileStore(full), full.dbsize()
    ranking = made_ranking("i", user="u", ranked_s=NOW_S)
    rankings = RedisRankingStore(full, RankingLimits(600, 10, 600, 10), 0.4)
    writes = (
        lambda: store.record(batch(200)), lambda: store.record_impressions("t", [Impressions(ranking, (1,), NOW_S)]),
        lambda: store.merge("t", "v", "u"), lambda: store.commit("t", "learner", {"events": 1}),
        lambda: rankings.store([("t", ranking)]),
        lambda: RedisLexiconStore(full).put("t", {"1": frozenset([Term("words", "a")])}),
    )  # fmt: skip
    for write in writes:
        with pytest.raises(Overloaded, match="is full and refuses writes") as raised:
            write()
        assert raised.value.retry_after_s > 0
    assert full.dbsize() == keys


def test_reads_and_removals_go_on(full: redis.Redis) -> None:
    """Histories and the token key are read, a user is deleted, and the log is trimmed: there is room again."""
    store = RedisProfileStore(full)
    assert store.token_key("another") == "sealed"
    assert len(store.user_history("t", person_key("u", "")).recent) == 50
    assert store.popularity("t", ["i"], NOW_S)[0] > 0
    fill = store.fill()
    assert fill is not None
    assert fill.used > fill.limit == 1
    assert store.delete_person("t", person_key("other", "")) == (1, 0)
    bound = LogBound(1e9, 5)
    assert sum(store.trim(Retention(bound, bound, bound), NOW_S)) == 45
    assert store.trimmed("t") == {"events": 45}
