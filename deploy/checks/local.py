"""An overlay as `kairos up` can run it on one machine: the same Serve configuration and settings, scaled down.

Addresses, external engines, files and keys exist in the cluster only and are left out.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import yaml

from deploy.checks.build import Object, Overlay
from ops.hosting import Application, ServeConfig, has_haproxy

# Parts of the names of settings that refer to the cluster.
_OF_THE_CLUSTER = (
    "_SERVER__", "_METRICS__", "_SECURITY__", "_CONFIG", "__TARGET", "__OTLP_ENDPOINT", "_DIR",
    "KAIROS_RETRIEVAL_ENGINE", "KAIROS_RANKER_STORE", "KAIROS_QUERY_ENCODER_LEXICON", "_REDIS_",
    "_STAGE_ACCESS_", "_BINARY_PATH", "_PRICE_PUBLISHER_GATEWAY__", "_BILLER_GATEWAY__", "_ASSISTANT_GATEWAY__",
    "_CONTROL__", "_DATABASE_URL",
)  # fmt: skip
# Of each replica: six, and their six successors in a rolling update, fit on six CPUs.
_LOCAL_CPUS = 0.5


def local_settings(objects: list[Object], folder: Path) -> dict[str, str]:
    """Environment for `kairos up`; the Serve configuration that it names is written into `folder`."""
    config = ServeConfig(applications=local_applications(objects))
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(exclude_none=True)))
    found = {"KAIROS_SUITE_SERVE_CONFIG": str(file), **_variables(objects)}
    if not has_haproxy():
        del found["RAY_SERVE_ENABLE_HA_PROXY"]
    if any(item["spec"]["rayClusterConfig"].get("authOptions") for item in objects if item["kind"] == "RayService"):
        # As KubeRay does for authOptions.mode: token.
        found |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_urlsafe(32)}
    return found


def local_applications(objects: list[Object]) -> list[Application]:
    """All applications of the overlay's RayServices, one replica of each, else unchanged."""
    configs = Overlay(objects).serve_configs.values()
    found = [application.model_dump(exclude_unset=True) for config in configs for application in config.applications]
    for deployment in (deployment for application in found for deployment in application["deployments"]):
        deployment.pop("autoscaling_config", None)
        deployment["num_replicas"] = 1
        deployment["ray_actor_options"]["num_cpus"] = _LOCAL_CPUS
    return [Application.model_validate(application) for application in found]


def _variables(objects: list[Object]) -> dict[str, str]:
    overlay = Overlay(objects)
    containers = (container for pod in overlay.pods for container in pod.containers)
    return {
        name: value
        for container in containers
        for name, value in overlay.environment(container).items()
        if name.startswith(("KAIROS_", "RAY_")) and value and not any(part in name for part in _OF_THE_CLUSTER)
    }
