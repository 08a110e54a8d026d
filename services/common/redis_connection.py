"""A client of a service's Redis from its URL: one server, or the primary of a Redis with failover."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import redis
from redis.sentinel import Sentinel

from services.common.errors import InvalidArgument
from services.common.settings import REDIS_TIMEOUT_S

_SENTINEL = "+sentinel"


def redis_client(url: str, timeout_s: float | None = REDIS_TIMEOUT_S) -> redis.Redis:
    """Connects at the first command.

    `redis://:PASSWORD@HOST:PORT/DB` names one server, as redis-py documents.
    `redis+sentinel://:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB` names Sentinels; the server is the one that they call the
    primary of NAME. Each new connection asks them, so that after a failover calls go to the new primary. `rediss`
    instead of `redis` is TLS, with `?ssl_ca_certs=FILE` for an authority of your own. The password, and TLS, are for
    Sentinels and servers alike. Raises InvalidArgument.
    """
    parts = urlsplit(url)
    if not parts.scheme.endswith(_SENTINEL):
        return redis.Redis.from_url(url, socket_timeout=timeout_s)
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    common: dict[str, object] = {"password": unquote(user.partition(":")[2]) or None, "socket_timeout": timeout_s}
    if parts.scheme == f"rediss{_SENTINEL}":
        common |= {"ssl": True, "ssl_ca_certs": options.pop("ssl_ca_certs", None)}
    addresses = [host.rpartition(":")[::2] for host in hosts.split(",")]
    is_whole = all(host and port.isdigit() for host, port in addresses) and name and (database or "0").isdigit()
    if not is_whole or options:
        raise InvalidArgument.of(
            "redis_url",
            "is no URL of Sentinels; write redis+sentinel://:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB?ssl_ca_certs=FILE "
            "with a port for each host; only the password, DB and ssl_ca_certs may be left out",
        )
    sentinel = Sentinel([(host, int(port)) for host, port in addresses], sentinel_kwargs=common)  # type: ignore[no-untyped-call]
    primary: redis.Redis = sentinel.master_for(name, db=int(database or 0), **common)  # type: ignore[no-untyped-call]
    return primary
