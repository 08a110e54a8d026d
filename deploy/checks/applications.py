"""Serve's applications, the gateway and the learner against the code: imports, images, ports, where their state is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from cli.suite.hosting import SERVICER_FUNCTIONS
from deploy.checks.addresses import SERVE_SUFFIX
from deploy.checks.build import Object, Overlay, Pod, Problem, name_of
from deploy.checks.images import ROOT, image_of, is_ours
from deploy.checks.ray_clusters import replicas_of
from deploy.checks.serve_config import given
from deploy.checks.variables import SETTINGS_OF, Stateful, on_disk, prefix, settings_from, writable
from services.gateway.domain.budget import Stage
from services.gateway.settings import GatewaySettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.pricing.settings import PricingSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from training.learner.settings import LearnerSettings

_EDGE = "Qdrant Edge"
# Qdrant's client asks OpenSSL for REST and gRPC's own list for gRPC.
_AUTHORITIES = {"SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}


def application_problems(overlay: Overlay) -> Iterator[Problem]:
    yield from chain(_serve_problems(overlay), _homes(overlay), _stage_services(overlay))
    for item in overlay.of_kind("RayService"):
        yield from (Problem(name_of(item), what) for what in _state_problems(item, overlay))
    for pod in overlay.pods:
        for problems in (_gateway_problems, _learner_problems, _trace_problems):
            yield from (Problem(pod.owner, what) for what in problems(pod, overlay))
        for image in (container["image"] for container in pod.all_containers):
            if is_ours(image) and image_of(image) is None:
                yield Problem(pod.owner, f"no Dockerfile of deploy/docker makes {image}", own=True)
            if not re.search(r":[^:/]*\d[^:/]*$|@sha256:[0-9a-f]{64}$", image):
                yield Problem(pod.owner, f"image {image} has no version", own=True)


def _serve_problems(overlay: Overlay) -> Iterator[Problem]:
    for name, config in overlay.serve_configs.items():
        names = {application.name for application in config.applications}
        for function in config.grpc_options.grpc_servicer_functions:
            if function not in SERVICER_FUNCTIONS:
                yield Problem(f"RayService/{name}", f"there is no {function}")
            elif function.rpartition(".add_")[2] not in names:
                yield Problem(f"RayService/{name}", f"{function} is for an application that is not here")
        for application in config.applications:
            where = f"RayService/{name} application {application.name}"
            yield from (Problem(where, what) for what in _code_problems(application, config))
            for pod in (pod for pod in overlay.pods if pod.name == name and pod.node_type):
                yield from (Problem(pod.owner, what) for what in _pod_problems(application.name, pod, overlay))


def _code_problems(application: Any, config: Any) -> Iterator[str]:
    module, _, function = application.import_path.partition(":")
    file = ROOT / f"{module.replace('.', '/')}.py"
    if not file.is_file() or f"def {function}(" not in file.read_text():
        yield f"there is no {application.import_path}"
        return
    # One deployment each, with its application's name: metrics and dashboards have both as labels.
    if [deployment.name for deployment in application.deployments] != [application.name]:
        yield "its one deployment must have the application's name"
    if f'serve.deployment(name="{application.name}"' not in file.read_text():
        yield f"{application.import_path} makes no deployment {application.name}"
    if application.route_prefix != f"/{application.name}":
        yield f"route_prefix is {application.route_prefix}"
    servicer = f"services.common.direct_ingress.add_{application.name}"
    if servicer not in config.grpc_options.grpc_servicer_functions:
        yield f"grpc_servicer_functions lacks {servicer}"


def _pod_problems(application: str, pod: Pod, overlay: Overlay) -> Iterator[str]:
    """The image has what the application imports; its state is in a folder of a volume, and its model is there."""
    container, kind = pod.containers[0], SETTINGS_OF.get(application)
    variables, image = overlay.environment(container), image_of(container["image"])
    if image and (extra := application.replace("_", "-")) not in image.extras:
        yield f"{container['image']} is built without the extra {extra} of {application}"
    settings = settings_from(kind, variables) if kind else None
    if settings is None:
        return
    if pod.node_type == "worker":
        yield from _folder_problems(settings, container)
    elif not settings.data_dir.is_absolute():
        yield f"has no settings of {application}"
    if isinstance(settings, RetrievalSettings) and settings.server.url.startswith("https"):
        yield from (f"trusts no authority of Qdrant without {name}" for name in _AUTHORITIES - variables.keys())
    if isinstance(settings, QueryEncoderSettings):
        yield from _encoder_problems(settings, pod, image.extras if image else ["query-encoder-export"])


def _encoder_problems(settings: QueryEncoderSettings, pod: Pod, extras: list[str]) -> Iterator[str]:
    container = pod.containers[0]
    if "query-encoder-export" not in extras:
        if settings.backend == "torch":
            yield f"{container['image']} has no torch, and the backend is torch"
        if settings.model_dir is None:
            yield f"{container['image']} has no embedded model, and there is no model_dir"
    if settings.backend != "torch" and not settings.model_cache_dir.is_absolute():
        yield "the exported models have no folder"
    has_gpu = "nvidia.com/gpu" in container.get("resources", {}).get("limits", {})
    if pod.node_type == "worker" and has_gpu != (settings.device == "cuda"):
        yield f"the device is {settings.device}, and the pod requests {'a' if has_gpu else 'no'} GPU"


def _homes(overlay: Overlay) -> Iterator[Problem]:
    """Each stage of the gateway is an application of one RayService."""
    found = [(a.name, name) for name, config in overlay.serve_configs.items() for a in config.applications]
    stages = [stage.value for stage in Stage]
    for application, name in found:
        if application not in stages:
            yield Problem(f"RayService/{name}", f"the gateway calls no application {application}")
    for stage in stages:
        if (count := sum(application == stage for application, _ in found)) != 1:
            yield Problem(f"application {stage}", f"is in {count} RayServices, not in one")


def _stage_services(overlay: Overlay) -> Iterator[Problem]:
    """A Service with a RayService's name leads to its workers alone."""
    for service in (s for s in overlay.of_kind("Service") if s["metadata"]["name"] in overlay.serve_configs):
        wanted = f"RayService/{service['metadata']['name']} workers"
        if {pod.owner for pod in overlay.pods_behind(service)} != {wanted}:
            yield Problem(name_of(service), f"does not lead to {wanted} alone")


