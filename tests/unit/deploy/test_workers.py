"""Workers of running Ray clusters: what `python -m deploy.workers` asks of kubectl, which a script stands for."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks.__main__ import problems_of
from deploy.checks.build import OVERLAYS, Object, Overlay, objects_in
from deploy.workers import main
from tests.needed import needs

# Builds as kubectl does, answers `get` from files, and keeps the words of each `patch`.
KUBECTL = """\
#!/bin/sh
[ "$1" = kustomize ] && exec {kubectl} "$@"
[ "$1" = --namespace ] || exit 2
shift; echo "$1" >> {folder}/namespaces; shift
case "$1" in
  get) if [ -e "{folder}/$2-$3" ]; then cat "{folder}/$2-$3"; elif [ "$4" != --ignore-not-found ]; then exit 1; fi ;;
  patch) printf '%s\\n' "$@" >> {folder}/patched ;;
  *) exit 2 ;;
esac
"""


class Cluster:
    """Stands for the cluster. `limits` and `replicas` are those of the running ranker."""

    def __init__(self, folder: Path, objects: list[Object]) -> None:
        self.folder, self.objects = folder, objects
        (self.ranker,) = (item for item in objects if item["metadata"]["name"] == "kairos-ranker" and "spec" in item
                          and item["kind"] == "RayService")  # fmt: skip

    def run(self, limits: tuple[int, int], replicas: int) -> None:
        status = {"activeServiceStatus": {"rayClusterName": "kairos-ranker-abcde"}}
        self._put("rayservice-kairos-ranker", {**self.ranker, "status": status})
        spec = copy.deepcopy(self.ranker["spec"]["rayClusterConfig"])
        other = {"groupName": "of-an-operator", "replicas": 1, "minReplicas": 1, "maxReplicas": 1}
        group = spec["workerGroupSpecs"][0]
        group |= {"minReplicas": limits[0], "maxReplicas": limits[1], "replicas": replicas}
        cluster = {"metadata": {"name": "kairos-ranker-abcde"}, "spec": {**spec, "workerGroupSpecs": [other, group]}}
        self._put("raycluster-kairos-ranker-abcde", cluster)

    def _put(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(json.dumps(content))

    @property
    def patched(self) -> list[str]:
        file = self.folder / "patched"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def cluster(tmp_path: Path, overlays: dict[str, list[Object]], monkeypatch: pytest.MonkeyPatch) -> Cluster:
    needs("kubectl")
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(kubectl=shutil.which("kubectl"), folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return Cluster(tmp_path, overlays["production"])


PRODUCTION = str(OVERLAYS["production"])


def test_limits_are_written_into_the_running_cluster(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster with other limits than the overlay gets the overlay's, by the place of its group, and nothing else."""
    cluster.run(limits=(2, 9), replicas=9)
    assert main(["limits", PRODUCTION]) == 0
    *words, patch = cluster.patched
    assert words == ["patch", "raycluster", "kairos-ranker-abcde", "--type=json"]
    assert json.loads(patch.removeprefix("--patch=")) == [
        {"op": "test", "path": "/spec/workerGroupSpecs/1/groupName", "value": "workers"},
        {"op": "replace", "path": "/spec/workerGroupSpecs/1/maxReplicas", "value": 20},
    ]
    assert capsys.readouterr().out == "kairos-ranker-abcde workers: maxReplicas 9 -> 20\n"
    assert set((cluster.folder / "namespaces").read_text().split()) == {"kairos"}


def test_limits_that_are_set_are_left_alone(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is patched where the limits are those of the overlay."""
    cluster.run(limits=(2, 20), replicas=7)
    assert main(["limits", PRODUCTION]) == 0
    assert cluster.patched == []
    assert "all limits are as in the overlay" in capsys.readouterr().out


def test_an_upgrade_starts_at_the_present_size(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """A stage with seven workers gets seven in its new cluster, and as many replicas; the rest is the overlay."""
    cluster.run(limits=(2, 20), replicas=7)
    assert main(["upgrade", PRODUCTION]) == 0
    objects = objects_in(capsys.readouterr().out)
    (ranker,) = (
        item for item in objects if item["kind"] == "RayService" and item["metadata"]["name"] == "kairos-ranker"
    )
    group = ranker["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (7, 2, 20)
    (application,) = yaml.safe_load(ranker["spec"]["serveConfigV2"])["applications"]
    scaling = application["deployments"][0]["autoscaling_config"]
    assert (scaling["initial_replicas"], scaling["min_replicas"], scaling["max_replicas"]) == (7, 2, 16)
    assert [item for item in objects if item != ranker] == [item for item in cluster.objects if item != cluster.ranker]
    assert problems_of(Overlay(objects), None) == []


@pytest.mark.parametrize(("replicas", "workers", "initial"), [(2, 2, None), (30, 20, 16)])
def test_an_upgrade_stays_within_the_limits(
    replicas: int, workers: int, initial: int | None, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stage at its minimum stays as the overlay has it; one above the maximum starts at the maximum."""
    cluster.run(limits=(2, 20), replicas=replicas)
    assert main(["upgrade", PRODUCTION]) == 0
    objects = objects_in(capsys.readouterr().out)
    (ranker,) = (
        item for item in objects if item["kind"] == "RayService" and item["metadata"]["name"] == "kairos-ranker"
    )
    assert ranker["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["replicas"] == workers
    (application,) = yaml.safe_load(ranker["spec"]["serveConfigV2"])["applications"]
    assert application["deployments"][0]["autoscaling_config"].get("initial_replicas") == initial


def test_before_the_first_cluster_the_overlay_is_unchanged(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a running cluster there is no size to keep; the command says so."""
    assert main(["upgrade", PRODUCTION]) == 0
    said = capsys.readouterr()
    assert objects_in(said.out) == cluster.objects
    assert "RayService/kairos-ranker: no cluster serves yet" in said.err


def test_an_error_of_kubectl_is_passed_on(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """A Ray cluster that is gone: the exit status is 1."""
    cluster.run(limits=(2, 20), replicas=7)
    (cluster.folder / "raycluster-kairos-ranker-abcde").unlink()
    assert main(["limits", PRODUCTION]) == 1
