"""Serve's applications, the gateway, the learner, the price publisher and the biller against the code: imports, images,
ports, and where their state is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.checks.addresses import connections_of
from deploy.checks.build import Object, Overlay, Pod, Problem
from deploy.checks.images import ROOT, image_of
from deploy.checks.ray_clusters import replicas_of
from deploy.checks.serve_config import given
from deploy.checks.variables import SETTINGS_OF, Stateful, on_disk, settings_from, writable
from experiments.settings import ExperimentSettings
from ops.hosting import SERVICER_FUNCTIONS
from services.assistant.settings import AssistantSettings
from services.common.server_access import ServerAccessSettings
from services.control.settings import ControlSettings
from services.gateway.domain.budget import Stage
from services.gateway.settings import GatewaySettings
from services.learner.settings import LearnerSettings
from services.pricing.publisher.settings import PricePublisherSettings
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.settings import SponsoredSettings

_STAGES = {stage.value for stage in Stage}
_EDGE = "Qdrant Edge"
# Qdrant's client asks OpenSSL for REST and gRPC's own list for gRPC.
_AUTHORITIES = {"SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}


def application_problems(overlay: Overlay) -> Iterator[Problem]:
    for name, config in overlay.serve_configs.items():
        yield from (Problem(f"RayService/{name}", what) for what in _code_problems(config))
    for pod in overlay.pods:
        for name in (container["image"] for container in pod.all_containers):
            if "kairos/" in name and image_of(name) is None:
                yield Problem(pod.owner, f"no Dockerfile of deploy/docker makes {name}", own=True)
        image, programs = (
            image_of(pod.containers[0]["image"]),
            {
                "services.gateway": _gateway,
                "services.learner": _learner,
                "services.pricing": _price_publisher,
                "services.sponsored": _biller,
                "services.control": _control,
            },
        )
        rule = _stage if pod.node_type else programs.get((image and image.module) or "")
        yield from (Problem(pod.owner, what) for what in rule(pod, overlay)) if rule else ()


def _code_problems(config: Any) -> Iterator[str]:
    functions = config.grpc_options.grpc_servicer_functions
    yield from (f"there is no {function}" for function in functions if function not in SERVICER_FUNCTIONS)
    for application in config.applications:
        name, (module, _, function) = application.name, application.import_path.partition(":")
        file = ROOT / f"{module.replace('.', '/')}.py"
        text = file.read_text() if file.is_file() else ""
        if name not in _STAGES:
            yield f"the gateway calls no application {name}"
        if f"def {function}(" not in text:
            yield f"application {name}: there is no {application.import_path}"
        elif f'serve.deployment(name="{name}"' not in text:
            yield f"application {name}: {application.import_path} makes no deployment {name}"
        # Metrics and dashboards have both names as labels.
        if [deployment.name for deployment in application.deployments] != [name]:
            yield f"application {name}: its one deployment must have the same name"
        if application.route_prefix != f"/{name}":
            yield f"application {name}: route_prefix is {application.route_prefix}"
        if f"services.common.direct_ingress.add_{name}" not in functions:
            yield f"application {name}: grpc_servicer_functions lacks services.common.direct_ingress.add_{name}"


def _stage(pod: Pod, overlay: Overlay) -> Iterator[str]:
    """The image has what an application imports; its settings are there, its state is on a volume."""
    container = pod.containers[0]
    variables, image = overlay.environment(container), image_of(container["image"])
    for application in (a for a in overlay.serve_configs[pod.name].applications if a.name in SETTINGS_OF):
        if image and (extra := application.name.replace("_", "-")) not in image.extras:
            yield f"{container['image']} is built without the extra {extra} of {application.name}"
        if (settings := settings_from(SETTINGS_OF[application.name], variables)) is None:
            continue
        if isinstance(settings, AssistantSettings):
            # It keeps no state. Serve may build it, and with it its settings, on the head.
            yield from _access_of_gateway(settings.gateway, pod, overlay)
            if settings.gateway.target.startswith("127."):
                yield f"has no settings of {application.name}"
            continue
        if not pod.serves:
            # Serve may build an application, and with it its settings, on the head.
            if not _folder_of(settings).is_absolute():
                yield f"has no settings of {application.name}"
            continue
        yield from _folder(settings, container)
        yield from _state(settings, application, pod, overlay)
        if isinstance(settings, RetrievalSettings) and settings.server.url.startswith("https"):
            yield from (f"trusts no authority of Qdrant without {name}" for name in _AUTHORITIES - variables.keys())
        if isinstance(settings, QueryEncoderSettings):
            if image and "query-encoder-export" not in image.extras and settings.backend == "torch":
                yield f"{container['image']} has no torch, and the backend is torch"
            has_gpu = "nvidia.com/gpu" in container.get("resources", {}).get("limits", {})
            if has_gpu != (settings.device == "cuda"):
                yield f"the device is {settings.device}, and the pod requests {'a' if has_gpu else 'no'} GPU"


def _folder_of(settings: Stateful | SponsoredSettings) -> Path:
    return settings.control.folder if isinstance(settings, SponsoredSettings) else settings.data_dir


def _state(settings: Stateful | SponsoredSettings, application: Any, pod: Pod, overlay: Overlay) -> Iterator[str]:
    """The files of an embedded engine belong to one pod, and to one process where the engine is Qdrant Edge."""
    match settings:
        case RetrievalSettings(engine="edge"):
            engine = _EDGE
        case RankerSettings(store="sqlite") | QueryEncoderSettings(lexicon="sqlite") | PricingSettings(redis_url=""):
            engine = f"the SQLite of {application.name}"
        case _:
            return
    (spec,) = (item["spec"] for item in overlay.of_kind("RayService") if item["metadata"]["name"] == pod.name)
    if not on_disk(settings.data_dir, pod.containers[0], pod):
        yield f"{engine} is in {settings.data_dir}, which ends with its pod"
    if (most := sum(group["maxReplicas"] for group in spec["rayClusterConfig"].get("workerGroupSpecs", []))) > 1:
        yield f"{engine} is one pod's, and there may be {most}"
    if engine == _EDGE:
        if spec.get("upgradeStrategy", {}).get("type") != "None":
            yield f"{_EDGE} is one process's, and an upgrade brings a second cluster"
        for deployment in application.deployments:
            if given(deployment.max_surge_percent, 0) != 0 or replicas_of(deployment, "max") > 1:
                yield f"{_EDGE} is one process's: max_surge_percent must be 0, and one replica the most"


def _gateway(pod: Pod, overlay: Overlay) -> Iterator[str]:
    container = pod.containers[0]
    if (settings := settings_from(GatewaySettings, overlay.environment(container))) is None:
        return
    yield from _listening(pod, "grpc", settings.server.port, settings.server.host)
    yield from _listening(pod, "metrics", settings.metrics.port, settings.metrics.host)
    calls = {(variable, target.name) for source, variable, target, _ in connections_of(overlay) if source == pod}
    for stage in Stage:
        if (target := settings.stages.of(stage).target).startswith("127."):
            yield f"the target of {stage.value} is {target}, the pod itself"
        # address_problems reports a target that leads to no Service.
        for name in (name for variable, name in calls if f"__{stage.value.upper()}__TARGET" in variable):
            config = overlay.serve_configs.get(name)
            if config is None or stage.value not in {application.name for application in config.applications}:
                yield f"the target of {stage.value} is {target}, which leads to {name}"
    # Kubernetes' own gRPC probe speaks no TLS.
    way = "grpc" if settings.security.certificate is None else "tcpSocket"
    if any(way not in container.get(probe, {}) for probe in ("readinessProbe", "livenessProbe")):
        yield f"with TLS {'off' if way == 'grpc' else 'on'}, its probes must be of the kind {way}"
    sleep_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
    if not sleep_s or sleep_s + 2 * settings.server.drain_s >= grace_s:
        yield f"preStop ({sleep_s} s) and twice drain_s ({settings.server.drain_s:g} s) are not over within {grace_s} s"


def _control(pod: Pod, overlay: Overlay) -> Iterator[str]:
    """Its database is one, a stop is over in time, and its callers call as it asks to be called."""
    container = pod.containers[0]
    if (settings := settings_from(ControlSettings, overlay.environment(container))) is None:
        return
    yield from _listening(pod, "grpc", settings.server.port, settings.server.host)
    yield from _listening(pod, "metrics", settings.metrics.port, settings.metrics.host)
    if not settings.database_url.get_secret_value():
        yield from _control_file(settings, pod, overlay)
    elif not settings.audit.archive_url:
        yield "the archive of the audit is on the disk of one pod; set KAIROS_CONTROL_AUDIT__ARCHIVE_URL"
    for source in (source for source, _, target, _ in connections_of(overlay) if target == pod):
        caller = _caller_of_control(source, overlay)
        if caller and (caller.control.ca is None) != (settings.security.certificate is None):
            yield f"{source.name} and it must both use TLS, or none"
    sleep_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
    if not sleep_s or sleep_s + settings.server.drain_s >= grace_s:
        yield f"preStop ({sleep_s} s) and drain_s ({settings.server.drain_s:g} s) are not over within {grace_s} s"


_Caller = (
    GatewaySettings | PricingSettings | SponsoredSettings | PricePublisherSettings | BillerSettings | ExperimentSettings
)


def _caller_of_control(pod: Pod, overlay: Overlay) -> _Caller | None:
    variables = overlay.environment(pod.containers[0])
    kinds: dict[str, type[_Caller]] = {
        "kairos-price-publisher": PricePublisherSettings, "kairos-biller": BillerSettings,
        "kairos-sponsored": SponsoredSettings, "kairos-experiments": ExperimentSettings,
    }  # fmt: skip
    return settings_from(kinds.get(pod.name, PricingSettings if pod.node_type else GatewaySettings), variables)


def _control_file(settings: ControlSettings, pod: Pod, overlay: Overlay) -> Iterator[str]:
    (spec,) = (item["spec"] for item in overlay.of_kind("Deployment") if item["metadata"]["name"] == pod.name)
    if spec.get("replicas", 1) > 1 or spec.get("strategy", {}).get("type") != "Recreate":
        yield "its database is a file of one pod; set KAIROS_CONTROL_DATABASE_URL, or run one replica with Recreate"
    if not on_disk(settings.data_dir, pod.containers[0], pod):
        yield f"its database is in {settings.data_dir}, which ends with its pod"


def _learner(pod: Pod, overlay: Overlay) -> Iterator[str]:
    """It writes where the rankers read, and its metrics are where they are scraped."""
    container = pod.containers[0]
    if container.get("command"):
        # `kairos train`, from the same image.
        return
    variables = overlay.environment(container)
    learner, ranker = settings_from(LearnerSettings, variables), settings_from(RankerSettings, variables)
    if learner is None or ranker is None:
        return
    yield from _listening(pod, "metrics", learner.metrics.port, learner.metrics.host)
    yield from _folder(learner, container)
    if not writable(ranker.models_dir, container):
        yield f"the registry is {ranker.models_dir}, where nothing can be written"
    if ranker.store != "redis":
        yield f"the ranker's log is in {ranker.store}, which is another pod's"


def _price_publisher(pod: Pod, overlay: Overlay) -> Iterator[str]:
    yield from _worker(settings_from(PricePublisherSettings, overlay.environment(pod.containers[0])), pod, overlay)


def _biller(pod: Pod, overlay: Overlay) -> Iterator[str]:
    settings = settings_from(BillerSettings, overlay.environment(pod.containers[0]))
    yield from _worker(settings, pod, overlay)
    if settings and not on_disk(settings.data_dir, pod.containers[0], pod):
        yield f"the ledger is in {settings.data_dir}, which ends with its pod"


def _worker(settings: PricePublisherSettings | BillerSettings | None, pod: Pod, overlay: Overlay) -> Iterator[str]:
    """Its metrics are where they are scraped, and it calls the gateway."""
    container = pod.containers[0]
    if settings is None:
        return
    yield from _listening(pod, "metrics", settings.metrics.port, settings.metrics.host)
    yield from _folder(settings, container)
    yield from _access_of_gateway(settings.gateway, pod, overlay)


def _access_of_gateway(access: ServerAccessSettings, pod: Pod, overlay: Overlay) -> Iterator[str]:
    """It calls the gateway as that asks to be called."""
    for source, _, gateway, _ in connections_of(overlay):
        if source != pod or gateway.name != "kairos-gateway":
            continue
        asked = settings_from(GatewaySettings, overlay.environment(gateway.containers[0]))
        if asked and (asked.security.certificate is None) != (access.ca is None):
            yield "the gateway and it must both use TLS, or none"
        if asked and asked.security.client_ca and not access.certificate:
            yield "the gateway asks for a certificate, which it does not have"


def _listening(pod: Pod, name: str, port: int, host: str) -> Iterator[str]:
    if pod.ports.get(name) != port:
        yield f"port {name} is {pod.ports.get(name)}, the program listens on {port}"
    if host != "0.0.0.0":
        yield f"{name} listens on {host}, which no other pod reaches"


def _folder(settings: Stateful | SponsoredSettings, container: Object) -> Iterator[str]:
    if not writable(folder := _folder_of(settings), container):
        yield f"data_dir is {folder}, where nothing can be written"
