"""A Qdrant server or cluster through qdrant-client; `QdrantClient(":memory:")` serves tests.

    <prefix><tenant>             collection 1, and <prefix><tenant>.2 a further one, and so on
    <prefix><tenant>.live        alias of the live collection; absent: 1 is live
    <prefix><tenant>.staged      alias of the staged collection, if there is one
    <prefix><tenant>.faq         the collection of the FAQ

A staged collection counts only once it has its alias, and a switch changes both aliases in one request. A search uses
one collection by its own name from beginning to end.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog
from qdrant_client import QdrantClient, models

from services.retrieval.adapters.collection import Collection, Pair
from services.retrieval.adapters.points import DENSE
from services.retrieval.adapters.server_catalogue import ServerCatalogue
from services.retrieval.adapters.server_collection import ServerCollection, create_collection, delete_collection
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.ports import Revision
from services.retrieval.settings import ServerSettings

# How long searches use the roles that were read before: another replica's switch shows after this.
_REFRESH_S = 1.0
_log = structlog.get_logger("kairos.retrieval.server")

_FAQ = ".faq"

# Reads of all requests in progress that run in parallel: the counts, parts and facets of pages.
_PARALLEL_READS = 16


def connect(settings: ServerSettings) -> QdrantClient:
    return QdrantClient(
        url=settings.url,
        api_key=settings.api_key.get_secret_value() or None,
        prefer_grpc=settings.prefer_grpc,
        timeout=int(settings.timeout_s),
    )


class ServerCollections:
    """Several replicas may share a server: a switch by one of them shows in the others within a second."""

    def __init__(self, client: QdrantClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._executor = ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="qdrant")
        # By collection.
        self._known: dict[str, tuple[Pair, float]] = {}
        self._has_this_layout = False
        self._lock = threading.Lock()
        # By tenant: a staged collection has the same products.
        self._catalogues: dict[str, ServerCatalogue] = {}
        self._loading = threading.Lock()
        self._stopping = threading.Event()
        self._follower = threading.Thread(target=self._follow_forever, name="catalogue", daemon=True)
        self._follower.start()

    def get(self, tenant: str) -> Collection | None:
        return self.known_pair(tenant).live

    def known_pair(self, tenant: str) -> Pair:
        known = self._known.get(tenant)
        if known is not None and time.monotonic() - known[1] < _REFRESH_S:
            return known[0]
        return self.pair(tenant)

    def catalogue(self, tenant: str) -> Catalogue | None:
        live = self.get(tenant)
        if live is None:
            return None
        with self._loading:
            known = self._catalogues.get(tenant)
            if known is None:
                known = self._catalogues[tenant] = ServerCatalogue(_server(live))
            return known.catalogue

    def revision(self, tenant: str) -> Revision | None:
        # Other replicas write to the server, and nothing that is cheaper than a search tells that they have.
        return None

    def pair(self, tenant: str) -> Pair:
        with self._lock:
            live_name, staged_name = self._names(tenant)
            live = self._opened(live_name)
            staged = self._opened(staged_name) if live is not None and staged_name else None
            is_older = staged is not None and self._number(tenant, staged_name) < self._number(tenant, live_name)
            pair = Pair(live, staged, is_older)
            # The absence of a collection is not kept: another replica may make the first import.
            if live is not None:
                self._known[tenant] = (pair, time.monotonic())
            return pair

    def create(self, tenant: str) -> Collection:
        self.drop_staged(tenant)
        name, _ = self._names(tenant)
        collection = self._created(name)
        self._forget(tenant)
        with self._loading:
            self._catalogues.pop(tenant, None)
        return collection

    def create_staged(self, tenant: str, model_version: str, dimensions: int) -> Collection:
        live, _ = self._names(tenant)
        number = self._number(tenant, live) + 1
        # An interrupted attempt may have left one of this name.
        staged = self._created(self._name(tenant, number))
        staged.begin_vectors(DENSE, model_version, dimensions)
        self._client.update_collection_aliases([_alias(self._name(tenant, number), f"{self._prefix}{tenant}.staged")])
        self._forget(tenant)
        return staged

    def switch(self, tenant: str) -> None:
        live, staged = self._names(tenant)
        if not staged:
            raise ValueError(f"tenant {tenant!r} has no staged collection")
        base = self._prefix + tenant
        changes: list[models.AliasOperations] = []
        if f"{base}.live" in self._aliases():
            changes.append(_no_alias(f"{base}.live"))
        changes += [_no_alias(f"{base}.staged"), _alias(staged, f"{base}.live"), _alias(live, f"{base}.staged")]
        self._client.update_collection_aliases(changes)
        self._forget(tenant)

    def drop_staged(self, tenant: str) -> None:
        _, staged = self._names(tenant)
        if staged:
            self._client.update_collection_aliases([_no_alias(f"{self._prefix}{tenant}.staged")])
            self._forget(tenant)
            delete_collection(self._client, staged)

    def faq(self, tenant: str) -> Collection | None:
        return self._opened(self._prefix + tenant + _FAQ)

    def create_faq(self, tenant: str) -> Collection:
        return self._created(self._prefix + tenant + _FAQ)

    def check(self) -> None:
        """Raises Unavailable for a collection of another layout as well: a replica over one never becomes healthy."""
        self._client.collection_exists(self._prefix)
        if not self._has_this_layout:
            for entry in self._client.get_collections().collections:
                if entry.name.startswith(self._prefix):
                    ServerCollection(self._client, entry.name)
            self._has_this_layout = True

    def close(self) -> None:
        self._stopping.set()
        self._follower.join()
        self._executor.shutdown()
        self._client.close()

    def _follow_forever(self) -> None:
        while not self._stopping.wait(_REFRESH_S):
            for tenant, known in list(self._catalogues.items()):
                try:
                    live = self.get(tenant)
                    if live is not None:
                        known.follow(_server(live))
                except Exception as error:
                    # The products stay as they are until the server answers again.
                    _log.warning("the catalogue was not refreshed", tenant=tenant, exc_info=error)

    def _names(self, tenant: str) -> tuple[str, str]:
        """Names of (the live collection, the staged collection or empty)."""
        base, aliases = self._prefix + tenant, self._aliases()
        return aliases.get(f"{base}.live", base), aliases.get(f"{base}.staged", "")

    def _aliases(self) -> dict[str, str]:
        return {entry.alias_name: entry.collection_name for entry in self._client.get_aliases().aliases}

    def _name(self, tenant: str, number: int) -> str:
        return f"{self._prefix}{tenant}" + (f".{number}" if number > 1 else "")

    def _number(self, tenant: str, name: str) -> int:
        # A tenant's name holds no dot.
        return int(name.removeprefix(f"{self._prefix}{tenant}").removeprefix(".") or 1)

    def _opened(self, name: str) -> ServerCollection | None:
        """With its metadata as they are now; None if there is no such collection."""
        if not self._client.collection_exists(name):
            return None
        return ServerCollection(self._client, name, self._executor)

    def _created(self, name: str) -> ServerCollection:
        """An empty one, which replaces one of this name."""
        return create_collection(self._client, name, self._executor)

    def _forget(self, tenant: str) -> None:
        with self._lock:
            self._known.pop(tenant, None)


def _server(collection: Collection) -> ServerCollection:
    assert isinstance(collection, ServerCollection)
    return collection


def _alias(collection: str, alias: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))


def _no_alias(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
