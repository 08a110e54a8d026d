"""The places where the suite keeps its state, read from the settings of its services.

Every path in the settings of a service is a place: data, models, concept files. Logs, and the file with the addresses
of the running suite, are not. The gateway has no state. TLS keys and API keys are not saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from ops.backup import files
from ops.learning import learning_of
from ops.settings import SuiteSettings
from services.common.server_access import ServerAccessSettings
from services.common.settings import ServiceSettings, load_settings
from services.control.settings import ControlSettings
from services.pricing.publisher.settings import OUTBOX_FOLDER
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.adapters.edge_generations import is_invalid_generation
from services.retrieval.adapters.edge_writes import writes_paused
from services.retrieval.settings import RetrievalSettings
from services.sponsored.biller.settings import BillerSettings

# In the order of saving. User histories come before products, so that no event names a product that is not in the
# backup.
SERVICES: dict[str, type[ServiceSettings]] = {
    "ranker": RankerSettings,
    "pricing": PricingSettings,
    # The ledger. The events that it was read from come first, so that what it lacks is read again.
    "biller": BillerSettings,
    "query_encoder": QueryEncoderSettings,
    "retrieval": RetrievalSettings,
    # Its PostgreSQL has backups of its own.
    "control": ControlSettings,
}
# Group of settings whose files are keys, as are those of ServerAccessSettings.
_SECRET = "security"
# Seconds to wait for a pause of the writes. A batch of an import takes less.
_PAUSE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Place:
    """`name` is the setting that names the place, and the name of the file or folder in the backup."""

    name: str
    # Whether the place has state.
    is_occupied: Callable[[], bool]
    # Saves the state to a path that does not exist. Returns, in words, whether the copy is of a single moment.
    save: Callable[[Path], str]
    # Replaces the state of the place.
    restore: Callable[[Path], None]
    # Raises Refused for saved state that this version cannot restore.
    check: Callable[[Path], None] = lambda saved: None


def places_of(suite: SuiteSettings) -> list[Place]:
    """All places. A place inside another one is saved together with it."""
    paths: dict[str, Path] = {}
    servers: dict[str, Place] = {}
    for service, kind in SERVICES.items():
        settings = load_settings(kind)
        paths |= {name: path.resolve() for name, path in _paths(settings, service, _defaults(suite, service))}
        # Services may share one Redis. It is saved once, with all keys of the suite.
        if url := getattr(settings, "redis_url", ""):
            servers.setdefault(url, _redis_place(f"{service}.redis_url", url))
        if isinstance(settings, RetrievalSettings) and settings.engine == "server":
            servers[settings.server.url] = _qdrant_place(settings)
    outer = {
        name: path for name, path in paths.items() if not any(other in path.parents for other in paths.values())
    }  # fmt: skip
    # Not publisher.db beside it: its process keeps it locked.
    learning = learning_of(suite)[1].resolve()
    outer |= {"price_publisher.learning": learning, "price_publisher.outbox": learning.parent / OUTBOX_FOLDER}
    return [*servers.values()] + [
        _path_place(name, path, holds_vectors=name == _VECTORS) for name, path in outer.items()
    ]


_VECTORS = "retrieval.data_dir"


def _defaults(suite: SuiteSettings, service: str) -> dict[str, Path]:
    """The paths that `kairos up` gives to a service if its settings name none."""
    return {"data_dir": suite.data_dir / service, "model_cache_dir": suite.data_dir / "models"}


def _paths(settings: BaseModel, name: str, defaults: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if field in defaults and field not in settings.model_fields_set:
            value = defaults[field]
        if isinstance(value, Path):
            yield f"{name}.{field}", value
        elif isinstance(value, BaseModel) and field != _SECRET and not isinstance(value, ServerAccessSettings):
            yield from _paths(value, f"{name}.{field}", {})


def _path_place(name: str, path: Path, *, holds_vectors: bool) -> Place:
    def save(target: Path) -> str:
        if path.is_file():
            files.copy_file(path, target)
            return "of one moment"
        if holds_vectors:
            with writes_paused(path, _PAUSE_TIMEOUT_S):
                files.copy_folder(path, target, is_invalid_generation)
            return "of one moment; writes were paused"
        files.copy_settled_folder(path, target)
        return "each database of one moment; other files did not change meanwhile"

    return Place(name, lambda: files.is_occupied(path), save, lambda source: files.replace(source, path))


def _redis_place(name: str, url: str) -> Place:
    # Imported here, as in the services: the client is needed only with a server.
    import redis

    from ops.backup import redis_dump
    from services.common.redis_connection import redis_client

    client = redis_client(url, timeout_s=None)

    def is_occupied() -> bool:
        with _errors_as_failed("Redis", redis.RedisError):
            return redis_dump.is_occupied(client)

    def save(target: Path) -> str:
        with _errors_as_failed("Redis", redis.RedisError):
            if redis_dump.dump(client, target):
                return "of one moment; writes were paused"
            return (
                f"each key of its own moment: saving took longer than the pause of writes, {redis_dump.PAUSE_S:.0f} s"
            )

    def restore(source: Path) -> None:
        with _errors_as_failed("Redis", redis.RedisError):
            redis_dump.restore(client, source)

    return Place(name, is_occupied, save, restore)


def _qdrant_place(settings: RetrievalSettings) -> Place:
    import grpc
    from qdrant_client.http.exceptions import ApiException

    from ops.backup import qdrant_dump
    from services.retrieval.adapters.server import connect

    client, prefix = connect(settings.server), settings.server.collection_prefix

    def is_occupied() -> bool:
        with _errors_as_failed("Qdrant", ApiException, grpc.RpcError):
            return qdrant_dump.is_occupied(client, prefix)

    def save(target: Path) -> str:
        with _errors_as_failed("Qdrant", ApiException, grpc.RpcError):
            qdrant_dump.dump(client, prefix, target)
        return "each product of its own moment; products imported meanwhile may be missing"

    def restore(source: Path) -> None:
        with _errors_as_failed("Qdrant", ApiException, grpc.RpcError):
            qdrant_dump.restore(client, prefix, source)

    return Place("retrieval.server.url", is_occupied, save, restore, qdrant_dump.check)


@contextmanager
def _errors_as_failed(server: str, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise files.Failed(f"{server}: {error}") from error
