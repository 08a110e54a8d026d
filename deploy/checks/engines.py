"""Redis, Qdrant and the OpenTelemetry collector: what we use of their images and settings; all else is refused.

After the documentation of the versions in components/versions. What is used for the first time is added here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.checks.build import Object
from deploy.checks.pods import Pod, config_maps_of, environment, pods_of
from deploy.checks.strict_yaml import StrictLoader

_Switch = Literal["true", "false"]


@dataclass(frozen=True)
class Engine:
    """What its image is like: the tag, the programs that one may call in it, the user that it runs as, its folders."""

    tag: re.Pattern[str]
    programs: frozenset[str] = frozenset()
    user: int | None = None
    # Where it writes.
    folders: frozenset[str] = frozenset()


_ENGINES = {
    "qdrant/qdrant": Engine(
        re.compile(r"v\d+\.\d+\.\d+-unprivileged"), user=1000,
        folders=frozenset({"/qdrant/storage", "/qdrant/snapshots"}),
    ),
    "redis": Engine(re.compile(r"\d+\.\d+\.\d+-(bookworm|trixie|alpine)"), frozenset({"redis-server", "sh"}), 999),
    "otel/opentelemetry-collector": Engine(re.compile(r"\d+\.\d+\.\d+")),
}  # fmt: skip


def engine_of(image: str) -> Engine | None:
    """By the image's name, whatever registry it comes from."""
    name = re.split(r"[:@]", image)[0] if "/" not in image.rpartition(":")[2] else image
    return next((engine for known, engine in _ENGINES.items() if name == known or name.endswith(f"/{known}")), None)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RedisConf(_Strict):
    """redis.conf, one directive a line. Not optional: without these an acknowledged event can be lost."""

    dir: Annotated[str, Field(pattern="^/")]
    appendonly: Literal["yes"]
    appendfsync: Literal["always", "everysec"]
    maxmemory_policy: Literal["noeviction"] = Field(alias="maxmemory-policy")
    maxmemory: str | None = Field(default=None, pattern="^[0-9]+(mb|gb)$")
    save: str | None = None


class QdrantVariables(_Strict):
    """QDRANT__* of its container; two underscores join the groups of its config.yaml."""

    QDRANT__SERVICE__ENABLE_TLS: Literal["true"]
    QDRANT__SERVICE__API_KEY: None
    QDRANT__TLS__CERT: str
    QDRANT__TLS__KEY: str
    QDRANT__STORAGE__SNAPSHOTS_CONFIG__SNAPSHOTS_STORAGE: Literal["s3"]
    QDRANT__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__BUCKET: None
    QDRANT__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__REGION: None
    QDRANT__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__ENDPOINT_URL: None
    QDRANT__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__ACCESS_KEY: None
    QDRANT__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__SECRET_KEY: None
    QDRANT__TELEMETRY_DISABLED: _Switch
    QDRANT__CLUSTER__ENABLED: _Switch = "false"
    QDRANT_INIT_FILE_PATH: str


class _Endpoint(_Strict):
    endpoint: str = Field(pattern=r"^0\.0\.0\.0:\d+$")


class _Grpc(_Strict):
    grpc: _Endpoint


class _Otlp(_Strict):
    protocols: _Grpc


class _Receivers(_Strict):
    otlp: _Otlp


class _MemoryLimiter(_Strict):
    check_interval: str = Field(pattern=r"^\d+s$")
    limit_percentage: int = Field(gt=0, le=100)
    spike_limit_percentage: int = Field(gt=0, le=100)


class _Processors(_Strict):
    memory_limiter: _MemoryLimiter
    batch: dict[str, Any] = Field(max_length=0)


class _Debug(_Strict):
    verbosity: Literal["basic", "normal", "detailed"]


class _Exporters(_Strict):
    """Of others, for your traces, we know nothing."""

    model_config = ConfigDict(extra="allow")
    debug: _Debug | None = None


class _Extensions(_Strict):
    health_check: _Endpoint


class _Pipeline(_Strict):
    receivers: list[str] = Field(min_length=1)
    processors: list[str]
    exporters: list[str] = Field(min_length=1)


