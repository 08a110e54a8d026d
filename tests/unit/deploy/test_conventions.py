"""What this repository's manifests have in common, beyond what deploy/checks asks of every overlay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks.build import DEPLOY, OVERLAYS, Object, Overlay, Pod, selects
from deploy.checks.serve_config import given

ROOT = DEPLOY.parent
Overlays = dict[str, list[Object]]
KUSTOMIZATIONS = sorted((DEPLOY / "k8s").rglob("kustomization.yaml"))


def pinned(package: str) -> str:
    """Its version in constraints.txt."""
    (found,) = re.findall(rf"^{package}==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=lambda file: file.parent.name)
def test_a_kustomization_takes_every_file_beside_it(file: Path) -> None:
    """kustomize does not miss a file that no kustomization names."""
    others = {path.name for path in file.parent.iterdir() if path.is_file()} - {file.name}
    assert {name for name in others if name not in file.read_text()} == set()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_patch_has_a_target(overlay: str, overlays: Overlays) -> None:
    """kustomize leaves out a patch whose target is no object of the overlay, without a message."""
    names = [f"{item['kind']}/{item['metadata']['name']}" for item in overlays[overlay]]
    for target in targets(OVERLAYS[overlay]):
        pattern = f"{target['kind']}/{target.get('name', '.*')}"
        assert any(re.fullmatch(pattern, name) for name in names), target


def targets(folder: Path) -> Iterator[Object]:
    """Of all patches of a kustomization and of those that it includes."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    yield from (patch["target"] for patch in content.get("patches", []) if "target" in patch)
    for name in [*content.get("resources", []), *content.get("components", [])]:
        if (folder / name).is_dir():
            yield from targets(folder / name)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_exact_versions(overlay: str, overlays: Overlays) -> None:
    """Our images have this project's version, Qdrant its client's but for the last number, and none is `latest`."""
    images = {c["image"] for pod in Overlay(overlays[overlay]).pods for c in pod.all_containers}
    project = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]
    client = pinned("qdrant-client").rpartition(".")[0]
    for name, _, tag in (image.partition(":") for image in images):
        name = name.removeprefix("registry.example.com/")
        wanted = project if name.startswith("kairos/") else f"v{client}." if name == "qdrant/qdrant" else ""
        assert re.match(re.escape(wanted) + (r"$" if wanted == project else r".*\d"), tag), f"{name}:{tag}"


def test_a_site_names_every_image(overlays: Overlays) -> None:
    """The overlay to copy takes all images of this project, and of each optional component, from one registry."""
    content = yaml.safe_load((OVERLAYS["example"] / "kustomization.yaml").read_text())
    named = {image["name"]: image["newName"] for image in content["images"]}
    built = {c["image"].partition(":")[0] for pod in Overlay(overlays["production-with-options"]).pods
             for c in pod.all_containers}  # fmt: skip
    ours = {name for name in built if name.startswith("kairos/")}
    assert named == {name: f"registry.example.com/{name}" for name in ours | {"kairos/query-encoder"}}
    images = {c["image"].partition(":")[0] for pod in Overlay(overlays["example"]).pods for c in pod.all_containers}
    assert not {name for name in images if name.startswith("kairos/")}


def test_a_site_has_a_pull_secret_and_the_port_of_its_api_server(overlays: Overlays) -> None:
    """Every pod of the overlay to copy has the pull secret, and heads reach the API server on other ports."""
    overlay = Overlay(overlays["example"])
    assert {str(pod.spec.get("imagePullSecrets")) for pod in overlay.pods} == {"[{'name': 'kairos-registry'}]"}
    (policy,) = (p for p in overlay.of_kind("NetworkPolicy") if p["metadata"]["name"] == "heads-to-api-server")
    assert policy["spec"]["egress"] == [{"ports": [{"port": port} for port in (443, 6443, 8443, 16443)]}]


def test_a_laptop_has_room(overlays: Overlays) -> None:
    """All pods of `laptop` together request at most 3 CPUs and 6 GiB, and there is one pod of Ray."""
    pods = Overlay(overlays["laptop"]).pods
    requests = [container["resources"]["requests"] for pod in pods for container in pod.all_containers]
    assert sum(amount(request["cpu"]) for request in requests) <= 3
    assert sum(amount(request["memory"]) for request in requests) <= 6 * 2**30
    assert [pod.owner for pod in pods if pod.node_type] == ["RayService/kairos-suite head"]
    assert not Overlay(overlays["laptop"]).of_kind("HorizontalPodAutoscaler")


