"""Environment variables, and paths in them: somebody reads each, and each path leads to something in the container."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from deploy.checks.build import DEPLOY, Object
from deploy.checks.dockerfiles import dockerfile, entrypoint, has_path
from deploy.checks.engines import engine_of
from deploy.checks.pods import Pod, environment, is_head

# Read by what is in the images, whoever wrote it.
_LIBRARIES = {
    "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HOME", "OTEL_RESOURCE_ATTRIBUTES",
    # OpenSSL, and gRPC.
    "SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    # pyarrow, for an object store.
    "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
}  # fmt: skip
_BACKEND = "KAIROS_QUERY_ENCODER_BACKEND"
_REFERENCE = re.compile(r"\$\(?(\w+)\)?")
# In Python, and in the shell.
_READ = re.compile(r"os\.environ\[\"(\w+)\"\]|\$\{?([A-Z_]+)")
# Of settings that the command line reads for where a service keeps what; the model it leaves alone.
_NOT_THE_CLIS = {"KAIROS_QUERY_ENCODER_MODEL_DIR", "KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR"}
_PATH = re.compile(r"^(?:--?[\w-]+=)?(/[\w./-]+)$")


def variable_problems(
    pod: Pod, container: Object, config_maps: Mapping[str, Object], secrets: list[Object], deploy: Path = DEPLOY
) -> Iterator[str]:
    """One line for each variable that nobody reads, misses, or that names a file which is not there."""
    files = {("configMap", name): {*item.get("data", {})} for name, item in config_maps.items()}
    files |= {("secret", item["metadata"]["name"]): {*item["stringData"]} for item in secrets}
    variables = environment(container, config_maps)
    read = {name for found in _READ.findall("\n".join(_scripts(pod, container, config_maps))) for name in found if name}
    used = {name for text in (*_texts(container), *(v or "" for v in variables.values()))
            for name in _REFERENCE.findall(text)}  # fmt: skip
    known = _LIBRARIES | used | read | rays_flags()
    for name in variables:
        # Ours are held against the settings, an engine's against what we know of it.
        if name not in known and not name.startswith("KAIROS_") and not engine_of(container["image"]):
            yield f"nobody reads the variable {name}"
    for name in sorted(read):
        if name not in variables:
            yield f"the script reads {name}, which is not set"
    yield from _unresolved(container, config_maps)
    paths = list(_paths(container, variables))
    for mount in container.get("volumeMounts", []):
        if {"secret", "configMap", "persistentVolumeClaim"} & _volume(mount, pod).keys() and not any(
            path.is_relative_to(mount["mountPath"]) for _, path in paths
        ):
            yield f"nothing in {container['name']} names a file below {mount['mountPath']}"
        named = {str(path) for _, path in paths}
        for name in sorted(_files(_volume(mount, pod), files) or () if "configMap" in _volume(mount, pod) else ()):
            if f"{mount['mountPath']}/{name}" not in named:
                yield f"nothing in {container['name']} names the file {name} of {mount['name']}"
    # Torch runs the model itself: nothing is exported.
    idle = {"KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR"} if variables.get(_BACKEND) == "torch" else set()
    if dockerfile(container["image"], deploy).is_file() and entrypoint(container["image"], deploy) == "cli.main":
        idle |= _NOT_THE_CLIS
    for where, path in (pair for pair in paths if pair[0] not in idle):
        # A head runs no replica, but has their settings; what it mounts it has to find as well.
        if not (is_head(pod) and not _mount_of(path, container)):
            yield from (f"{where} {problem}" for problem in _path_problems(path, pod, container, files, deploy))


def _unresolved(container: Object, config_maps: Mapping[str, Object]) -> Iterator[str]:
    """Kubernetes puts in only what stands before: config maps and secrets, then the list from its top."""
    before = set(environment({"envFrom": container.get("envFrom", [])}, config_maps))
    for variable in container.get("env", []):
        for name in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
            if name not in before:
                yield f"{variable['name']} asks for $({name}), which is not set before it"
        before.add(variable["name"])
    for text in _texts(container):
        own = set(re.findall(r"\b(\w+)=", text))
        for name in _REFERENCE.findall(text):
            if name not in before | own:
                yield f"{text!r} asks for {name}, which is not set"


def _texts(container: Object) -> Iterator[str]:
    yield from (*container.get("command", []), *container.get("args", []))
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        yield from container.get(probe, {}).get("exec", {}).get("command", [])


def _paths(container: Object, variables: Mapping[str, str | None]) -> Iterator[tuple[str, PurePosixPath]]:
    for name, value in variables.items():
        if value and (found := _PATH.match(value)):
            yield name, PurePosixPath(found[1])
    for text in _texts(container):
        if found := _PATH.match(text):
            yield text, PurePosixPath(found[1])


def _path_problems(
    path: PurePosixPath, pod: Pod, container: Object, files: Mapping[tuple[str, str], set[str]], deploy: Path
) -> Iterator[str]:
    mount = _mount_of(path, container)
    if mount is None:
        if not has_path(container["image"], path, deploy):
            yield f"is {path}, which is in no volume and not in the image"
        return
    volume = _volume(mount, pod)
    rest = path.relative_to(mount["mountPath"])
    there = _files(volume, files)
    if there is not None and str(rest) not in (".", *there):
        yield f"is {path}, and there is no {rest} in the volume {volume['name']}"
    for image, folder in _copied_into(volume, pod):
        if not has_path(image, folder / rest, deploy):
            yield f"is {path}, and there is no {folder / rest} in {image}, which fills the volume {volume['name']}"


def _copied_into(volume: Object, pod: Pod) -> Iterator[tuple[str, PurePosixPath]]:
    """The images whose init containers fill an empty volume by `cp -r FOLDER/. …`, and the folders."""
    for container in pod.spec.get("initContainers", []) if "emptyDir" in volume else []:
        if any(mount["name"] == volume["name"] for mount in container.get("volumeMounts", [])):
            yield container["image"], PurePosixPath(container["command"][-2])


def _files(volume: Object, files: Mapping[tuple[str, str], set[str]]) -> set[str] | None:
    """Names of the files in a volume; None where only the cluster knows."""
    for kind, name in (("secret", "secretName"), ("configMap", "name")):
        if kind in volume:
            items = volume[kind].get("items")
            return {item["path"] for item in items} if items else files.get((kind, volume[kind][name]), set())
    return None


def _mount_of(path: PurePosixPath, container: Object) -> Object | None:
    mounts = [m for m in container.get("volumeMounts", []) if path.is_relative_to(m["mountPath"])]
    return max(mounts, key=lambda mount: len(mount["mountPath"]), default=None)


def _volume(mount: Object, pod: Pod) -> Object:
    """Nothing where it is a claim of the pod's own."""
    volumes: list[Object] = pod.spec.get("volumes", [])
    return next((volume for volume in volumes if volume["name"] == mount["name"]), {})


