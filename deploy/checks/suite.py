"""What the manifests say of Kairos, held against the code: applications, addresses, settings, flags, images, state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from cli.suite.hosting import SERVICER_FUNCTIONS, Application
from deploy.checks.addresses import SERVE_SUFFIX, address_problems
from deploy.checks.build import DEPLOY, Object, name_of
from deploy.checks.dockerfiles import ROOT, dockerfile, extras, is_ours
from deploy.checks.pods import Pod, config_maps_of, environment, is_head, pods_of
from deploy.checks.serve_config import ManifestServeConfig, WrongServeConfig, serve_config_of
from deploy.checks.variables import variable_problems, writable
from deploy.checks.words import quantity
from kairos.gateway.v1 import gateway_pb2
from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings, load_settings
from services.gateway.domain.budget import Stage
from services.gateway.settings import GatewaySettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.pricing.settings import PricingSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from training.learner.settings import LearnerSettings

_SETTINGS: tuple[type[ServiceSettings], ...] = (
    GatewaySettings, QueryEncoderSettings, RetrievalSettings, RankerSettings, PricingSettings,
    LearnerSettings,
)  # fmt: skip
# What one machine and a cluster have alike (cli/suite/hosting.py), and a place for what has no folder of its own.
_MEASURED_FLAGS = {
    "RAY_worker_niceness", "RAY_USAGE_STATS_ENABLED", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM",
    "RAY_SERVE_HAPROXY_NBTHREAD", "RAY_SERVE_HAPROXY_METRICS_ENABLED", "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "HOME",
}  # fmt: skip
# Without one of them on every node, calls go through Serve's own Python proxy, or worker pods are never ready.
_NEEDED_FLAGS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
_EDGE = "Qdrant Edge"
_STANDARD_RPCS = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}
# Qdrant's client asks OpenSSL for REST and gRPC's own list for gRPC.
_AUTHORITIES = {"SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}
_Stateful = QueryEncoderSettings | RetrievalSettings | RankerSettings | PricingSettings | LearnerSettings
# Of each application.
_SETTINGS_OF: dict[str, type[_Stateful]] = {
    "query_encoder": QueryEncoderSettings, "retrieval": RetrievalSettings, "ranker": RankerSettings,
    "pricing": PricingSettings,
}  # fmt: skip
_REFERENCE = re.compile(r"\$\((\w+)\)")


def suite_problems(objects: list[Object], secrets: list[Object], deploy: Path = DEPLOY) -> Iterator[str]:
    """One line for each thing that the manifests say and the code does not know, or that would not work together."""
    config_maps = config_maps_of(objects)
    configs, problems = _serve_configs(objects)
    yield from problems
    if problems:
        return  # what follows from them would only hide them
    pods = pods_of(objects)
    for pod in pods:
        for container in pod.all_containers:
            variables = environment(container, config_maps)
            yield from (f"{pod.owner}: {problem}" for problem in _settings_problems(variables))
            yield from (f"{pod.owner}: {p}" for p in variable_problems(pod, container, config_maps, secrets, deploy))
            yield from (f"{pod.owner}: {problem}" for problem in _image_problems(container["image"], deploy))
            yield from (f"{pod.owner}: {container['name']} {problem}" for problem in _hardening(container, pod))
        if "ray.io/node-type" in pod.labels:
            yield from (f"{pod.owner}: {p}" for p in _flag_problems(environment(pod.containers[0], config_maps)))
    yield from chain(
        address_problems(objects),
        _application_problems(objects, configs, config_maps, deploy),
        _gateway_problems(pods, config_maps, configs),
        _state_problems(objects, configs, config_maps),
        _learner_problems(pods, config_maps),
        _trace_problems(pods, config_maps),
        _route_problems(objects),
    )


def _serve_configs(objects: list[Object]) -> tuple[dict[str, ManifestServeConfig], list[str]]:
    """Of each RayService, by its name."""
    configs, problems = {}, []
    for item in objects:
        if item["kind"] == "RayService":
            try:
                configs[item["metadata"]["name"]] = serve_config_of(item)
            except WrongServeConfig as error:
                problems += [f"{name_of(item)}: serveConfigV2: {problem}" for problem in error.problems]
    return configs, problems


def _application_problems(
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
        yield from (f"RayService/{name}: {problem}" for problem in chain(_fitting(config, cluster), _ray(cluster)))
        for function in config.grpc_options.grpc_servicer_functions:
            if function not in SERVICER_FUNCTIONS:
                yield f"RayService/{name}: there is no {function}"
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


def _fitting(config: ManifestServeConfig, cluster: Object) -> Iterator[str]:
    """Ports and CPUs of the pods against what Serve is told."""
    deployments = [deployment for application in config.applications for deployment in application.deployments]
    for role, template in _templates(cluster):
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0].get("ports", [])}
        for port, number in (("serve", config.http_options.port), ("serve-grpc", config.grpc_options.port)):
            if ports.get(port) != number:
                yield f"{role}: port {port} is {ports.get(port)}, Serve listens on {number}"
        if cluster["autoscalerOptions"]["version"] == "v2" and template["spec"].get("restartPolicy") != "Never":
            yield f"{role}: restartPolicy must be Never, or the autoscaler v2 loses track of its pods"
        patience = template["spec"].get("terminationGracePeriodSeconds", 30)
        if any(deployment.graceful_shutdown_timeout_s >= patience for deployment in deployments):
            yield f"{role}: is killed after {patience} s, before its replicas have ended"
    for deployment in deployments:
        scaling = deployment.autoscaling_config
        if scaling is not None and scaling.min_replicas > scaling.max_replicas:
            yield f"{deployment.name}: min_replicas is above max_replicas"
        if (scaling is None) == (deployment.num_replicas is None):
            yield f"{deployment.name}: sets one of num_replicas and autoscaling_config"
    for group in cluster["workerGroupSpecs"]:
        name, cpus = group["groupName"], _cpus(group)
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"{name}: replicas is not between minReplicas and maxReplicas"
        for kind, pods in (("min", group["minReplicas"]), ("max", group["maxReplicas"])):
            wanted = sum(
                deployment.ray_actor_options.num_cpus
                * (
                    getattr(deployment.autoscaling_config, f"{kind}_replicas")
                    if deployment.autoscaling_config
                    else deployment.num_replicas or 1
                )
                for deployment in deployments
            )
            if wanted > pods * cpus:
                yield f"{name}: {kind}imal replicas need {wanted:g} CPUs, its pods have {pods * cpus:g}"


def _ray(cluster: Object) -> Iterator[str]:
    """What `ray start` is told, against the Ray that is installed and the pods that it runs in."""
    if cluster["rayVersion"] != version("ray"):
        yield f"rayVersion is {cluster['rayVersion']}, the images have {version('ray')}"
    head = cluster["headGroupSpec"]
    for role, group in (("head", head), *((group["groupName"], group) for group in cluster["workerGroupSpecs"])):
        parameters, resources = group["rayStartParams"], group["template"]["spec"]["containers"][0]["resources"]
        for parameter, value in parameters.items():
            if parameter not in _start_options():
                yield f"{role}: `ray start` has no --{parameter}"
            elif parameter != "dashboard-host" and not value.isdecimal():
                yield f"{role}: {parameter} is {value}, and is a number"
        if (cpus := _cpus(group)) > quantity(resources["requests"]["cpu"]):
            yield f"{role}: Ray is told of {cpus} CPUs, the pod asks for {resources['requests']['cpu']}"
        if parameters.get("num-gpus", "0") != resources.get("limits", {}).get("nvidia.com/gpu", "0"):
            yield f"{role}: num-gpus is not what the pod asks for"
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "authOptions.mode must be token: who reaches Ray's ports runs code"
    if head["rayStartParams"].get("num-cpus") != "0":
        yield "head: num-cpus must be 0, or replicas go where there is no room for them"
    if head["rayStartParams"].get("dashboard-host") != "0.0.0.0":
        yield "head: dashboard-host must be 0.0.0.0, or KubeRay does not reach it"


def _cpus(group: Object) -> float:
    cpus = group["rayStartParams"].get("num-cpus", "0")
    return float(cpus) if cpus.isdecimal() else 0.0


@cache
def _start_options() -> frozenset[str]:
    """Of `ray start`, from the source of the Ray that is installed."""
    return frozenset(re.findall(r'"--([a-z-]+)"', (_ray_folder() / "scripts" / "scripts.py").read_text()))


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
    kind = _SETTINGS_OF.get(application.name)
    for role, template in _templates(cluster):
        container = template["spec"]["containers"][0]
        image, extra = container["image"], application.name.replace("_", "-")
        has = extras(image, deploy)
        if dockerfile(image, deploy).is_file() and extra not in has:
            yield f"{role}: {image} is built without what {application.name} needs, the extra {extra}"
        if kind is None:
            continue
        try:
            settings = load_settings(kind, _nested(kind, environment(container, config_maps)))
        except InvalidArgument:
            continue  # named already
        if role != "head":
            yield from (f"{role}: {problem}" for problem in _folder_problems(settings, container))
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


def _folder_problems(settings: _Stateful, container: Object) -> Iterator[str]:
    if not writable(settings.data_dir, container):
        yield f"data_dir is {settings.data_dir}, where nothing can be written"


def _templates(cluster: Object) -> Iterator[tuple[str, Object]]:
    yield "head", cluster["headGroupSpec"]["template"]
    yield from ((group["groupName"], group["template"]) for group in cluster["workerGroupSpecs"])


def _gateway_problems(
    pods: list[Pod], config_maps: Mapping[str, Object], configs: Mapping[str, ManifestServeConfig]
) -> Iterator[str]:
    for pod in (pod for pod in pods if pod.owner == "Deployment/kairos-gateway"):
        container = pod.containers[0]
        try:
            settings = gateway_settings(environment(container, config_maps))
        except InvalidArgument:
            return  # named already
        for name, port, host in (
            ("grpc", settings.server.port, settings.server.host),
            ("metrics", settings.metrics.port, settings.metrics.host),
        ):
            if pod.ports.get(name) != port:
                yield f"{pod.owner}: port {name} is {pod.ports.get(name)}, the gateway listens on {port}"
            if host != "0.0.0.0":
                yield f"{pod.owner}: {name} listens on {host}, where nobody outside the pod reaches it"
        for stage in Stage:
            host, _, _port = settings.stages.of(stage).target.rpartition(":")
            config = configs.get(host.removesuffix(SERVE_SUFFIX))
            if config is None or stage.value not in {application.name for application in config.applications}:
                yield f"{pod.owner}: {stage.value} is looked for at {host}, where no RayService serves it"
        # Kubernetes' own gRPC probe speaks no TLS.
        probes = [container.get(probe, {}) for probe in ("readinessProbe", "livenessProbe")]
        way = "grpc" if settings.security.certificate is None else "tcpSocket"
        if any(way not in probe for probe in probes):
            yield f"{pod.owner}: with TLS {'off' if way == 'grpc' else 'on'}, its probes are of the kind {way}"
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        patience = pod.spec.get("terminationGracePeriodSeconds", 30)
        if not sleep or sleep + settings.server.drain_s >= patience:
            yield f"{pod.owner}: preStop ({sleep} s) and drain_s are not over within {patience} s"


def _learner_problems(pods: list[Pod], config_maps: Mapping[str, Object]) -> Iterator[str]:
    """It writes where the rankers read."""
    for pod in (pod for pod in pods if pod.owner == "Deployment/kairos-learner"):
        container = pod.containers[0]
        variables = environment(container, config_maps)
        try:
            learner = load_settings(LearnerSettings, _nested(LearnerSettings, variables))
            ranker = load_settings(RankerSettings, _nested(RankerSettings, variables))
        except InvalidArgument:
            return  # named already
        yield from (f"{pod.owner}: {problem}" for problem in _folder_problems(learner, container))
        if not writable(ranker.models_dir, container):
            yield f"{pod.owner}: the registry is {ranker.models_dir}, where nothing can be written"
        if ranker.store != "redis":
            yield f"{pod.owner}: the ranker's log is in {ranker.store}, which is another pod's"


def _route_problems(objects: list[Object]) -> Iterator[str]:
    served = {service.full_name for service in gateway_pb2.DESCRIPTOR.services_by_name.values()} | _STANDARD_RPCS
    for route in (item for item in objects if item["kind"] == "GRPCRoute"):
        for match in (match for rule in route["spec"]["rules"] for match in rule["matches"]):
            if match["method"]["service"] not in served:
                yield f"{name_of(route)}: nobody serves {match['method']['service']}"


def _trace_problems(pods: list[Pod], config_maps: Mapping[str, Object]) -> Iterator[str]:
    """Where there is a collector, whoever serves sends his part of a trace to it."""
    if not any("otlp-grpc" in pod.ports for pod in pods):
        return
    for pod in pods:
        variables = environment(pod.containers[0], config_maps)
        for kind in (GatewaySettings, *_SETTINGS_OF.values()):
            serves = any(name.startswith(_prefix(kind)) for name in variables) and pod.containers[0].get("ports")
            if serves and f"{_prefix(kind)}TELEMETRY__OTLP_ENDPOINT" not in variables:
                yield f"{pod.owner}: {_prefix(kind)}TELEMETRY__OTLP_ENDPOINT is not set, and there is a collector"


def gateway_settings(variables: Mapping[str, str | None]) -> GatewaySettings:
    """As the gateway would read them. Raises InvalidArgument."""
    return load_settings(GatewaySettings, _nested(GatewaySettings, variables))


def _settings_problems(variables: Mapping[str, str | None]) -> Iterator[str]:
    """Each KAIROS_* variable is a setting of a service, and its value one that the service takes."""
    used = {name for value in variables.values() for name in _REFERENCE.findall(value or "")}
    for name in variables:
        if name.startswith("KAIROS_") and name not in used and not any(name.startswith(_prefix(s)) for s in _SETTINGS):
            yield f"{name} is a setting of no service"
    for kind in _SETTINGS:
        try:
            load_settings(kind, _nested(kind, variables))
        except InvalidArgument as error:
            for violation in error.violations:
                yield f"{_prefix(kind)}{violation.field.replace('.', '__').upper()}: {violation.description}"


def _nested(kind: type[ServiceSettings], variables: Mapping[str, str | None]) -> dict[str, Any]:
    """{"KAIROS_GATEWAY_SERVER__PORT": "1"} -> {"server": {"port": "1"}}; what only the cluster knows is a word."""
    settings: dict[str, Any] = {}
    for name, value in variables.items():
        rest = name.removeprefix(_prefix(kind))
        if rest == name or rest == "CONFIG":
            continue
        group = settings
        *groups, last = rest.lower().split("__")
        for part in groups:
            group = group.setdefault(part, {})
        group[last] = "known-to-the-cluster" if value is None else value
    return settings


def _prefix(kind: type[ServiceSettings]) -> str:
    return kind.model_config.get("env_prefix", "")


def _flag_problems(variables: Mapping[str, str | None]) -> Iterator[str]:
    for flag, value in _NEEDED_FLAGS.items():
        if variables.get(flag) != value:
            yield f"{flag} is {variables.get(flag)}, and must be {value} on every node"
    for flag in _MEASURED_FLAGS - variables.keys():
        yield f"{flag} is not set, and the suite was measured with it"
    known = _serve_flags()
    for name in variables:
        if name.startswith("RAY_SERVE_") and name not in known:
            yield f"Ray Serve knows no flag {name}"


def _serve_flags() -> set[str]:
    return set(re.findall(r'"(RAY_SERVE_\w+)"', (_ray_folder() / "serve" / "_private" / "constants.py").read_text()))


def _ray_folder() -> Path:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.submodule_search_locations is not None
    return Path(ray.submodule_search_locations[0])


def _image_problems(image: str, deploy: Path) -> Iterator[str]:
    """An exact version each; ours have a Dockerfile."""
    if not re.search(r":[^:/]*\d[^:/]*$|@sha256:[0-9a-f]{64}$", image):
        yield f"image {image} has no version"
    if is_ours(image) and not dockerfile(image, deploy).is_file():
        yield f"image {image} has no deploy/docker/{dockerfile(image, deploy).name}"


def _hardening(container: Object, pod: Pod) -> Iterator[str]:
    """What the namespace's `restricted` standard asks for, and what a scheduler needs to know."""
    context, outer = container.get("securityContext", {}), pod.spec.get("securityContext", {})
    wanted = {
        "runs as non-root": context.get("runAsNonRoot", outer.get("runAsNonRoot")) is True,
        "has a seccomp profile": "seccompProfile" in {**outer, **context},
        "gains no rights": context.get("allowPrivilegeEscalation") is False,
        "drops all capabilities": context.get("capabilities", {}).get("drop") == ["ALL"],
        "has a read-only root": context.get("readOnlyRootFilesystem") is True,
        "asks for CPU and memory": {"cpu", "memory"} <= {*container.get("resources", {}).get("requests", {})},
        "has a memory limit": "memory" in container.get("resources", {}).get("limits", {}),
        # Ray's autoscaler, beside the head, asks the API server.
        "has no token": is_head(pod) or pod.spec.get("automountServiceAccountToken") is False,
        # They would look like settings.
        "is not told of services by variables": pod.spec.get("enableServiceLinks") is False,
    }
    # What listens nowhere answers no probe.
    if container in pod.containers and container.get("ports"):
        wanted |= {"has probes": "readinessProbe" in container and "livenessProbe" in container}
    yield from (f"must be one that {what}" for what, holds in wanted.items() if not holds)


