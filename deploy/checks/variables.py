"""Environment variables: settings that the services take, references that resolve, paths that lead to a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from deploy.checks.build import Object, Overlay, Pod, Problem
from deploy.checks.images import image_of
from experiments.settings import ExperimentSettings
from ops.settings import SuiteSettings
from services.assistant.settings import AssistantSettings
from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings, load_settings
from services.common.stage_access import StageAccessSettings
from services.control.settings import ControlSettings
from services.gateway.settings import GatewaySettings
from services.learner.settings import LearnerSettings
from services.pricing.publisher.settings import PricePublisherSettings
from services.pricing.settings import PricingSettings
from services.query_encoder.settings import QueryEncoderSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.settings import SponsoredSettings

Stateful = (
    QueryEncoderSettings
    | RetrievalSettings
    | RankerSettings
    | PricingSettings
    | LearnerSettings
    | PricePublisherSettings
    | BillerSettings
)
# Of each application.
SETTINGS_OF: dict[str, type[Stateful | SponsoredSettings | AssistantSettings]] = {
    "query_encoder": QueryEncoderSettings, "retrieval": RetrievalSettings, "ranker": RankerSettings,
    "pricing": PricingSettings, "sponsored": SponsoredSettings, "assistant": AssistantSettings,
}  # fmt: skip
# Of programs without Ray, by their module. The learner reads from the ranker's where log and registry are, the price
# publisher from pricing's its rules.
_SETTINGS_OF_MODULE: dict[str | None, tuple[type[ServiceSettings], ...]] = {
    "services.gateway": (GatewaySettings, StageAccessSettings), "services.learner": (LearnerSettings, RankerSettings),
    "services.pricing": (PricePublisherSettings, PricingSettings), "services.control": (ControlSettings,),
    "services.sponsored": (BillerSettings,),
    # `kairos backup` reads where each service keeps its state; the same image stops experiments.
    "cli.main": (SuiteSettings, *SETTINGS_OF.values(), BillerSettings, ExperimentSettings),
}  # fmt: skip
_ALL: tuple[type[ServiceSettings], ...] = (
    GatewaySettings, *SETTINGS_OF.values(), LearnerSettings, PricePublisherSettings, BillerSettings, ControlSettings,
    SuiteSettings, StageAccessSettings, ExperimentSettings,
)  # fmt: skip
# Torch runs the model itself, without an exported one; the command line reads where services keep state, no model.
_EXPORTED, _MODEL = "KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR", "KAIROS_QUERY_ENCODER_MODEL_DIR"
# Options of the command `kairos`.
_OF_COMMAND = {"KAIROS_API_KEY", "KAIROS_TARGET"}
_REFERENCE = re.compile(r"\$\((\w+)\)")
_PATH = re.compile(r"^(?:--?[\w-]+=)?(/[\w./-]+)$")
Settings = TypeVar("Settings", bound=ServiceSettings)


def variable_problems(overlay: Overlay) -> Iterator[Problem]:
    """One for each variable that is no setting, refers to a missing one, or leads to no file."""
    yield from _settings_problems(overlay)
    for pod in overlay.pods:
        for container in pod.all_containers:
            variables = overlay.environment(container)
            yield from (Problem(pod.owner, what) for what in _unresolved(container, overlay))
            yield from _path_problems(pod, container, variables, overlay)


def _settings_problems(overlay: Overlay) -> Iterator[Problem]:
    """One for each KAIROS_* variable that is no setting of a program in its pod, or has a value that is refused."""
    for pod in overlay.pods:
        readers = _readers(pod, overlay)
        for container in pod.all_containers:
            variables = overlay.environment(container)
            used = {name for value in variables.values() for name in _REFERENCE.findall(value or "")}
            for name in (name for name in variables if name.startswith("KAIROS_") and name not in used | _OF_COMMAND):
                if not any(name.startswith(_prefix(kind)) for kind in _ALL):
                    yield Problem(pod.owner, f"{name} is a setting of no service")
                elif not any(name.startswith(_prefix(kind)) for kind in readers):
                    yield Problem(pod.owner, f"{name} is a setting of no service that runs here")
            for kind in _ALL:
                if isinstance(error := _loaded(kind, _own(kind, variables)), InvalidArgument):
                    for violation in error.violations:
                        name = _prefix(kind) + violation.field.replace(".", "__").upper()
                        yield Problem(pod.owner, f"{name}: {violation.description}")


def settings_from(kind: type[Settings], variables: Mapping[str, str | None]) -> Settings | None:
    """None where the service would refuse a value, which `variable_problems` reports."""
    loaded = _loaded(kind, _own(kind, variables))
    return loaded if isinstance(loaded, kind) else None


def _readers(pod: Pod, overlay: Overlay) -> tuple[type[ServiceSettings], ...]:
    """The settings of the programs in a pod; of an image that is not ours, all."""
    if pod.node_type:
        applications = overlay.serve_configs[pod.name].applications
        return (*(SETTINGS_OF[a.name] for a in applications if a.name in SETTINGS_OF), StageAccessSettings)
    image = image_of(pod.containers[0]["image"])
    return _SETTINGS_OF_MODULE.get(image.module, ()) if image else _ALL


@cache
def _loaded(kind: type[ServiceSettings], own: frozenset[tuple[str, str | None]]) -> ServiceSettings | InvalidArgument:
    """Cached: most pods of most overlays have the same variables."""
    settings: dict[str, Any] = {}
    for name, value in own:
        group = settings
        # KAIROS_GATEWAY_SERVER__PORT is {"server": {"port": …}}.
        *groups, last = name.removeprefix(_prefix(kind)).lower().split("__")
        for part in groups:
            group = group.setdefault(part, {})
        group[last] = "known-to-the-cluster" if value is None else value
    settings.pop("config", None)
    try:
        return load_settings(kind, settings)
    except InvalidArgument as error:
        return error


def _own(kind: type[ServiceSettings], variables: Mapping[str, str | None]) -> frozenset[tuple[str, str | None]]:
    return frozenset((name, value) for name, value in variables.items() if name.startswith(_prefix(kind)))


def _prefix(kind: type[ServiceSettings]) -> str:
    return kind.model_config.get("env_prefix", "")


def _unresolved(container: Object, overlay: Overlay) -> Iterator[str]:
    """Kubernetes resolves $(NAME) by what stands before: config maps and secrets, then the list from its top."""
    before = set(overlay.environment({"envFrom": container.get("envFrom", [])}))
    for variable in container.get("env", []):
        for name in set(_REFERENCE.findall(variable.get("value") or "")) - before:
            yield f"{variable['name']} refers to $({name}), which is not set before it"
        before.add(variable["name"])
    for text in (*container.get("command", []), *container.get("args", [])):
        for name in set(_REFERENCE.findall(text)) - before:
            yield f"{text!r} refers to $({name}), which is not set"


def _path_problems(
    pod: Pod, container: Object, variables: Mapping[str, str | None], overlay: Overlay
) -> Iterator[Problem]:
    image = image_of(container["image"])
    unread = {_EXPORTED} if variables.get("KAIROS_QUERY_ENCODER_BACKEND") == "torch" else set()
    unread |= {_EXPORTED, _MODEL} if image and image.module == "cli.main" else set()
    named = [(name, value or "") for name, value in variables.items() if name not in unread]
    for where, text in (*named, *((text, text) for key in ("command", "args") for text in container.get(key, []))):
        if (found := _PATH.match(text)) is None:
            continue
        path = PurePosixPath(found[1])
        if mount := _mount_of(path, container):
            rest, files = str(path.relative_to(mount["mountPath"])), _files(_volume(mount, pod), overlay)
            if files is not None and rest not in (".", *files):
                yield Problem(pod.owner, f"{where} is {path}, and there is no {rest} in the volume {mount['name']}")
        # A head beside workers has the settings of the replicas and runs none.
        elif image and (pod.serves or not pod.node_type) and not image.has(path):
            what = f"{where} is {path}, which is in no volume and not in {container['image']}"
            yield Problem(pod.owner, what, own=True)


def _files(volume: Object, overlay: Overlay) -> set[str] | None:
    """Names of the files in a volume; None where only the cluster knows."""
    for kind, name, known in (
        ("secret", "secretName", overlay.secret_keys), ("configMap", "name", overlay.config_maps),
    ):  # fmt: skip
        if kind in volume and volume[kind][name] in known:
            items = volume[kind].get("items")
            return {item["path"] for item in items} if items else set(known[volume[kind][name]])
    return None


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