def writable(path: Path, container: Object) -> bool:
    mount = _mount_of(PurePosixPath(path), container)
    return mount is not None and not mount.get("readOnly", False)


def on_disk(path: Path, container: Object, spec: Object) -> bool:
    """Whether what is written there outlives the pod."""
    mount = _mount_of(PurePosixPath(path), container)
    return mount is not None and any(
        volume["name"] == mount["name"] and "persistentVolumeClaim" in volume for volume in spec.get("volumes", [])
    )


def _scripts(pod: Pod, container: Object, config_maps: Mapping[str, Object]) -> Iterator[str]:
    """The text of each script that the container's command names, where a config map has it."""
    for text in _texts(container):
        mount = _mount_of(PurePosixPath(text), container) if text.endswith((".py", ".sh")) else None
        volume = _volume(mount, pod) if mount else {}
        data = config_maps.get(volume.get("configMap", {}).get("name", ""), {}).get("data", {})
        yield data.get(PurePosixPath(text).name, "")


@cache
def rays_flags() -> frozenset[str]:
    """Each RAY_* name in the source of the Ray that is installed."""
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    ray = Path(spec.origin).parent
    files = ("serve/_private/constants.py", "_private/ray_constants.py", "_common/usage/usage_constants.py")
    return frozenset(name for file in files for name in re.findall(r'"(RAY_\w+)"', (ray / file).read_text()))
