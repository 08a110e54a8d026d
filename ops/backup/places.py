"""Where the suite keeps what it keeps: read from the very settings that its services run with.

Every path in a service's settings is a place: its data, its models, its concept files. Logs, and the file that says
where a suite runs, are none. The gateway keeps nothing; its TLS keys and API keys stay out of a backup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from ops.backup import files
from ops.settings import SuiteSettings
from services.common.settings import ServiceSettings, load_settings
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.adapters.edge_generations import is_invalid_generation
from services.retrieval.adapters.edge_writes import writes_paused
from services.retrieval.settings import RetrievalSettings

# In the order of saving. Profiles before products: an event then speaks of no product that the backup lacks.
SERVICES: dict[str, type[ServiceSettings]] = {
    "ranker": RankerSettings,
    "pricing": PricingSettings,
    "query_encoder": QueryEncoderSettings,
    "retrieval": RetrievalSettings,
}
# A batch of an import does not hold the vectors for longer.
_PAUSE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Place:
    """`name` is that of the setting which says where it is; the backup's file or folder is called the same."""

    name: str
    # Whether there is anything to save, or to be replaced.
    is_occupied: Callable[[], bool]
    # Into a path that is free. Says in which respect the copy is of one moment.
    save: Callable[[Path], str]
    # In the place of all that is there.
    restore: Callable[[Path], None]


def places_of(suite: SuiteSettings) -> list[Place]:
    """A place inside another one is saved with that one."""
    paths: dict[str, Path] = {}
    servers: dict[str, Place] = {}
    for service, kind in SERVICES.items():
        settings = load_settings(kind)
        paths |= {name: path.resolve() for name, path in _paths(settings, service, _defaults(suite, service))}
        # Services may share one Redis: it is saved once, with all of the suite's keys.
        if url := getattr(settings, "redis_url", ""):
            servers.setdefault(url, _redis_place(f"{service}.redis_url", url))
        if isinstance(settings, RetrievalSettings) and settings.engine == "server":
            servers[settings.server.url] = _qdrant_place(settings)
    outer = {
        name: path for name, path in paths.items() if not any(other in path.parents for other in paths.values())
    }  # fmt: skip
    return [*servers.values()] + [
        _path_place(name, path, holds_vectors=name == _VECTORS) for name, path in outer.items()
    ]


_VECTORS = "retrieval.data_dir"


def _defaults(suite: SuiteSettings, service: str) -> dict[str, Path]:
    """Where `kairos up` lets a service keep things unless its own settings say where."""
    return {"data_dir": suite.data_dir / service, "model_cache_dir": suite.data_dir / "models"}


def _paths(settings: BaseModel, name: str, defaults: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if field in defaults and field not in settings.model_fields_set:
            value = defaults[field]
        if isinstance(value, Path):
            yield f"{name}.{field}", value
        elif isinstance(value, BaseModel):
            yield from _paths(value, f"{name}.{field}", {})


def _path_place(name: str, path: Path, *, holds_vectors: bool) -> Place:
    def save(target: Path) -> str:
        if path.is_file():
            files.copy_file(path, target)
            return "as it was at one moment"
        if holds_vectors:
            with writes_paused(path, _PAUSE_TIMEOUT_S):
                files.copy_folder(path, target, is_invalid_generation)
            return "as it was at one moment; writes waited"
        files.copy_settled_folder(path, target)
        return "each database as it was at one moment; all else did not change meanwhile"

    return Place(name, lambda: files.is_occupied(path), save, lambda source: files.replace(source, path))


def _redis_place(name: str, url: str) -> Place:
    # Imported here, as the services do: without a server nobody needs its client.
    import redis

    from ops.backup import redis_dump

    client = redis.Redis.from_url(url)

    def is_occupied() -> bool:
        with _explained("Redis", redis.RedisError):
            return redis_dump.is_occupied(client)

    def save(target: Path) -> str:
        with _explained("Redis", redis.RedisError):
            if redis_dump.dump(client, target):
                return "as it was at one moment; writes waited"
            return f"each key for itself: it took longer than the {redis_dump.PAUSE_S:.0f} s that writers are held back"

    def restore(source: Path) -> None:
        with _explained("Redis", redis.RedisError):
            redis_dump.restore(client, source)

    return Place(name, is_occupied, save, restore)


def _qdrant_place(settings: RetrievalSettings) -> Place:
    import grpc
    from qdrant_client.http.exceptions import ApiException

    from ops.backup import qdrant_dump
    from services.retrieval.adapters.server import connect

    client, prefix = connect(settings.server), settings.server.collection_prefix

    def is_occupied() -> bool:
        with _explained("Qdrant", ApiException, grpc.RpcError):
            return qdrant_dump.is_occupied(client, prefix)

    def save(target: Path) -> str:
        with _explained("Qdrant", ApiException, grpc.RpcError):
            qdrant_dump.dump(client, prefix, target)
        return "each product for itself; what was imported meanwhile may be missing"

    def restore(source: Path) -> None:
        with _explained("Qdrant", ApiException, grpc.RpcError):
            qdrant_dump.restore(client, prefix, source)

    return Place("retrieval.server.url", is_occupied, save, restore)


@contextmanager
def _explained(server: str, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise files.Failed(f"{server}: {error}") from error
