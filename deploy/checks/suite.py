"""What the manifests say of Kairos, held against the code: applications, addresses, settings, flags, images, state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import yaml

from deploy.checks.addresses import SERVE_SUFFIX, address_problems
from deploy.checks.applications import application_problems, folder_problems, state_problems
from deploy.checks.build import DEPLOY, Object, name_of
from deploy.checks.dockerfiles import dockerfile, entrypoint, is_ours
from deploy.checks.pods import Pod, config_maps_of, environment, is_head, pods_of, selects
from deploy.checks.ray_clusters import flag_problems
from deploy.checks.serve_config import ManifestServeConfig, WrongServeConfig, serve_config_of
from deploy.checks.service_settings import SETTINGS_OF, SETTINGS_OF_MODULE, nested, prefix, settings_problems
from deploy.checks.strict_yaml import StrictLoader
from deploy.checks.variables import variable_problems, writable
from kairos.gateway.v1 import gateway_pb2
from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings, load_settings
from services.gateway.domain.budget import Stage
from services.gateway.settings import GatewaySettings
from services.learner.settings import LearnerSettings
from services.ranker.settings import RankerSettings

_STANDARD_RPCS = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}


def suite_problems(objects: list[Object], secrets: list[Object], deploy: Path = DEPLOY) -> Iterator[str]:
    """One line for each thing that the manifests say and the code does not know, or that would not work together."""
    config_maps = config_maps_of(objects)
    configs, problems = _serve_configs(objects)
    yield from problems
    if problems:
        return  # what follows from them would only hide them
    pods = pods_of(objects)
    for pod in pods:
        readers = _readers(pod, configs, deploy)
        for container in pod.all_containers:
            variables = environment(container, config_maps)
            yield from (f"{pod.owner}: {problem}" for problem in settings_problems(variables, readers))
            yield from (f"{pod.owner}: {p}" for p in variable_problems(pod, container, config_maps, secrets, deploy))
            yield from (f"{pod.owner}: {problem}" for problem in _image_problems(container["image"], deploy))
            yield from (f"{pod.owner}: {container['name']} {problem}" for problem in _hardening(container, pod))
        if "ray.io/node-type" in pod.labels:
            yield from (f"{pod.owner}: {p}" for p in flag_problems(environment(pod.containers[0], config_maps)))
    yield from chain(
        address_problems(objects),
        application_problems(objects, configs, config_maps, deploy),
        _gateway_problems(pods, config_maps, configs),
        state_problems(objects, configs, config_maps),
        _learner_problems(pods, config_maps),
        _trace_problems(pods, config_maps),
        _way_problems(objects, pods, configs),
        _route_problems(objects),
        _secret_problems(secrets),
    )


def _readers(pod: Pod, configs: Mapping[str, ManifestServeConfig], deploy: Path) -> tuple[type[ServiceSettings], ...]:
    """The settings of what runs in a pod."""
    name = pod.owner.partition("/")[2].split(" ")[0]
    if "ray.io/node-type" in pod.labels:
        return tuple(SETTINGS_OF[a.name] for a in configs[name].applications if a.name in SETTINGS_OF)
    image = pod.containers[0]["image"]
    module = entrypoint(image, deploy) if dockerfile(image, deploy).is_file() else None
    return SETTINGS_OF_MODULE.get(module or "", ())


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


def _gateway_problems(
    pods: list[Pod], config_maps: Mapping[str, Object], configs: Mapping[str, ManifestServeConfig]
) -> Iterator[str]:
    for pod in (pod for pod in pods if pod.owner == "Deployment/kairos-gateway"):
        container = pod.containers[0]
        try:
            settings = load_settings(GatewaySettings, nested(GatewaySettings, environment(container, config_maps)))
        except InvalidArgument:
            return  # named already
        for name, port, host in (
            ("grpc", settings.server.port, settings.server.host),
            ("metrics", settings.metrics.port, settings.metrics.host),
        ):
            yield from _listening(pod, "gateway", name, port, host)
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
    """It writes where the rankers read, and is watched where it listens."""
    for pod in (pod for pod in pods if pod.owner == "Deployment/kairos-learner"):
        container = pod.containers[0]
        variables = environment(container, config_maps)
        try:
            learner = load_settings(LearnerSettings, nested(LearnerSettings, variables))
            ranker = load_settings(RankerSettings, nested(RankerSettings, variables))
        except InvalidArgument:
            return  # named already
        yield from _listening(pod, "learner", "metrics", learner.metrics.port, learner.metrics.host)
        yield from (f"{pod.owner}: {problem}" for problem in folder_problems(learner, container))
        if not writable(ranker.models_dir, container):
            yield f"{pod.owner}: the registry is {ranker.models_dir}, where nothing can be written"
        if ranker.store != "redis":
            yield f"{pod.owner}: the ranker's log is in {ranker.store}, which is another pod's"


def _listening(pod: Pod, who: str, name: str, port: int, host: str) -> Iterator[str]:
    if pod.ports.get(name) != port:
        yield f"{pod.owner}: port {name} is {pod.ports.get(name)}, the {who} listens on {port}"
    if host != "0.0.0.0":
        yield f"{pod.owner}: {name} listens on {host}, where nobody outside the pod reaches it"


def _way_problems(objects: list[Object], pods: list[Pod], configs: Mapping[str, ManifestServeConfig]) -> Iterator[str]:
    """A Service that has a RayService's name leads to its workers, and nowhere else."""
    for service in (item for item in objects if item["kind"] == "Service" and item["metadata"]["name"] in configs):
        behind = {pod.owner for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)}
        wanted = f"RayService/{service['metadata']['name']} workers"
        if behind != {wanted}:
            yield f"{name_of(service)}: leads to {', '.join(sorted(behind)) or 'no pod'}, not to {wanted}"


