"""An overlay as `kairos up` can run it on one machine: the same Serve configuration and settings, scaled down.

What only a cluster has is left out: addresses, the engines and files behind them, and who may call.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import yaml

from deploy.checks.build import Object
from deploy.checks.pods import environment, pods_of
from deploy.checks.serve_config import serve_config_of
from ops.hosting import Application, ServeConfig, has_haproxy

# Groups of the gateway's settings and single settings of the stages that name something in the cluster.
_CLUSTERS_OWN = (
    "_SERVER__", "_METRICS__", "_SECURITY__", "_CONFIG", "__TARGET", "__OTLP_ENDPOINT", "_DIR",
    "KAIROS_RETRIEVAL_ENGINE", "KAIROS_RANKER_STORE", "KAIROS_QUERY_ENCODER_LEXICON", "_REDIS_",
)  # fmt: skip
# Half a CPU each: four, and those that replace them, on four.
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
    """All applications of the overlay's RayServices, one replica of each, else as they are."""
    return [
        application.model_copy(
            update={
                "deployments": [
                    deployment.model_copy(
                        update={
                            "autoscaling_config": None,
                            "num_replicas": 1,
                            "ray_actor_options": deployment.ray_actor_options.model_copy(
                                update={"num_cpus": _LOCAL_CPUS}
                            ),
                        }
                    )
                    for deployment in application.deployments
                ]
            }
        )
        for item in objects
        if item["kind"] == "RayService"
        for application in serve_config_of(item).applications
    ]


def _variables(objects: list[Object]) -> dict[str, str]:
    config_maps = {item["metadata"]["name"]: item for item in objects if item["kind"] == "ConfigMap"}
    found: dict[str, str] = {}
    for pod in pods_of(objects):
        for container in pod.containers:
            for name, value in environment(container, config_maps).items():
                is_ours = name.startswith("KAIROS_") or name.startswith("RAY_")
                if is_ours and value is not None and not any(part in name for part in _CLUSTERS_OWN):
                    found[name] = value
    return found
