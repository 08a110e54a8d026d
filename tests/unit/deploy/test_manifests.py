"""The manifests of deploy/k8s: every overlay holds, and each mutation is found and named."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from deploy.checks.__main__ import main, problems_of
from deploy.checks.build import OVERLAYS, Object, Overlay, example_secrets
from deploy.checks.schemas import Crds
from deploy.checks.unfilled import unfilled_problems
from deploy.secrets import filled
from tests.needed import needs
from tests.unit.deploy.mutations import CUSTOM_RESOURCES, MUTATIONS, Mutation, mutated

Overlays = dict[str, list[Object]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_holds(overlay: str, overlays: Overlays, crds: Crds | None) -> None:
    """Each object holds to its schema, and what it names is in the other objects and in the code."""
    assert problems_of(Overlay(overlays[overlay]), crds) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.message)
def test_a_mutation_is_found(mutation: Mutation, overlays: Overlays) -> None:
    """A planted fault is found without CustomResourceDefinitions, and the message names object and field."""
    problems = [str(problem) for problem in problems_of(Overlay(mutated(overlays[mutation.overlay], mutation)), None)]
    assert any(re.search(mutation.message, problem) for problem in problems), problems


@pytest.mark.parametrize("mutation", CUSTOM_RESOURCES, ids=lambda mutation: mutation.message)
def test_a_mutation_of_a_custom_resource_is_found(mutation: Mutation, overlays: Overlays, crds: Crds | None) -> None:
    """A field that the published CustomResourceDefinition does not have is an error."""
    if crds is None:
        pytest.skip("there are no published CustomResourceDefinitions beside the repository")
    problems = [str(problem) for problem in problems_of(Overlay(mutated(overlays[mutation.overlay], mutation)), crds)]
    assert any(re.search(mutation.message, problem) for problem in problems), problems


def test_an_object_without_a_required_field_is_named() -> None:
    """A RayService without its cluster, and no definition to refuse it: an error, no traceback."""
    item = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "r"},
        "spec": {"serveConfigV2": "applications: []"},
    }
    (problem,) = problems_of(Overlay([item]), None)
    assert "lacks the field 'rayClusterConfig'" in str(problem)


# What another shop's overlay may well have, and this repository's have not.
ADOPTER = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: shop
resources: [{production}, issuer.yaml]
patches:
  - target: {{kind: Deployment, name: kairos-gateway}}
    patch: |-
      - {{op: add, path: /spec/template/spec/imagePullSecrets, value: [{{name: registry}}]}}
      - {{op: add, path: /spec/template/spec/tolerations, value: [{{key: dedicated, operator: Exists}}]}}
      - {{op: add, path: /spec/template/spec/priorityClassName, value: shop-critical}}
      - op: add
        path: /spec/template/spec/containers/0/env/-
        value: {{name: HTTPS_PROXY, valueFrom: {{secretKeyRef: {{name: proxy, key: url}}}}}}
  - target: {{kind: NetworkPolicy, name: callers-to-gateway}}
    patch: |-
      - op: replace
        path: /spec/ingress/0/from
        value: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: web}}}}}}]
images:
  - {{name: kairos/gateway, newName: registry.example.com/shop/kairos-gateway, newTag: "7"}}
"""
ISSUER = """\
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: shop}
spec: {selfSigned: {}}
"""


# It leaves the content open.
DEFINITION = """\
kind: CustomResourceDefinition
spec:
  group: {group}
  names: {{kind: {kind}}}
  versions:
    - name: v1
      served: true
      schema:
        openAPIV3Schema: {{type: object, properties: {{spec: {{x-kubernetes-preserve-unknown-fields: true}}}}}}
"""


def adopted(folder: Path, more: str = "") -> list[str]:
    """Options of the command for an overlay outside of the repository. `more`: the end of its kustomization."""
    needs("kubectl")
    overlay = folder / "shop"
    overlay.mkdir()
    production = os.path.relpath(OVERLAYS["production"].resolve(), overlay.resolve())
    (overlay / "kustomization.yaml").write_text(ADOPTER.format(production=production) + more)
    (overlay / "issuer.yaml").write_text(ISSUER)
    definitions = folder / "crds"
    definitions.mkdir()
    for kind in ("RayService", "ServiceMonitor", "PodMonitor", "PrometheusRule"):
        group = "ray.io" if kind == "RayService" else "monitoring.coreos.com"
        (definitions / f"{kind}.yaml").write_text(DEFINITION.format(group=group, kind=kind))
    return ["--crds", str(definitions), str(overlay)]


def test_rules_of_this_repository_are_warnings_for_another_overlay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another overlay's kind, secrets, toleration, priority class and callers are warnings: the exit status is 0."""
    assert main(adopted(tmp_path)) == 0
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("warning: shop: ") for line in lines)
    for expected in (
        "no CustomResourceDefinition serves cert-manager.io/v1 Issuer", "there is no secret proxy",
        "tolerates dedicated", "there is no PriorityClass shop-critical",
        "a pod of another namespace: may not reach port 50050",
    ):  # fmt: skip
        assert any(expected in line for line in lines), (expected, lines)


def test_a_broken_reference_in_another_overlay_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that no service has is an error in any overlay: the exit status is 1."""
    literals = "configMapGenerator:\n  - {name: kairos-ranker, behavior: merge, literals: [KAIROS_RANKER_EXPLORE=1]}\n"
    assert main(adopted(tmp_path, literals)) == 1
    assert "error: shop: RayService/kairos-ranker workers: KAIROS_RANKER_EXPLORE" in capsys.readouterr().err


def test_a_value_that_is_not_filled_in_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The secrets as `deploy.secrets` writes them lack the bucket: each value is named, until it is filled in."""
    made, file = filled(example_secrets(), "a-key", datetime.now(UTC)), tmp_path / "secrets.yaml"
    file.write_text(yaml.safe_dump_all(made))
    options = [*adopted(tmp_path), "--secrets", str(file)]
    assert main(options) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 5
    assert "error: shop: Secret/kairos-snapshots: stringData.bucket still has <fill in>: fill it in" in errors
    file.write_text(file.read_text().replace("<fill in>", "shop"))
    assert main(options) == 0


def test_a_value_of_an_overlay_that_is_not_filled_in_is_found(overlays: Overlays) -> None:
    """Also in other objects, and in the encoded values of a secret."""
    item = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"url": "https://<your store>/"}}
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": b64encode(b"<fill in>").decode()}}
    assert [str(problem) for problem in unfilled_problems([*overlays["production"], item, secret])] == [
        "ConfigMap/c: data.url still has <your store>: fill it in", "Secret/s: data.key still has <fill in>: fill it in"
    ]  # fmt: skip


def test_without_definitions_the_command_says_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --crds one line says that custom resources are not validated."""
    assert main(adopted(tmp_path)[-1:]) == 0
    assert "Custom resources are not validated" in capsys.readouterr().out
