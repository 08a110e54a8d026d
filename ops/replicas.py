"""Writes the file that names the replicas of the running applications; the gateway then calls them without HAProxy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import structlog

from services.common.replica_file import LOOPBACK, Replicas, write_replicas

# Before the next question to Serve's controller after a failed one: Ray restarts a dead controller in a few seconds.
_PAUSE_S = 1.0
_log = structlog.get_logger("kairos.replicas")
# The version of the target groups, and the groups; None if they have not changed.
Listen = Callable[[int], tuple[int, Iterable[Any]] | None]


def listen_to_serve(client: Any) -> Listen:
    """Serve's controller, asked as Serve's own HAProxy manager asks it: it answers when the target groups change, or
    after a minute. Without HAProxy it has none. `client`: what `serve_start` returns. Uses private names of Ray.
    """
    import ray
    from ray.serve._private.long_poll import LongPollNamespace

    key = LongPollNamespace.TARGET_GROUPS

    def listen(version: int) -> tuple[int, Iterable[Any]] | None:
        changes = ray.get(client._controller.listen_for_change.remote({key: version}))
        if not isinstance(changes, dict) or key not in changes:
            return None
        return changes[key].snapshot_id, changes[key].object_snapshot

    return listen


def replicas_of(groups: Iterable[Any]) -> Replicas:
    """The replicas in Serve's target groups. Serve names only those that should get new calls."""
    return {
        group.app_name: {target.name: target.port for target in group.targets if target.ip == LOOPBACK}
        for group in groups
        if group.app_name and group.protocol == "gRPC"
    }


def publish(listen: Listen, file: Path, stop: threading.Event, pause_s: float = _PAUSE_S) -> None:
    """Keeps the file current until `stop`, for which it looks after each answer of `listen`."""
    version = -1
    while not stop.is_set():
        try:
            changed = listen(version)
            if changed is not None and not stop.is_set():
                write_replicas(file, replicas_of(changed[1]))
                version = changed[0]
        except Exception as error:
            # The replicas go on without the controller. The gateway notices by itself when one of them is gone.
            _log.warning("the replicas are not published", error=str(error), retry_in_s=pause_s)
            stop.wait(pause_s)
