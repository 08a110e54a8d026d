"""Environment variables: settings that the services take, references that resolve, paths that lead to a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from cli.suite.settings import SuiteSettings
from deploy.checks.build import Object, Overlay, Pod, Problem
from deploy.checks.images import image_of
from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings, load_settings
from services.gateway.settings import GatewaySettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.pricing.settings import PricingSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from training.learner.settings import LearnerSettings

Stateful = QueryEncoderSettings | RetrievalSettings | RankerSettings | PricingSettings | LearnerSettings
# Of each application.
SETTINGS_OF: dict[str, type[Stateful]] = {
    "query_encoder": QueryEncoderSettings, "retrieval": RetrievalSettings, "ranker": RankerSettings,
    "pricing": PricingSettings,
}  # fmt: skip
# Of programs without Ray, by their module; the learner reads from the ranker's where log and registry are.
_SETTINGS_OF_MODULE: dict[str | None, tuple[type[ServiceSettings], ...]] = {
    "services.gateway": (GatewaySettings,), "training.learner": (LearnerSettings, RankerSettings),
    # `kairos backup` reads where each service keeps its state.
    "cli.main": (SuiteSettings, *SETTINGS_OF.values()),
}  # fmt: skip
_ALL: tuple[type[ServiceSettings], ...] = (GatewaySettings, *SETTINGS_OF.values(), LearnerSettings, SuiteSettings)
# Torch runs the model itself, without an exported one; the command line reads where services keep state, no model.
_EXPORTED, _MODEL = "KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR", "KAIROS_QUERY_ENCODER_MODEL_DIR"
_REFERENCE = re.compile(r"\$\(?(\w+)\)?")
# In Python, and in the shell.
_READ = re.compile(r"os\.environ\[\"(\w+)\"\]|\$\{?([A-Z_]+)")
_PATH = re.compile(r"^(?:--?[\w-]+=)?(/[\w./-]+)$")
Settings = TypeVar("Settings", bound=ServiceSettings)


def settings_problems(overlay: Overlay) -> Iterator[Problem]:
    """One for each KAIROS_* variable that is no setting of a program in its pod, or has a value that is refused."""
    for pod in overlay.pods:
        readers = _readers(pod, overlay)
        for container in pod.all_containers:
            variables = overlay.environment(container)
            used = {name for value in variables.values() for name in _REFERENCE.findall(value or "")}
            for name in (name for name in variables if name.startswith("KAIROS_") and name not in used):
                if not any(name.startswith(prefix(kind)) for kind in _ALL):
                    yield Problem(pod.owner, f"{name} is a setting of no service")
                elif not any(name.startswith(prefix(kind)) for kind in readers):
                    yield Problem(pod.owner, f"{name} is a setting of no service that runs here")
            for kind in _ALL:
                own = frozenset((name, value) for name, value in variables.items() if name.startswith(prefix(kind)))
                yield from (Problem(pod.owner, what) for what in _violations(kind, own))


def _readers(pod: Pod, overlay: Overlay) -> tuple[type[ServiceSettings], ...]:
    """The settings of the programs in a pod; of an image that is not ours, all."""
    if pod.node_type:
        return tuple(SETTINGS_OF[a.name] for a in overlay.serve_configs[pod.name].applications if a.name in SETTINGS_OF)
    image = image_of(pod.containers[0]["image"])
    return _SETTINGS_OF_MODULE.get(image.module, ()) if image else _ALL


@cache
def _violations(kind: type[ServiceSettings], variables: frozenset[tuple[str, str | None]]) -> tuple[str, ...]:
    """Cached: most pods of most overlays have the same variables."""
    try:
        load_settings(kind, _nested(kind, dict(variables)))
    except InvalidArgument as error:
        return tuple(f"{prefix(kind)}{v.field.replace('.', '__').upper()}: {v.description}" for v in error.violations)
    return ()


def settings_from(kind: type[Settings], variables: Mapping[str, str | None]) -> Settings | None:
    """None where the service would refuse a value, which `settings_problems` reports."""
    try:
        return load_settings(kind, _nested(kind, variables))
    except InvalidArgument:
        return None


def _nested(kind: type[ServiceSettings], variables: Mapping[str, str | None]) -> dict[str, Any]:
    """{"KAIROS_GATEWAY_SERVER__PORT": "1"} -> {"server": {"port": "1"}}; a value only the cluster knows is a word."""
    settings: dict[str, Any] = {}
    for name, value in variables.items():
        rest = name.removeprefix(prefix(kind))
        if rest == name or rest == "CONFIG":
            continue
        group = settings
        *groups, last = rest.lower().split("__")
        for part in groups:
            group = group.setdefault(part, {})
        group[last] = "known-to-the-cluster" if value is None else value
    return settings


def prefix(kind: type[ServiceSettings]) -> str:
    return kind.model_config.get("env_prefix", "")


def variable_problems(overlay: Overlay) -> Iterator[Problem]:
    """One for each variable that is missing, set too late, or leads to no file."""
    for pod in overlay.pods:
        for container in pod.all_containers:
            variables = overlay.environment(container)
            scripts = "\n".join(_scripts(pod, container, overlay))
            read = {name for found in _READ.findall(scripts) for name in found if name}
            for name in sorted(read - variables.keys()):
                yield Problem(pod.owner, f"the script reads {name}, which is not set", own=True)
            yield from (Problem(pod.owner, what) for what in _unresolved(container, overlay))
            yield from (Problem(pod.owner, what) for what in _path_problems(pod, container, variables, overlay))


def _unresolved(container: Object, overlay: Overlay) -> Iterator[str]:
    """Kubernetes resolves $(NAME) by what stands before: config maps and secrets, then the list from its top."""
    before = set(overlay.environment({"envFrom": container.get("envFrom", [])}))
    for variable in container.get("env", []):
        for name in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
            if name not in before:
                yield f"{variable['name']} refers to $({name}), which is not set before it"
        before.add(variable["name"])
    for text in _texts(container):
        for name in set(_REFERENCE.findall(text)) - before - set(re.findall(r"\b(\w+)=", text)):
            yield f"{text!r} refers to {name}, which is not set"


def _texts(container: Object) -> Iterator[str]:
    yield from (*container.get("command", []), *container.get("args", []))
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        yield from container.get(probe, {}).get("exec", {}).get("command", [])


def _path_problems(pod: Pod, container: Object, variables: Mapping[str, str | None], overlay: Overlay) -> Iterator[str]:
    image = image_of(container["image"])
    unread = {_EXPORTED} if variables.get("KAIROS_QUERY_ENCODER_BACKEND") == "torch" else set()
    unread |= {_EXPORTED, _MODEL} if image and image.module == "cli.main" else set()
    named = [*((name, value or "") for name, value in variables.items() if name not in unread),
             *((text, text) for text in _texts(container))]  # fmt: skip
    for where, path in ((where, PurePosixPath(found[1])) for where, text in named if (found := _PATH.match(text))):
        mount = _mount_of(path, container)
        if mount is None:
            # A head has the settings of the replicas and runs none.
            if image and pod.node_type != "head" and not image.has(path):
                yield f"{where} is {path}, which is in no volume and not in {container['image']}"
            continue
        volume, rest = _volume(mount, pod), path.relative_to(mount["mountPath"])
        files = _files(volume, overlay)
        if files is not None and str(rest) not in (".", *files):
            yield f"{where} is {path}, and there is no {rest} in the volume {mount['name']}"
        for filler, folder in _copied_into(volume, pod):
            if (source := image_of(filler)) and not source.has(folder / rest):
                yield f"{where} is {path}, and there is no {folder / rest} in {filler}, which fills {mount['name']}"


def _copied_into(volume: Object, pod: Pod) -> Iterator[tuple[str, PurePosixPath]]:
    """The images whose init containers fill an empty volume by `cp -r FOLDER/. …`, and the folders."""
    for container in pod.spec.get("initContainers", []) if "emptyDir" in volume else []:
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        if volume["name"] in mounts and container.get("command", [])[:1] == ["cp"]:
            yield container["image"], PurePosixPath(container["command"][-2])


def _files(volume: Object, overlay: Overlay) -> set[str] | None:
    """Names of the files in a volume; None where only the cluster knows."""
    secrets = {item["metadata"]["name"]: item.get("stringData", {}) for item in overlay.secrets}
    for kind, name, known in (("secret", "secretName", secrets), ("configMap", "name", overlay.config_maps)):
        if kind in volume:
            items = volume[kind].get("items")
            found = known.get(volume[kind][name])
            return {item["path"] for item in items} if items else None if found is None else set(found)
    return None


def _scripts(pod: Pod, container: Object, overlay: Overlay) -> Iterator[str]:
    """The text of each script that the container's command names, where a config map has it."""
    for text in _texts(container):
        if text.endswith((".py", ".sh")) and (mount := _mount_of(PurePosixPath(text), container)):
            name = _volume(mount, pod).get("configMap", {}).get("name", "")
            yield overlay.config_maps.get(name, {}).get(PurePosixPath(text).name, "")


def _mount_of(path: PurePosixPath, container: Object) -> Object | None:
    mounts = [m for m in container.get("volumeMounts", []) if path.is_relative_to(m["mountPath"])]
    return max(mounts, key=lambda mount: len(mount["mountPath"]), default=None)


def _volume(mount: Object, pod: Pod) -> Object:
    """Empty where it is a claim of a StatefulSet."""
    volumes: list[Object] = pod.spec.get("volumes", [])
    return next((volume for volume in volumes if volume["name"] == mount["name"]), {})


def writable(path: Path, container: Object) -> bool:
    mount = _mount_of(PurePosixPath(path), container)
    return mount is not None and not mount.get("readOnly", False)


def on_disk(path: Path, container: Object, pod: Pod) -> bool:
    """Whether files there outlive the pod."""
    mount = _mount_of(PurePosixPath(path), container)
    return mount is not None and "persistentVolumeClaim" in _volume(mount, pod)
