"""Clients of a Redis with TLS, and of one with failover: real servers, and a real Sentinel."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.secrets import Authority
from services.common.errors import InvalidArgument
from services.common.redis_connection import redis_client
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_store
from tests.integration.redis_server import RedisServer
from tests.needed import needs

_PASSWORD = "p@ss/word"
_QUOTED = "p%40ss%2Fword"


def eventually(what: str, holds: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            if holds():
                return
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.05)  # between two looks


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A Redis with the manifests' configuration, and a certificate of an authority in ca.crt."""
    needs("redis-server")
    for name, content in Authority(datetime.now(UTC)).certificate("kairos-redis").items():
        (tmp_path / name).write_text(content)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    files = [option for name, file in (("cert", "tls.crt"), ("key", "tls.key"), ("ca-cert", "ca.crt"))
             for option in (f"--tls-{name}-file", str(tmp_path / file))]  # fmt: skip
    server = RedisServer(tmp_path, "--tls-port", str(port), *files, "--tls-auth-clients", "no")
    yield port
    server.kill()


def test_tls_with_an_authority_of_ones_own(tls_port: int, tmp_path: Path) -> None:
    """With the authority in the URL a client writes; without it the certificate is refused."""
    url = f"rediss://localhost:{tls_port}/0"
    with redis_client(f"{url}?ssl_ca_certs={tmp_path / 'ca.crt'}") as client:
        assert client.set("a", "b")
    with redis_client(url) as client, pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        client.ping()


class Pair:
    """A primary, its replica, and a Sentinel that knows them as `shop`."""

    def __init__(self, folder: Path) -> None:
        for name in ("first", "second", "sentinel"):
            (folder / name).mkdir()
        self.first = RedisServer(folder / "first", "--masterauth", _PASSWORD, password=_PASSWORD)
        of_first = ("--masterauth", _PASSWORD, "--replicaof", "127.0.0.1", str(self.first.port))
        self.second = RedisServer(folder / "second", *of_first, password=_PASSWORD)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        configuration = folder / "sentinel" / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\nrequirepass {_PASSWORD}\n"
            f"sentinel monitor shop 127.0.0.1 {self.first.port} 1\nsentinel auth-pass shop {_PASSWORD}\n"
            "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 5000\n"
        )
        self._sentinel = subprocess.Popen(["redis-server", str(configuration), "--sentinel"], stdout=subprocess.DEVNULL)
        self.asked = redis.Redis(port=self.port, password=_PASSWORD, decode_responses=True)
        eventually("the Sentinel knows the replica", lambda: self._seen("num-slaves") == 1)

    def _seen(self, what: str) -> int:
        known: Any = self.asked.sentinel_master("shop")
        return int(known[what])

    @property
    def primary(self) -> tuple[str, int]:
        found: Any = self.asked.sentinel_get_master_addr_by_name("shop")
        return str(found[0]), int(found[1])

    @property
    def url(self) -> str:
        return f"redis+sentinel://:{_QUOTED}@127.0.0.1:{self.port},127.0.0.1:1/shop/0"

    def close(self) -> None:
        self._sentinel.kill()
        self._sentinel.wait()
        self.asked.close()
        for server in (self.first, self.second):
            server.kill()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    needs("redis-server")
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def test_after_a_failover_calls_go_to_the_new_primary(pair: Pair, tmp_path: Path) -> None:
    """A store of the ranker that was connected to a primary which dies goes on with its replica, by itself."""
    settings = RankerSettings(store="redis", redis_url=pair.url, data_dir=tmp_path)
    store, client = build_store(settings), redis_client(pair.url)
    client.set("kept", "yes")
    assert store.last_position("default") == 0
    assert client.wait(1, 5_000) == 1
    pair.first.kill()
    eventually("the replica is the primary", lambda: bool(client.set("new", "yes")))
    assert client.get("kept") == b"yes"
    assert pair.primary == ("127.0.0.1", pair.second.port)
    assert store.last_position("default") == 0
    store.close()
    client.close()


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://host/shop", "redis+sentinel://host:26379", "redis+sentinel://host:26379/shop/first",
     "redis+sentinel://host:26379,/shop", "rediss+sentinel://host:26379/shop?ssl_cert=x"],
)  # fmt: skip
def test_a_url_that_names_no_primary(url: str) -> None:
    """The refusal names the setting and shows the form."""
    with pytest.raises(InvalidArgument, match=r"HOST:PORT/NAME/DB"):
        redis_client(url)
