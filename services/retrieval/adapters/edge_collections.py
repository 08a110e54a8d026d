"""All tenants' Edge collections: the lock on their folder, the roles, and the thread that has them optimised."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from services.common.errors import Unavailable
from services.retrieval.adapters import optimizer
from services.retrieval.adapters.collection import Collection, Pair
from services.retrieval.adapters.edge import EdgeCollection, next_revision
from services.retrieval.adapters.edge_layout import check_layout
from services.retrieval.adapters.edge_roles import (
    Roles,
    collection_folder,
    faq_folder,
    remove_collections_without_role,
)
from services.retrieval.adapters.edge_writes import Writes
from services.retrieval.adapters.points import DENSE
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.ports import Revision
from services.retrieval.settings import EdgeSettings

_LOCK_POLL_S = 0.1

_log = structlog.get_logger("kairos.retrieval.edge")


@dataclass(frozen=True)
class _Tenant:
    """Replaced as a whole: a reader sees one state or the other."""

    roles: Roles
    live: EdgeCollection
    catalogue: Catalogue
    staged: EdgeCollection | None = None
    # A switch and the switch back are two changes.
    revision: int = field(default_factory=next_revision)


class EdgeCollections:
    """Opens every collection at once: a damaged one is found at the start, and no query waits for its folder.

    Raises Unavailable if the folder has another layout, or another process holds it for longer than `lock_timeout_s`.
    """

    def __init__(self, data_dir: Path, settings: EdgeSettings) -> None:
        self._data_dir = data_dir
        self._settings = settings
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock_file = _locked(data_dir / "lock", settings.lock_timeout_s)
        try:
            check_layout(data_dir)
        except Unavailable:
            self._lock_file.close()
            raise
        self._changing = Writes(data_dir)
        self._tenants: dict[str, _Tenant] = {}
        self._faqs: dict[str, EdgeCollection] = {}
        with self._changing:
            for folder in sorted(path for path in data_dir.iterdir() if path.is_dir()):
                opened = _open(folder, settings.max_search_threads)
                if opened is not None:
                    self._tenants[folder.name] = opened
                faq = EdgeCollection.open(faq_folder(folder), settings.max_search_threads, Writes(data_dir))
                if faq is not None:
                    self._faqs[folder.name] = faq
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._optimize_forever, name="optimizer", daemon=True)
        self._thread.start()

    def get(self, tenant: str) -> Collection | None:
        known = self._tenants.get(tenant)
        return None if known is None else known.live

    def catalogue(self, tenant: str) -> Catalogue | None:
        known = self._tenants.get(tenant)
        return None if known is None else known.catalogue

    def revision(self, tenant: str) -> Revision | None:
        known = self._tenants.get(tenant)
        if known is None or (of_live := known.live.revision) is None:
            return None
        return known.revision, of_live, known.catalogue.revision(time.time())

    def known_pair(self, tenant: str) -> Pair:
        return self.pair(tenant)

    def pair(self, tenant: str) -> Pair:
        known = self._tenants.get(tenant)
        if known is None:
            return Pair()
        roles = known.roles
        return Pair(known.live, known.staged, roles.staged is not None and roles.staged < roles.live)

    def create(self, tenant: str) -> Collection:
        self.drop_staged(tenant)
        with self._changing:
            folder = self._data_dir / tenant
            folder.mkdir(exist_ok=True)
            roles = Roles.read(folder)
            path = collection_folder(folder, roles.live)
            live = EdgeCollection.create(path, self._settings.max_search_threads, Writes(self._data_dir))
            self._tenants[tenant] = _Tenant(roles, live, Catalogue())
            return live

    def create_staged(self, tenant: str, model_version: str, dimensions: int) -> Collection:
        with self._changing:
            known, folder = self._tenants[tenant], self._data_dir / tenant
            roles = Roles(known.roles.live, known.roles.live + 1)
            # What an interrupted attempt left there.
            remove_collections_without_role(folder, known.roles)
            path = collection_folder(folder, known.roles.live + 1)
            staged = EdgeCollection.create(path, self._settings.max_search_threads, Writes(self._data_dir))
            staged.begin_vectors(DENSE, model_version, dimensions)
            roles.write(folder)
            self._tenants[tenant] = _Tenant(roles, known.live, known.catalogue, staged)
            return staged

    def switch(self, tenant: str) -> None:
        with self._changing:
            known = self._tenants[tenant]
            if known.staged is None or known.roles.staged is None:
                raise ValueError(f"tenant {tenant!r} has no staged collection")
            roles = Roles(known.roles.staged, known.roles.live)
            roles.write(self._data_dir / tenant)
            self._tenants[tenant] = _Tenant(roles, known.staged, known.catalogue, known.live)

    def drop_staged(self, tenant: str) -> None:
        with self._changing:
            known = self._tenants.get(tenant)
            if known is None or known.staged is None:
                return
            roles = Roles(known.roles.live)
            roles.write(self._data_dir / tenant)
            # Not closed: a search that began before a switch may still use it.
            self._tenants[tenant] = _Tenant(roles, known.live, known.catalogue)
            remove_collections_without_role(self._data_dir / tenant, roles)

    def faq(self, tenant: str) -> Collection | None:
        return self._faqs.get(tenant)

    def create_faq(self, tenant: str) -> Collection:
        with self._changing:
            folder = faq_folder(self._data_dir / tenant)
            folder.mkdir(parents=True, exist_ok=True)
            self._faqs[tenant] = EdgeCollection.create(
                folder, self._settings.max_search_threads, Writes(self._data_dir)
            )
            return self._faqs[tenant]

    def check(self) -> None:
        if self._stopping.is_set():
            raise Unavailable("the index is closed")

    def close(self) -> None:
        self._stopping.set()
        if self._child is not None:
            self._child.kill()
        self._thread.join()
        for known in self._tenants.values():
            known.live.close()
            if known.staged is not None:
                known.staged.close()
        for faq in self._faqs.values():
            faq.close()
        self._lock_file.close()

    def _optimize_forever(self) -> None:
        """Optimise collections that have changed enough, once no write has come for a while."""
        seen: dict[EdgeCollection, int] = {}
        while not self._stopping.wait(self._settings.optimize_idle_s):
            present = [
                (tenant, collection)
                for tenant, known in list(self._tenants.items())
                for collection in (known.live, known.staged)
                if collection is not None
            ]
            present += list(self._faqs.items())
            for tenant, collection in present:
                changed = collection.changed
                if changed >= self._settings.optimize_after and seen.get(collection) == changed:
                    self._optimize(tenant, collection)
            # Only of those that exist: a dropped one must not be kept in memory.
            seen = {collection: collection.changed for _, collection in present}

    def _optimize(self, tenant: str, collection: EdgeCollection) -> None:
        began = time.monotonic()
        try:
            switched = collection.optimize(self._run_optimizer)
        except Exception as error:
            # The collection answers as before, only slower.
            _log.error("optimising failed", tenant=tenant, exc_info=error)
            return
        _log.info("optimised", tenant=tenant, switched=switched, seconds=round(time.monotonic() - began, 1))

    def _run_optimizer(self, path: Path) -> bool:
        # -P: nothing is imported from the script's folder.
        self._child = subprocess.Popen([sys.executable, "-P", optimizer.__file__, str(path)])
        if self._stopping.is_set():
            self._child.kill()
        code = self._child.wait()
        self._child = None
        if code and not self._stopping.is_set():
            _log.error("the optimiser failed", path=str(path), exit_code=code)
        return code == 0


def _open(folder: Path, max_search_threads: int) -> _Tenant | None:
    roles = Roles.read(folder)
    remove_collections_without_role(folder, roles)
    live = EdgeCollection.open(collection_folder(folder, roles.live), max_search_threads, Writes(folder.parent))
    if live is None:
        return None
    staged = None
    if roles.staged is not None:
        path = collection_folder(folder, roles.staged)
        staged = EdgeCollection.open(path, max_search_threads, Writes(folder.parent))
    return _Tenant(roles, live, live.catalogue(), staged)


def _locked(path: Path, timeout_s: float) -> IO[str]:
    file = path.open("w")
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                raise Unavailable(
                    f"{path.parent} is used by another process: an embedded index belongs to one. "
                    "Stop that process, set KAIROS_RETRIEVAL_DATA_DIR to a folder of its own, or use engine=server"
                ) from None
            time.sleep(_LOCK_POLL_S)
        else:
            return file