def amount(quantity: str) -> float:
    """A quantity of Kubernetes in CPUs or bytes."""
    number, unit = re.fullmatch(r"([\d.]+)(m|Mi|Gi|)", str(quantity)).groups()  # type: ignore[union-attr]
    return float(number) * {"": 1.0, "m": 0.001, "Mi": 2.0**20, "Gi": 2.0**30}[unit]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_autoscaling_looks_back_over_several_reports(overlay: str, overlays: Overlays) -> None:
    """`look_back_period_s` exceeds `metrics_interval_s`, which a future Ray requires."""
    for config in Overlay(overlays[overlay]).serve_configs.values():
        for scaling in (given(d.autoscaling_config, None) for a in config.applications for d in a.deployments):
            assert scaling is None or scaling.look_back_period_s > scaling.metrics_interval_s


def test_pods_hold_the_restricted_standard(overlays: Overlays) -> None:
    """Every container holds Kubernetes' standard `restricted`, has a read-only root, requests and a memory limit."""
    for name, objects in overlays.items():
        for pod in Overlay(objects).pods:
            for container in pod.all_containers:
                assert missing(container, pod) == set(), f"{name}: {pod.owner} {container['name']}"


def missing(container: Object, pod: Pod) -> set[str]:
    own, outer = container.get("securityContext", {}), pod.spec.get("securityContext", {})
    resources = container.get("resources", {})
    holds = {
        "non-root": outer.get("runAsNonRoot") is True and outer.get("runAsUser", 0) > 0,
        "seccomp": outer.get("seccompProfile") == {"type": "RuntimeDefault"},
        "no escalation": own.get("allowPrivilegeEscalation") is False,
        "no capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "read-only root": own.get("readOnlyRootFilesystem") is True,
        "requests": {"cpu", "memory"} <= {*resources.get("requests", {})},
        "memory limit": "memory" in resources.get("limits", {}),
        # Ray's autoscaler, in the head's pod, calls the API server.
        "no token": pod.node_type == "head" or pod.spec.get("automountServiceAccountToken") is False,
        # Variables of other Services would look like settings.
        "no service links": pod.spec.get("enableServiceLinks") is False,
        "probes": not container.get("ports") or {"readinessProbe", "livenessProbe"} <= container.keys(),
    }
    return {what for what, does in holds.items() if not does}


def test_every_port_for_metrics_is_scraped(overlays: Overlays) -> None:
    """Where production has monitors, one of them selects each pod with a port `metrics`."""
    overlay = Overlay(overlays["production-with-options"])
    scraped = [item["spec"]["selector"] for item in overlay.of_kind("PodMonitor", "ServiceMonitor")]
    for pod in (pod for pod in overlay.pods if "metrics" in pod.ports):
        assert any(selects(selector, pod.labels) for selector in scraped), pod.owner


def test_every_service_sends_traces(overlays: Overlays) -> None:
    """With the collector, each service has its address."""
    overlay = Overlay(overlays["production-with-options"])
    settings: dict[str, Any] = {name: data for data in overlay.config_maps.values() for name in data}
    for service in ("GATEWAY", "QUERY_ENCODER", "RETRIEVAL", "RANKER", "PRICING", "LEARNER"):
        name = f"KAIROS_{service}_TELEMETRY__OTLP_ENDPOINT"
        assert settings[name][name] == "kairos-otel-collector:4317"


@pytest.mark.parametrize(
    ("script", "job"),
    [("backup/backup.sh", "kairos-backup"), ("backup/restore.sh", "kairos-restore"),
     ("qdrant/snapshot.py", "kairos-qdrant-snapshots"), ("qdrant/start.sh", "kairos-qdrant")],
)  # fmt: skip
def test_a_job_sets_the_variables_of_its_script(script: str, job: str, overlays: Overlays) -> None:
    """Each variable that a script reads is set in the container that runs it."""
    overlay = Overlay(overlays["production"])
    (pod,) = (pod for pod in overlay.pods if pod.name == job)
    text = (DEPLOY / "k8s" / "components" / script).read_text()
    read = set(re.findall(r'os\.environ\["(\w+)"\]', text)) | set(re.findall(r"\$\{?([A-Z_]+)", text))
    assert read
    assert read - {"HOSTNAME"} <= overlay.environment(pod.containers[0]).keys()


@pytest.mark.parametrize("component", ["redis", "gcs-fault-tolerance"])
def test_redis_refuses_writes_before_it_is_killed(component: str) -> None:
    """`maxmemory` is at most three quarters of the container's limit, and nothing is evicted."""
    folder = DEPLOY / "k8s" / "components" / component
    directives = dict(
        line.split(" ", 1) for line in (folder / "redis.conf").read_text().splitlines() if line[:1] != "#"
    )
    (engine,) = (
        item for item in yaml.safe_load_all((folder / "redis.yaml").read_text()) if item["kind"] == "StatefulSet"
    )
    limit = engine["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    units = {"mb": 2**20, "gb": 2**30, "Mi": 2**20, "Gi": 2**30}
    most, room = (int(text[:-2]) * units[text[-2:]] for text in (directives["maxmemory"], limit))
    assert most <= 0.75 * room
    assert directives["maxmemory-policy"] == "noeviction"
