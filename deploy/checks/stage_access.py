"""Calls from the gateway to stages: the secret that both sides need, and TLS on both sides or on none."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.checks.build import Overlay, Pod, Problem
from deploy.checks.images import image_of
from deploy.checks.variables import settings_from
from services.common.stage_access import StageAccessSettings


def stage_access_problems(overlay: Overlay) -> Iterator[Problem]:
    """One for each pod whose calls the other side would refuse, or would take from everybody."""
    gateways = [(pod, _access(pod, overlay)) for pod in overlay.pods if _is_gateway(pod)]
    stages = [(pod, _access(pod, overlay)) for pod in overlay.pods if pod.node_type]
    for pod, access in (*gateways, *stages):
        if access.secret_file is None:
            yield Problem(pod.owner, "KAIROS_STAGE_ACCESS_SECRET_FILE is not set: stages would accept every caller")
    for gateway, caller in gateways:
        for stage, served in stages:
            if (caller.ca is None) != (served.ingress_certificate is None):
                yield Problem(
                    stage.owner, f"{gateway.owner} and its ingress must both use TLS for stage calls, or none"
                )
            if served.ingress_ca and not caller.certificate:
                yield Problem(gateway.owner, f"{stage.owner} asks for a certificate, which it does not have")


def _is_gateway(pod: Pod) -> bool:
    image = image_of(pod.containers[0]["image"])
    return image is not None and image.module == "services.gateway"


def _access(pod: Pod, overlay: Overlay) -> StageAccessSettings:
    """With a value that the settings refuse, which `variable_problems` reports: as if nothing were set."""
    return settings_from(StageAccessSettings, overlay.environment(pod.containers[0])) or StageAccessSettings()
