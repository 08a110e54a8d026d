"""The host process: one Ray head on loopback with the four Serve applications, until it is told to stop.

`python -m cli.suite.host` reads KAIROS_SUITE_*. It ends with an error when the cluster below it dies, so that the
supervisor starts both anew.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from types import FrameType

from cli.suite.hosting import ServeConfig, grpc_options, http_options, load_serve_config
from cli.suite.settings import LOOPBACK, SuiteSettings
from services.common.settings import load_settings

_WATCH_PERIOD_S = 2.0


def main() -> int:
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    settings = load_settings(SuiteSettings)
    return host(settings, load_serve_config(), stop)


def host(settings: SuiteSettings, config: ServeConfig, stop: threading.Event) -> int:
    """Start, wait, stop. 0 after `stop`, 1 when Ray or Serve is gone."""
    # Imported here: Serve fixes its flags at import, and only this process needs Ray.
    import ray
    from ray import serve
    from ray.serve._private.api import serve_start
    from ray.serve.schema import ServeDeploySchema

    ray.init(
        num_cpus=settings.num_cpus,
        object_store_memory=settings.object_store_mb * 1024 * 1024,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        namespace="serve",
        _node_ip_address=LOOPBACK,
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
        while not stop.wait(_WATCH_PERIOD_S):
            try:
                serve.status()
            except Exception as error:
                print(f"Serve does not answer any more: {error}", file=sys.stderr)
                return 1
        return 0
    finally:
        with contextlib.suppress(Exception):
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