def _state_problems(
    objects: list[Object], configs: Mapping[str, ManifestServeConfig], config_maps: Mapping[str, Object]
) -> Iterator[str]:
    """An embedded engine is one pod's: a second pod would have a state of its own."""
    for service in (item for item in objects if item["kind"] == "RayService"):
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
            variables = environment(group["template"]["spec"]["containers"][0], config_maps)
            for engine in _embedded_engines(variables):
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


def _embedded_engines(variables: Mapping[str, str | None]) -> Iterator[str]:
    try:
        if "KAIROS_RETRIEVAL_DATA_DIR" in variables:
            retrieval = load_settings(RetrievalSettings, _nested(RetrievalSettings, variables))
            if retrieval.engine == "edge":
                yield _EDGE
        if "KAIROS_RANKER_DATA_DIR" in variables:
            ranker = load_settings(RankerSettings, _nested(RankerSettings, variables))
            if ranker.store == "sqlite":
                yield "the profiles' SQLite"
        if "KAIROS_QUERY_ENCODER_DATA_DIR" in variables:
            encoder = load_settings(QueryEncoderSettings, _nested(QueryEncoderSettings, variables))
            if encoder.lexicon == "sqlite":
                yield "the lexicon's SQLite"
    except InvalidArgument:
        return  # named already
    if "KAIROS_PRICING_DATA_DIR" in variables:
        yield "the audit log's SQLite"
