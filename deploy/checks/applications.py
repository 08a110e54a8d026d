"""Serve's applications against the code: what they import, what their images have, where their state lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from deploy.checks.build import Object, name_of
from deploy.checks.dockerfiles import ROOT, dockerfile, extras
from deploy.checks.pods import environment
from deploy.checks.ray_clusters import fitting_problems, ray_problems, templates
from deploy.checks.serve_config import ManifestServeConfig
from deploy.checks.service_settings import SETTINGS_OF, Stateful, nested
from deploy.checks.variables import on_disk, writable
from ops.hosting import SERVICER_FUNCTIONS, Application
from services.common.errors import InvalidArgument
from services.common.settings import load_settings
from services.gateway.domain.budget import Stage
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings

_EDGE = "Qdrant Edge"
# Qdrant's client asks OpenSSL for REST and gRPC's own list for gRPC.
_AUTHORITIES = {"SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}


def application_problems(
    objects: list[Object],
    configs: Mapping[str, ManifestServeConfig],
    config_maps: Mapping[str, Object],
    deploy: Path,
) -> Iterator[str]:
    known = {stage.value for stage in Stage}
    homes: dict[str, list[str]] = {name: [] for name in known}
    for name, config in configs.items():
        service = next(o for o in objects if o["kind"] == "RayService" and o["metadata"]["name"] == name)
        cluster = service["spec"]["rayClusterConfig"]
        yield from (
            f"RayService/{name}: {problem}"
            for problem in chain(fitting_problems(config, cluster), ray_problems(cluster))
        )
        for function in config.grpc_options.grpc_servicer_functions:
            if function not in SERVICER_FUNCTIONS:
                yield f"RayService/{name}: there is no {function}"
            elif function.rpartition(".add_")[2] not in {application.name for application in config.applications}:
                yield f"RayService/{name}: {function} is for an application that is not here"
        for application in config.applications:
            homes.setdefault(application.name, []).append(name)
            for problem in chain(
                _code_problems(application, config),
                _pod_problems(application, cluster, config_maps, deploy),
            ):
                yield f"RayService/{name}: {problem}"
    for application_name, services in homes.items():
        if application_name not in known:
            yield f"RayService/{services[0]}: the gateway calls no application {application_name}"
        elif len(services) != 1:
            yield f"application {application_name} is in {len(services)} RayServices, not in one"


def _code_problems(application: Application, config: ManifestServeConfig) -> Iterator[str]:
    module, _, function = application.import_path.partition(":")
    file = ROOT / f"{module.replace('.', '/')}.py"
    if not file.is_file() or f"def {function}(" not in file.read_text():
        yield f"application {application.name}: there is no {application.import_path}"
        return
    for deployment in application.deployments:
        if f'serve.deployment(name="{deployment.name}"' not in file.read_text():
            yield f"application {application.name}: {application.import_path} makes no deployment {deployment.name}"
    # One deployment each, called like its application: metrics and dashboards go by both.
    if [deployment.name for deployment in application.deployments] != [application.name]:
        yield f"application {application.name}: its deployment is called otherwise"
    if application.route_prefix != f"/{application.name}":
        yield f"application {application.name}: route_prefix is {application.route_prefix}"
    servicer = f"services.common.direct_ingress.add_{application.name}"
    if servicer not in config.grpc_options.grpc_servicer_functions:
        yield f"application {application.name}: grpc_servicer_functions lacks {servicer}"


def _pod_problems(
    application: Application, cluster: Object, config_maps: Mapping[str, Object], deploy: Path
) -> Iterator[str]:
    """The pods' images have what an application imports; its state lies on a volume, and its models are there."""
    kind = SETTINGS_OF.get(application.name)
    for role, template in templates(cluster):
        container = template["spec"]["containers"][0]
        image, extra = container["image"], application.name.replace("_", "-")
        has = extras(image, deploy)
        if dockerfile(image, deploy).is_file() and extra not in has:
            yield f"{role}: {image} is built without what {application.name} needs, the extra {extra}"
        if kind is None:
            continue
        try:
            settings = load_settings(kind, nested(kind, environment(container, config_maps)))
        except InvalidArgument:
            continue  # named already
        if role != "head":
            yield from (f"{role}: {problem}" for problem in folder_problems(settings, container))
        elif not settings.data_dir.is_absolute():
            yield f"{role}: has no settings of {application.name}"
        if isinstance(settings, RetrievalSettings) and settings.server.url.startswith("https"):
            for name in _AUTHORITIES - environment(container, config_maps).keys():
                yield f"{role}: does not know whom to trust without {name}"
        if isinstance(settings, QueryEncoderSettings):
            if settings.backend == "torch" and "query-encoder-export" not in has:
                yield f"{role}: {image} has no torch, and the backend is torch"
            if settings.backend != "torch" and not settings.model_cache_dir.is_absolute():
                yield f"{role}: the exported models have no folder"
            if settings.model_dir and settings.model_dir.parent != settings.model_cache_dir.parent:
                yield f"{role}: {settings.model_cache_dir} is not beside {settings.model_dir}, its origin"
            if settings.model_dir is None and "query-encoder-export" not in has:
                yield f"{role}: {image} has no embedded model, and there is no model_dir"
            has_gpu = "nvidia.com/gpu" in container["resources"].get("limits", {})
            if role != "head" and has_gpu != (settings.device == "cuda"):
                yield f"{role}: the device is {settings.device}, and the pod's GPU does not fit that"