def _route_problems(objects: list[Object]) -> Iterator[str]:
    served = {service.full_name for service in gateway_pb2.DESCRIPTOR.services_by_name.values()} | _STANDARD_RPCS
    for route in (item for item in objects if item["kind"] == "GRPCRoute"):
        for match in (match for rule in route["spec"]["rules"] for match in rule["matches"]):
            if match["method"]["service"] not in served:
                yield f"{name_of(route)}: nobody serves {match['method']['service']}"


def _secret_problems(secrets: list[Object]) -> Iterator[str]:
    """The settings file within a secret; its placeholders stand for digests."""
    for secret in secrets:
        if text := secret["stringData"].get("gateway.yaml"):
            try:
                content = yaml.load(re.sub("<[^>]*>", "0" * 64, text), StrictLoader)
                load_settings(GatewaySettings, content)
            except (yaml.YAMLError, InvalidArgument) as error:
                yield f"{name_of(secret)}: gateway.yaml: {error}"


def _trace_problems(pods: list[Pod], config_maps: Mapping[str, Object]) -> Iterator[str]:
    """Where there is a collector, whoever serves sends his part of a trace to it."""
    if not any("otlp-grpc" in pod.ports for pod in pods):
        return
    for pod in pods:
        variables = environment(pod.containers[0], config_maps)
        for kind in (GatewaySettings, *SETTINGS_OF.values()):
            serves = any(name.startswith(prefix(kind)) for name in variables) and pod.containers[0].get("ports")
            if serves and f"{prefix(kind)}TELEMETRY__OTLP_ENDPOINT" not in variables:
                yield f"{pod.owner}: {prefix(kind)}TELEMETRY__OTLP_ENDPOINT is not set, and there is a collector"


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
        "gains no rights": context.get("allowPrivilegeEscalation") is False and not context.get("privileged"),
        "drops all capabilities": context.get("capabilities", {}) == {"drop": ["ALL"]},
        "is not root": context.get("runAsUser", outer.get("runAsUser")) != 0,
        "has nothing of its node": not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        and not any("hostPort" in port for port in container.get("ports", [])),
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
