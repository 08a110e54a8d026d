"""The host process: a Ray head on loopback with the Serve applications, until SIGTERM or SIGINT.

`python -m ops.host` reads KAIROS_SUITE_*. If the Ray cluster dies, the process ends with an error, so that the
supervisor starts both again. Without the cluster the replicas would still answer for a while, but none of them would be
replaced.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import psutil

from ops.hosting import ServeConfig, grpc_options, http_options, serve_config_of
from ops.loopback import SETUP_HOOK, use_loopback_address
from ops.replicas import listen_to_serve, publish
from ops.settings import LOOPBACK, SuiteSettings
from ops.state import replica_file
from services.common.settings import load_settings

_WATCH_PERIOD_S = 2.0
# Seconds without an answer of Serve, after which it counts as dead. Ray restarts a dead controller of Serve, which
# takes a few seconds.
_SILENCE_LIMIT_S = 30.0
# Without one of these processes Ray starts nothing any more, without an error.
_VITAL = ("gcs_server", "raylet")


def main() -> int:
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    settings = load_settings(SuiteSettings)
    return host(settings, serve_config_of(settings), stop)


def host(settings: SuiteSettings, config: ServeConfig, stop: threading.Event) -> int:
    """Starts Ray and Serve, waits and stops them. Returns 0 after `stop`. If Ray or Serve is dead, the process exits
    with 1.
    """
    # Imported here: Serve reads its flags at import, and only this process needs Ray.
    import ray
    from ray import serve
    from ray.serve._private.api import serve_start
    from ray.serve.schema import ServeDeploySchema

    # The file of a killed host: other processes may have its ports now.
    replica_file(settings).unlink(missing_ok=True)
    use_loopback_address()
    ray.init(
        num_cpus=settings.num_cpus,
        object_store_memory=settings.object_store_mb * 1024 * 1024,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        namespace="serve",
        _node_ip_address=LOOPBACK,
        runtime_env={"worker_process_setup_hook": SETUP_HOOK},
    )
    try:
        client = serve_start(
            http_options=http_options(settings),
            grpc_options=grpc_options(settings),
            global_logging_config={"enable_access_log": False},
            proxy_location="HeadOnly",
        )
        schema = {
            **config.model_dump(exclude_none=True),
            "http_options": http_options(settings),
            "grpc_options": grpc_options(settings),
            "proxy_location": "HeadOnly",
        }
        client.deploy_apps(ServeDeploySchema.model_validate(schema))
        threading.Thread(
            target=publish, args=(listen_to_serve(client), replica_file(settings), stop), name="replicas", daemon=True
        ).start()
        watch = _Watch(serve.status)
        while not stop.wait(_WATCH_PERIOD_S):
            if problem := watch.problem():
                print(problem, file=sys.stderr, flush=True)
                # The rest of Ray would not answer a shutdown. The supervisor ends its processes.
                os._exit(1)
        return 0
    finally:
        stop.set()
        replica_file(settings).unlink(missing_ok=True)
        with contextlib.suppress(Exception):
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


class _Watch:
    """Asks for the status of Serve in a thread of its own: without a controller the answer never comes."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask, self._answered_s = ask, time.monotonic()
        threading.Thread(target=self._ask_forever, name="watch", daemon=True).start()

    def problem(self) -> str:
        """What is dead; empty if nothing is."""
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.name() in _VITAL and child.status() == psutil.STATUS_ZOMBIE:
                    return f"{child.name()} has ended"
        silent_s = time.monotonic() - self._answered_s
        return f"Serve has not answered for {silent_s:.0f} s" if silent_s > _SILENCE_LIMIT_S else ""

    def _ask_forever(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                self._ask()
                self._answered_s = time.monotonic()
            time.sleep(_WATCH_PERIOD_S)


if __name__ == "__main__":
    sys.exit(main())
