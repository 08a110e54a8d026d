"""What the manifests say of Kairos, held against the code: applications, addresses, settings, flags, images, state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from cli.suite.hosting import SERVICER_FUNCTIONS, Application
from cli.suite.settings import SuiteSettings
from deploy.checks.build import Object, name_of
from deploy.checks.pods import Pod, environment, pods_of, selects
from deploy.checks.serve_config import ManifestServeConfig, WrongServeConfig, serve_config_of
from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings, load_settings
from services.gateway.domain.budget import Stage
from services.gateway.settings import GatewaySettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.pricing.settings import PricingSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from training.learner.settings import LearnerSettings

ROOT = Path(__file__).parents[2]
_SETTINGS: tuple[type[ServiceSettings], ...] = (
    GatewaySettings, QueryEncoderSettings, RetrievalSettings, RankerSettings, PricingSettings,
    LearnerSettings, SuiteSettings,
)  # fmt: skip
# Without one of them on every node, calls go through Serve's own Python proxy, or worker pods are never ready.
_NEEDED_FLAGS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
_SERVE_SUFFIX = "-serve-svc"
_ADDRESS = re.compile(r"\b(kairos-[a-z0-9-]+):([0-9]+)")
_REFERENCE = re.compile(r"\$\((\w+)\)")


def suite_problems(objects: list[Object]) -> Iterator[str]:
    """One line for each thing that the manifests say and the code does not know, or that would not work together."""
    config_maps = {item["metadata"]["name"]: item for item in objects if item["kind"] == "ConfigMap"}
    configs, problems = _serve_configs(objects)
    yield from problems
    if problems:
        return  # what follows from them would only hide them
    pods = pods_of(objects)
    for pod in pods:
        for container in pod.all_containers:
            variables = environment(container, config_maps)
            yield from (f"{pod.owner}: {problem}" for problem in _settings_problems(variables))
            yield from (f"{pod.owner}: {problem}" for problem in _address_problems(variables, objects, configs))
            yield from (f"{pod.owner}: {problem}" for problem in _image_problems(container["image"]))
            yield from (f"{pod.owner}: {container['name']} {problem}" for problem in _hardening(container, pod))
        if "ray.io/node-type" in pod.labels:
            yield from (f"{pod.owner}: {p}" for p in _flag_problems(environment(pod.containers[0], config_maps)))
    yield from chain(
        _application_problems(objects, configs),
        _gateway_problems(objects, pods, config_maps, configs),
        _learner_problems(pods, config_maps),
        _state_problems(objects, config_maps),
        _way_problems(objects, pods, configs),
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


def _application_problems(objects: list[Object], configs: Mapping[str, ManifestServeConfig]) -> Iterator[str]:
    known = {stage.value for stage in Stage}
    homes: dict[str, list[str]] = {name: [] for name in known}
    for name, config in configs.items():
        service = next(o for o in objects if o["kind"] == "RayService" and o["metadata"]["name"] == name)
        cluster = service["spec"]["rayClusterConfig"]
        yield from (f"RayService/{name}: {problem}" for problem in _fitting(config, cluster))
        for application in config.applications:
            homes.setdefault(application.name, []).append(name)
            yield from (f"RayService/{name}: {p}" for p in _code_problems(application, config, cluster))
    for application_name, services in homes.items():
        if application_name not in known:
            yield f"RayService/{services[0]}: the gateway calls no application {application_name}"
        elif len(services) != 1:
            yield f"application {application_name} is in {len(services)} RayServices, not in one"


def _fitting(config: ManifestServeConfig, cluster: Object) -> Iterator[str]:
    """Ports and CPUs of the pods against what Serve is told."""
    for role, template in _templates(cluster):
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0].get("ports", [])}
        for port, number in (("serve", config.http_options.port), ("serve-grpc", config.grpc_options.port)):
            if ports.get(port) != number:
                yield f"{role}: port {port} is {ports.get(port)}, Serve listens on {number}"
        if cluster["autoscalerOptions"]["version"] == "v2" and template["spec"].get("restartPolicy") != "Never":
            yield f"{role}: restartPolicy must be Never, or the autoscaler v2 loses track of its pods"
    for group in cluster["workerGroupSpecs"]:
        name, cpus = group["groupName"], float(group["rayStartParams"].get("num-cpus", 0))
        deployments = [deployment for application in config.applications for deployment in application.deployments]
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


def _code_problems(application: Application, config: ManifestServeConfig, cluster: Object) -> Iterator[str]:
    module, _, function = application.import_path.partition(":")
    file = ROOT / f"{module.replace('.', '/')}.py"
    if not file.is_file() or f"def {function}(" not in file.read_text():
        yield f"application {application.name}: there is no {application.import_path}"
        return
    servicer = f"services.common.direct_ingress.add_{application.name}"
    if servicer not in config.grpc_options.grpc_servicer_functions:
        yield f"application {application.name}: grpc_servicer_functions lacks {servicer}"
    for function in config.grpc_options.grpc_servicer_functions:
        if function not in SERVICER_FUNCTIONS:
            yield f"application {application.name}: there is no {function}"
    for role, template in _templates(cluster):
        image = template["spec"]["containers"][0]["image"]
        dockerfile = _dockerfile(image)
        extra = "pricing" if application.name == "pricing" else application.name.replace("_", "-")
        if dockerfile.is_file() and extra not in _extras(dockerfile):
            yield f"{role}: {image} is built without what {application.name} needs, the extra {extra}"


def _templates(cluster: Object) -> Iterator[tuple[str, Object]]:
    yield "head", cluster["headGroupSpec"]["template"]
    yield from ((group["groupName"], group["template"]) for group in cluster["workerGroupSpecs"])


def _gateway_problems(
    objects: list[Object],
    pods: list[Pod],
    config_maps: Mapping[str, Object],
    configs: Mapping[str, ManifestServeConfig],
) -> Iterator[str]:
    for pod in (pod for pod in pods if pod.owner == "Deployment/kairos-gateway"):
        try:
            settings = gateway_settings(environment(pod.containers[0], config_maps))
        except InvalidArgument:
            return  # named already
        for name, port, host in (
            ("grpc", settings.server.port, settings.server.host),
            ("metrics", settings.metrics.port, settings.metrics.host),
        ):
            yield from _listening(pod, "gateway", name, port, host)
        for stage in Stage:
            host, _, _port = settings.stages.of(stage).target.rpartition(":")
            config = configs.get(host.removesuffix(_SERVE_SUFFIX))
            if config is None or stage.value not in {application.name for application in config.applications}:
                yield f"{pod.owner}: {stage.value} is looked for at {host}, where no RayService serves it"


def _learner_problems(pods: list[Pod], config_maps: Mapping[str, Object]) -> Iterator[str]:
    for pod in (pod for pod in pods if pod.owner == "Deployment/kairos-learner"):
        try:
            variables = environment(pod.containers[0], config_maps)
            metrics = load_settings(LearnerSettings, _nested(LearnerSettings, variables)).metrics
        except InvalidArgument:
            return  # named already
        yield from _listening(pod, "learner", "metrics", metrics.port, metrics.host)


def _listening(pod: Pod, who: str, name: str, port: int, host: str) -> Iterator[str]:
    if pod.ports.get(name) != port:
        yield f"{pod.owner}: port {name} is {pod.ports.get(name)}, the {who} listens on {port}"
    if host != "0.0.0.0":
        yield f"{pod.owner}: {name} listens on {host}, where nobody outside the pod reaches it"


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


def _address_problems(
    variables: Mapping[str, str | None], objects: list[Object], configs: Mapping[str, ManifestServeConfig]
) -> Iterator[str]:
    """Every kairos-…:port that a variable names is a Service of the overlay with that port."""
    ports = {
        item["metadata"]["name"]: {port["port"] for port in item["spec"]["ports"]}
        for item in objects
        if item["kind"] == "Service"
    }
    ports |= {
        f"{name}{_SERVE_SUFFIX}": {config.http_options.port, config.grpc_options.port}
        for name, config in configs.items()
    }
    for variable, value in variables.items():
        for host, port in _ADDRESS.findall(value or ""):
            if host not in ports:
                yield f"{variable} names {host}, and there is no such service"
            elif int(port) not in ports[host]:
                yield f"{variable} names port {port} of {host}, which has {sorted(ports[host])}"


def _flag_problems(variables: Mapping[str, str | None]) -> Iterator[str]:
    for flag, value in _NEEDED_FLAGS.items():
        if variables.get(flag) != value:
            yield f"{flag} is {variables.get(flag)}, and must be {value} on every node"
    known = _serve_flags()
    for name in variables:
        if name.startswith("RAY_SERVE_") and name not in known:
            yield f"Ray Serve knows no flag {name}"


def _serve_flags() -> set[str]:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.submodule_search_locations is not None
    constants = Path(ray.submodule_search_locations[0]) / "serve" / "_private" / "constants.py"
    return set(re.findall(r'"(RAY_SERVE_\w+)"', constants.read_text()))


def _image_problems(image: str) -> Iterator[str]:
    """An exact version each; ours have a Dockerfile."""
    if not re.search(r":[^:/]*\d[^:/]*$|@sha256:[0-9a-f]{64}$", image):
        yield f"image {image} has no version"
    if "kairos/" in image and not _dockerfile(image).is_file():
        yield f"image {image} has no {_dockerfile(image).relative_to(ROOT)}"


def _dockerfile(image: str) -> Path:
    name = re.split(r"[:@]", image.rpartition("/")[2])[0]
    return ROOT / "deploy" / "docker" / f"{name.replace('-', '_')}.Dockerfile"


def _extras(dockerfile: Path) -> list[str]:
    found = re.search(r"^ARG EXTRAS=(\S+)$", dockerfile.read_text(), re.MULTILINE)
    return found.group(1).split(",") if found else []


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
    }
    # What listens nowhere answers no probe.
    if container in pod.containers and container.get("ports"):
        wanted |= {"has probes": "readinessProbe" in container and "livenessProbe" in container}
    yield from (f"must be one that {what}" for what, holds in wanted.items() if not holds)


def _state_problems(objects: list[Object], config_maps: Mapping[str, Object]) -> Iterator[str]:
    """An embedded engine is one pod's: a second pod would have a state of its own."""
    for service in (item for item in objects if item["kind"] == "RayService"):
        for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
            variables = environment(group["template"]["spec"]["containers"][0], config_maps)
            for engine in _embedded_engines(variables):
                if group["maxReplicas"] > 1:
                    yield f"{name_of(service)}: {engine} is one pod's, and there may be {group['maxReplicas']}"


def _way_problems(objects: list[Object], pods: list[Pod], configs: Mapping[str, ManifestServeConfig]) -> Iterator[str]:
    """A Service that has a RayService's name leads to its workers, and nowhere else."""
    for service in (item for item in objects if item["kind"] == "Service" and item["metadata"]["name"] in configs):
        behind = {pod.owner for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)}
        wanted = f"RayService/{service['metadata']['name']} workers"
        if behind != {wanted}:
            yield f"{name_of(service)}: leads to {', '.join(sorted(behind)) or 'no pod'}, not to {wanted}"


def _embedded_engines(variables: Mapping[str, str | None]) -> Iterator[str]:
    try:
        if "KAIROS_RETRIEVAL_DATA_DIR" in variables:
            retrieval = load_settings(RetrievalSettings, _nested(RetrievalSettings, variables))
            if retrieval.engine == "edge":
                yield "Qdrant Edge"
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
