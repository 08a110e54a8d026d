"""Follows the registries' pointers, and their mirror of an object store, each in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

_log = structlog.get_logger("kairos.models")


class Follower:
    """Calls `look` every `poll_s` seconds until `close`. An error is logged, and the next look comes."""

    def __init__(self, look: Callable[[], None], poll_s: float) -> None:
        self._look, self._stop = look, threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(poll_s,), name="models", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self, poll_s: float) -> None:
        while not self._stop.wait(poll_s):
            try:
                self._look()
            except Exception:
                _log.exception("the registry could not be read; the loaded versions answer")


def following(root: Path | None, url: str, poll_s: float, refresh: Mapping[str, Callable[[], None]]) -> list[Follower]:
    """Refreshes what is loaded of the registries in the folders `refresh` of each tenant: once now, then by a thread
    each. `root` is a mirror of `url` if that is not empty; None: there are no registries.
    """
    if root is None:
        return []
    mirror = mirroring(root, url, tuple(refresh), poll_s)
    for look in refresh.values():
        look()
    return [*([mirror] if mirror else []), *(Follower(look, poll_s) for look in refresh.values())]


def mirroring(root: Path, url: str, below: Sequence[str], poll_s: float) -> Follower | None:
    """Keeps in `root` what serves of the registry at `url`: of each tenant the folders `below`. None without a URL."""
    if not url:
        return None
    # Imported here: without an object store, fsspec is not needed.
    from services.common.models.registry_mirror import pull_tenants

    def pull() -> None:
        pull_tenants(root, url, below)

    try:
        # The models that serve are there before the first request.
        pull()
    except (OSError, ValueError):
        _log.exception("the registry on the object store cannot be read yet", url=url)
    return Follower(pull, poll_s)
