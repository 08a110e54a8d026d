"""All tenants' Edge collections: the lock on their folder, and the thread that has them optimised."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import structlog

from services.common.errors import Unavailable
from services.retrieval.adapters import optimizer
from services.retrieval.adapters.collection import Collection
from services.retrieval.adapters.edge import EdgeCollection
from services.retrieval.settings import EdgeSettings

_LOCK_POLL_S = 0.1

_log = structlog.get_logger("kairos.retrieval.edge")


class EdgeCollections:
    """Opens every collection at once: a damaged one is found at the start, and no query waits for its folder.

    Raises Unavailable when another process keeps the folder for longer than `lock_timeout_s`.
    """

    def __init__(self, data_dir: Path, settings: EdgeSettings) -> None:
        self._data_dir = data_dir
        self._settings = settings
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock_file = _locked(data_dir / "lock", settings.lock_timeout_s)
        self._creating = threading.Lock()
        self._collections: dict[str, EdgeCollection] = {}
        for folder in sorted(path for path in data_dir.iterdir() if path.is_dir()):
            collection = EdgeCollection.open(folder, settings.max_search_threads)
            if collection is not None:
                self._collections[folder.name] = collection
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._optimize_forever, name="optimizer", daemon=True)
        self._thread.start()

    def get(self, tenant: str) -> Collection | None:
        return self._collections.get(tenant)

    def create(self, tenant: str) -> Collection:
        with self._creating:
            folder = self._data_dir / tenant
            folder.mkdir(exist_ok=True)
            self._collections[tenant] = EdgeCollection.create(folder, self._settings.max_search_threads)
            return self._collections[tenant]

    def check(self) -> None:
        if self._stopping.is_set():
            raise Unavailable("the index is closed")

    def close(self) -> None:
        self._stopping.set()
        if self._child is not None:
            self._child.kill()
        self._thread.join()
        for collection in self._collections.values():
            collection.close()
        self._lock_file.close()

    def _optimize_forever(self) -> None:
        """Optimise what has changed enough, once it has been quiet for a while."""
        seen: dict[str, int] = {}
        while not self._stopping.wait(self._settings.optimize_idle_s):
            for tenant, collection in list(self._collections.items()):
                changed = collection.changed
                if changed >= self._settings.optimize_after and seen.get(tenant) == changed:
                    self._optimize(tenant, collection)
                seen[tenant] = collection.changed

    def _optimize(self, tenant: str, collection: EdgeCollection) -> None:
        began = time.monotonic()
        try:
            switched = collection.optimize(self._run_optimizer)
        except Exception as error:
            # The collection answers as before, only slower: nobody else needs to know.
            _log.error("optimising failed", tenant=tenant, exc_info=error)
            return
        _log.info("optimised", tenant=tenant, switched=switched, seconds=round(time.monotonic() - began, 1))

    def _run_optimizer(self, path: Path) -> bool:
        # -P: the script's folder is no place to import from.
        self._child = subprocess.Popen([sys.executable, "-P", optimizer.__file__, str(path)])
        if self._stopping.is_set():
            self._child.kill()
        code = self._child.wait()
        self._child = None
        if code and not self._stopping.is_set():
            _log.error("the optimiser failed", path=str(path), exit_code=code)
        return code == 0


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