def _state_problems(item: Object, overlay: Overlay) -> Iterator[str]:
    """The files of an embedded engine belong to one pod, and to one process where the engine is Qdrant Edge."""
    name, strategy = item["metadata"]["name"], item["spec"].get("upgradeStrategy", {}).get("type")
    most_pods = sum(group["maxReplicas"] for group in item["spec"]["rayClusterConfig"].get("workerGroupSpecs", []))
    for pod in (pod for pod in overlay.pods if pod.name == name and pod.node_type == "worker"):
        for application in overlay.serve_configs[name].applications:
            kind = SETTINGS_OF.get(application.name)
            settings = settings_from(kind, overlay.environment(pod.containers[0])) if kind else None
            if settings is None or (engine := _embedded_engine(settings)) is None:
                continue
            if not on_disk(settings.data_dir, pod.containers[0], pod):
                yield f"{engine} is in {settings.data_dir}, which ends with its pod"
            if most_pods > 1:
                yield f"{engine} is one pod's, and there may be {most_pods}"
            if engine == _EDGE and strategy != "None":
                yield f"{_EDGE} is one process's, and an upgrade brings a second cluster"
            for deployment in application.deployments if engine == _EDGE else []:
                if given(deployment.max_surge_percent, 0) != 0 or replicas_of(deployment, "max") > 1:
                    yield f"{_EDGE} is one process's: max_surge_percent must be 0, and one replica the most"


def _embedded_engine(settings: Stateful) -> str | None:
    match settings:
        case RetrievalSettings(engine="edge"):
            return _EDGE
        case RankerSettings(store="sqlite"):
            return "the SQLite of user histories"
        case QueryEncoderSettings(lexicon="sqlite"):
            return "the SQLite of the lexicon"
        case PricingSettings():
            return "the SQLite of the audit log"
        case _:
            return None


def _gateway_problems(pod: Pod, overlay: Overlay) -> Iterator[str]:
    container = pod.containers[0]
    image, variables = image_of(container["image"]), overlay.environment(container)
    if image is None or image.module != "services.gateway":
        return
    if (settings := settings_from(GatewaySettings, variables)) is None:
        return
    yield from _listening(pod, "grpc", settings.server.port, settings.server.host)
    yield from _listening(pod, "metrics", settings.metrics.port, settings.metrics.host)
    for stage in Stage:
        host = settings.stages.of(stage).target.rpartition(":")[0].partition(".")[0]
        config = overlay.serve_configs.get(host.removesuffix(SERVE_SUFFIX))
        if config is None or stage.value not in {application.name for application in config.applications}:
            yield f"the target of {stage.value} is {host}, where no RayService serves it"
    # Kubernetes' own gRPC probe speaks no TLS.
    way = "grpc" if settings.security.certificate is None else "tcpSocket"
    if any(way not in container.get(probe, {}) for probe in ("readinessProbe", "livenessProbe")):
        yield f"with TLS {'off' if way == 'grpc' else 'on'}, its probes must be of the kind {way}"
    sleep_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
    if not sleep_s or sleep_s + settings.server.drain_s >= grace_s:
        yield f"preStop ({sleep_s} s) and drain_s ({settings.server.drain_s:g} s) are not over within {grace_s} s"


def _learner_problems(pod: Pod, overlay: Overlay) -> Iterator[str]:
    """It writes where the rankers read, and its metrics are where they are scraped."""
    container = pod.containers[0]
    image, variables = image_of(container["image"]), overlay.environment(container)
    if image is None or image.module != "training.learner":
        return
    learner, ranker = settings_from(LearnerSettings, variables), settings_from(RankerSettings, variables)
    if learner is None or ranker is None:
        return
    yield from _listening(pod, "metrics", learner.metrics.port, learner.metrics.host)
    yield from _folder_problems(learner, container)
    if not writable(ranker.models_dir, container):
        yield f"the registry is {ranker.models_dir}, where nothing can be written"
    if ranker.store != "redis":
        yield f"the ranker's log is in {ranker.store}, which is another pod's"


def _listening(pod: Pod, name: str, port: int, host: str) -> Iterator[str]:
    if pod.ports.get(name) != port:
        yield f"port {name} is {pod.ports.get(name)}, the program listens on {port}"
    if host != "0.0.0.0":
        yield f"{name} listens on {host}, which no other pod reaches"


def _folder_problems(settings: Stateful, container: Object) -> Iterator[str]:
    if not writable(settings.data_dir, container):
        yield f"data_dir is {settings.data_dir}, where nothing can be written"


def _trace_problems(pod: Pod, overlay: Overlay) -> Iterator[str]:
    """Where there is a collector, each service sends its part of a trace to it."""
    has_collector, variables = any("otlp-grpc" in p.ports for p in overlay.pods), overlay.environment(pod.containers[0])
    for kind in (GatewaySettings, *SETTINGS_OF.values()) if has_collector and pod.containers[0].get("ports") else ():
        name = f"{prefix(kind)}TELEMETRY__OTLP_ENDPOINT"
        if any(variable.startswith(prefix(kind)) for variable in variables) and name not in variables:
            yield f"{name} is not set, and there is a collector"