class _Pipelines(_Strict):
    traces: _Pipeline


class _CollectorService(_Strict):
    extensions: list[str]
    pipelines: _Pipelines


class CollectorConfig(_Strict):
    receivers: _Receivers
    processors: _Processors
    exporters: _Exporters
    extensions: _Extensions
    service: _CollectorService


def engine_problems(objects: list[Object]) -> Iterator[str]:
    """One line for each thing that an engine would not take, or that does not fit its pod."""
    config_maps = config_maps_of(objects)
    for pod in pods_of(objects):
        for container in pod.containers:
            for problem in _problems(pod, container, config_maps):
                yield f"{pod.owner}: {problem}"


def _problems(pod: Pod, container: Object, config_maps: Mapping[str, Object]) -> Iterator[str]:
    engine = engine_of(container["image"])
    mounts = {mount["mountPath"] for mount in container.get("volumeMounts", []) if not mount.get("readOnly")}
    yield from (f"{folder} is no volume" for folder in sorted((engine.folders if engine else set()) - mounts))
    match re.split(r"[:@]", container["image"].rpartition("/")[2])[0]:
        case "redis":
            yield from _redis(pod, container, config_maps)
        case "qdrant":
            variables = {n: v for n, v in environment(container, config_maps).items() if n.startswith("QDRANT")}
            yield from _held(QdrantVariables, variables, "variable")
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                if container.get(probe, {}).get("httpGet", {}).get("scheme") != "HTTPS":
                    yield f"{probe} speaks no TLS, and Qdrant does"
        case "opentelemetry-collector":
            yield from _collector(pod, config_maps)


def _redis(pod: Pod, container: Object, config_maps: Mapping[str, Object]) -> Iterator[str]:
    lines = [line.split() for line in _file(pod, "redis.conf", config_maps).splitlines()]
    directives = {words[0]: " ".join(words[1:]) for words in lines if words and not words[0].startswith("#")}
    yield from _held(RedisConf, directives, "redis.conf")
    folder = PurePosixPath(directives.get("dir", "/"))
    if not any(folder.is_relative_to(mount["mountPath"]) and mount["name"] in pod.claims
               for mount in container["volumeMounts"]):  # fmt: skip
        yield f"redis.conf: {folder} is on no disk"
    command = container["command"]
    if command[1:2] != ["/etc/redis/redis.conf"] or "--requirepass" not in command:
        yield f"{' '.join(command)} takes no redis.conf or no password"


def _collector(pod: Pod, config_maps: Mapping[str, Object]) -> Iterator[str]:
    content = yaml.load(_file(pod, "config.yaml", config_maps), StrictLoader)
    yield from _held(CollectorConfig, content, "config.yaml")
    try:
        config = CollectorConfig.model_validate(content)
    except ValidationError:
        return
    traces = config.service.pipelines.traces
    for what, used in (
        ("receivers", traces.receivers), ("processors", traces.processors), ("exporters", traces.exporters),
        ("extensions", config.service.extensions),
    ):  # fmt: skip
        if set(used) != set(content[what]):
            yield f"config.yaml: {sorted(content[what])} are set up as {what}, {sorted(used)} are used"
    for port, endpoint in (
        ("otlp-grpc", config.receivers.otlp.protocols.grpc), ("health", config.extensions.health_check),
    ):  # fmt: skip
        number = int(endpoint.endpoint.rpartition(":")[2])
        if pod.ports.get(port) != number:
            yield f"port {port} is {pod.ports.get(port)}, config.yaml says {number}"


def _file(pod: Pod, name: str, config_maps: Mapping[str, Object]) -> str:
    """A file of a config map that the pod mounts; empty where there is none."""
    maps = [volume["configMap"]["name"] for volume in pod.spec.get("volumes", []) if "configMap" in volume]
    return next((config_maps.get(m, {}).get("data", {}).get(name, "") for m in maps), "")


def _held(model: type[BaseModel], content: Any, what: str) -> Iterator[str]:
    try:
        model.model_validate(content)
    except ValidationError as error:
        yield from (f"{what} {'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
