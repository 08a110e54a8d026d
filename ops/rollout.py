"""Applies a Serve configuration to the running suite: `python -m ops.rollout CONFIG.yaml`.

CONFIG.yaml has the form of ops/serve.yaml. As in a cluster under KubeRay, Serve replaces only the replicas whose
configuration differs, and the suite keeps answering meanwhile.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from ops.hosting import Application, ServeConfig, hosting_environment, load_serve_config
from ops.loopback import use_loopback_address
from ops.settings import SuiteSettings
from services.common.settings import load_settings

_TIMEOUT_S = 180.0
_HERE = "--here"
# The controller needs about this long until its status shows the new configuration.
_TAKEN_UP_S = 1.0
_POLL_S = 0.2


def roll_out(settings: SuiteSettings, config: ServeConfig) -> float:
    """Seconds until exactly the configured replicas run. Applications with autoscaling only have to run.

    Raises subprocess.CalledProcessError if an application fails to deploy, and subprocess.TimeoutExpired after 180 s.
    """
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config.model_dump(exclude_none=True), file)
        file.flush()
        # A separate process: Serve reads its flags from the environment when it is imported.
        subprocess.run(
            [sys.executable, "-m", "ops.rollout", _HERE, file.name],
            env={**os.environ, **hosting_environment(settings)}, check=True, timeout=_TIMEOUT_S,
        )  # fmt: skip
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ops.rollout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument(_HERE, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    config = load_serve_config(arguments.config)
    if arguments.here:
        return _apply(config)
    print(f"replicas are as configured after {roll_out(load_settings(SuiteSettings), config):.1f} s")
    return 0


def _apply(config: ServeConfig) -> int:
    """Needs Serve's flags in the environment of this process."""
    import ray
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    # Otherwise Ray looks for the suite at the machine's own address.
    use_loopback_address()
    ray.init(address="auto", namespace="serve", log_to_driver=False, configure_logging=False)
    client: Any = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate(config.model_dump(exclude_none=True)))
    time.sleep(_TAKEN_UP_S)
    while True:
        status = serve.status().applications
        failed = [name for name, application in status.items() if application.status == "DEPLOY_FAILED"]
        if failed:
            print(status[failed[0]].message, file=sys.stderr)
            return 1
        if all(_is_done(application, status[application.name]) for application in config.applications):
            return 0
        time.sleep(_POLL_S)


def _is_done(configured: Application, status: Any) -> bool:
    if status.status != "RUNNING":
        return False
    for deployment in configured.deployments:
        states = {str(state): count for state, count in status.deployments[deployment.name].replica_states.items()}
        if deployment.num_replicas is not None and states != {"RUNNING": deployment.num_replicas}:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
