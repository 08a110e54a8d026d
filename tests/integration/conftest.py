"""What several suites start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.postgres_server import PostgresServer, postgres_path
from tests.integration.redis_server import RedisServer
from tests.needed import needs


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Of one file's tests; each brings its own names."""
    needs("redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Its databases are a test's own: see PostgresServer.database."""
    needs("postgres", postgres_path())
    with PostgresServer() as server:
        yield server