def folder_problems(settings: Stateful, container: Object) -> Iterator[str]:
    if not writable(settings.data_dir, container):
        yield f"data_dir is {settings.data_dir}, where nothing can be written"


def state_problems(
    objects: list[Object], configs: Mapping[str, ManifestServeConfig], config_maps: Mapping[str, Object]
) -> Iterator[str]:
    """An embedded engine is one pod's: a second pod would have a state of its own."""
    for service in (item for item in objects if item["kind"] == "RayService"):
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
            spec = group["template"]["spec"]
            for engine, folder in _embedded_engines(environment(spec["containers"][0], config_maps)):
                if not on_disk(Path(folder or ""), spec["containers"][0], spec):
                    yield f"{name_of(service)}: {engine} is in {folder}, which ends with its pod"
                if group["maxReplicas"] > 1:
                    yield f"{name_of(service)}: {engine} is one pod's, and there may be {group['maxReplicas']}"
                if engine == _EDGE:
                    config = configs[service["metadata"]["name"]]
                    yield from (f"{name_of(service)}: {problem}" for problem in _edge_problems(service, config))


def _edge_problems(service: Object, config: ManifestServeConfig) -> Iterator[str]:
    """Two processes cannot hold one shard, not for a moment."""
    if service["spec"]["upgradeStrategy"]["type"] != "None":
        yield f"{_EDGE} is one process's, and an upgrade brings a second cluster"
    for deployment in (d for application in config.applications for d in application.deployments):
        replicas = deployment.autoscaling_config.max_replicas if deployment.autoscaling_config else 1
        if deployment.name == "retrieval" and (deployment.max_surge_percent != 0 or replicas > 1):
            yield f"{_EDGE} is one process's: max_surge_percent must be 0, and one replica the most"


def _embedded_engines(variables: Mapping[str, str | None]) -> Iterator[tuple[str, str | None]]:
    """(what it is, where its files are)."""
    try:
        if "KAIROS_RETRIEVAL_DATA_DIR" in variables:
            retrieval = load_settings(RetrievalSettings, nested(RetrievalSettings, variables))
            if retrieval.engine == "edge":
                yield _EDGE, variables["KAIROS_RETRIEVAL_DATA_DIR"]
        if "KAIROS_RANKER_DATA_DIR" in variables:
            ranker = load_settings(RankerSettings, nested(RankerSettings, variables))
            if ranker.store == "sqlite":
                yield "the profiles' SQLite", variables["KAIROS_RANKER_DATA_DIR"]
        if "KAIROS_QUERY_ENCODER_DATA_DIR" in variables:
            encoder = load_settings(QueryEncoderSettings, nested(QueryEncoderSettings, variables))
            if encoder.lexicon == "sqlite":
                yield "the lexicon's SQLite", variables["KAIROS_QUERY_ENCODER_DATA_DIR"]
    except InvalidArgument:
        return  # named already
    if "KAIROS_PRICING_DATA_DIR" in variables:
        yield "the audit log's SQLite", variables["KAIROS_PRICING_DATA_DIR"]
