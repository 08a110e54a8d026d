"""The manifests of deploy/k8s: every overlay holds, and a slip of each kind is found and named."""

from __future__ import annotations

import copy
import re

import pytest

from deploy.checks.build import OPTIONS, OVERLAYS, SMALL_OPTIONS, Object, built_overlays, copied
from deploy.checks.checking import problems_of, problems_of_files, problems_over
from tests.needed import needs
from tests.unit.deploy.mistakes_elsewhere import ELSEWHERE
from tests.unit.deploy.mistakes_in_engines import IN_ENGINES
from tests.unit.deploy.mistakes_in_names import IN_NAMES
from tests.unit.deploy.mistakes_in_objects import IN_OBJECTS
from tests.unit.deploy.mistakes_in_ways import IN_WAYS
from tests.unit.deploy.planting import Mistake, policy

Overlays = dict[str, list[Object]]
# What is said of each, as a pattern.
MISTAKES: dict[Mistake, str] = IN_NAMES | IN_OBJECTS | IN_WAYS | IN_ENGINES


@pytest.mark.parametrize("overlay", [*OVERLAYS, OPTIONS, SMALL_OPTIONS])
def test_overlay_holds(overlay: str, overlays: Overlays, secrets: list[Object]) -> None:
    """An overlay builds; each object holds to its schema, and what one names the others and the code have."""
    assert problems_of(overlays[overlay], secrets) == []


def test_overlays_hold_together(overlays: Overlays, secrets: list[Object]) -> None:
    """Every file, policy, peer in one and key of a secret is for something in some overlay; docs name what is there."""
    assert problems_over(overlays, secrets) == []


def test_files_hold() -> None:
    """The Dockerfiles and Prometheus's own configuration are without a slip."""
    assert problems_of_files() == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_planted_mistake_is_named(mistake: Mistake, overlays: Overlays, secrets: list[Object]) -> None:
    """A slip in the production overlay is found, and the object and the field that have it are named."""
    objects = copy.deepcopy(overlays["production"])
    mistake(objects)
    problems = problems_of(objects, secrets)
    assert any(re.search(MISTAKES[mistake], problem) for problem in problems), problems


@pytest.mark.parametrize("mistake", ELSEWHERE, ids=lambda mistake: mistake.__name__)
def test_a_mistake_in_another_overlay_is_named(mistake: Mistake, overlays: Overlays, secrets: list[Object]) -> None:
    """A slip in what `production` does not take, embedded engines and what one may switch on, is found as well."""
    overlay, pattern = ELSEWHERE[mistake]
    objects = copy.deepcopy(overlays[overlay])
    mistake(objects)
    problems = problems_of(objects, secrets)
    assert any(re.search(pattern, problem) for problem in problems), problems


# What docs/deploying.md tells to change in `production`: its components, or the versions that run.
EDITS = {
    "a GPU": ("overlays/production", "# - ../../components/gpu-encoder", "- ../../components/gpu-encoder"),
    "no operator of Prometheus": ("overlays/production", r"  - \S*/monitoring\n", ""),
    "a Gateway": ("overlays/production", "components/tls", "components/gateway-route"),
    "a registry": ("components/versions", r"name: kairos/([\w-]*)", r"name: kairos/\1, newName: example.com/kairos/\1"),
    "a digest": ("components/versions", "newTag: v1.20.0-unprivileged", f'digest: "sha256:{64 * "a"}"'),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_the_docs_tell_to_change_holds(edit: str, secrets: list[Object]) -> None:
    """No false alarm: whoever follows the docs hears of no mistake."""
    needs("kubectl")
    folder, old, new = EDITS[edit]
    with copied() as deploy:
        file = deploy / "k8s" / folder / "kustomization.yaml"
        text, changes = re.subn(old, new, file.read_text())
        assert changes
        file.write_text(text)
        changed = built_overlays(deploy)
        problems = [*problems_of(changed["production"], secrets, deploy), *problems_over(changed, secrets, deploy)]
    assert problems == []


# A file of deploy/, what is changed in it, and what is said of it.
FILES = (
    ("docker/gateway.Dockerfile", '"services.gateway"', '"services.gatway"', "there is no python -m services.gatway"),
    ("docker/ranker.Dockerfile", "EXTRAS=ranker", "EXTRAS=rankr", "there is no extra rankr"),
    ("docker/ranker.Dockerfile", "USER 10001:10001", "USER kairos", "not user 10001"),
    ("docker/retrieval.Dockerfile", "--from=build /opt/kairos", "--from=build /opt/karos", "is nearly"),
    ("docker/retrieval.Dockerfile", "WORKDIR /src\n", "", "lacks 'WORKDIR /src'"),
    ("docker/suite.Dockerfile", "@sha256:65a9", "@sha256:65a8", "do not stand on one base"),
    ("docker/suite.Dockerfile", "adapters.onnx_export", "adapters.onnx_exprt", "no module services.query_encoder.ad"),
    ("monitoring/prometheus.yaml", "127.0.0.1:9464", "127.0.0.1:9465", "does not scrape 127.0.0.1:9464"),
    ("monitoring/prometheus.yaml", "rules.yaml", "rule.yaml", "there is no rule.yaml"),
    ("monitoring/prometheus.yaml", "scrape_interval", "scrape_intervall", "scrape_intervall"),
    ("monitoring/kustomization.yaml", "dashboards/ranker.json", "dashboards/rankr.json", "dashboards/ranker.json"),
)  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "pattern"), FILES)
def test_a_mistake_in_a_file_is_named(file: str, old: str, new: str, pattern: str) -> None:
    """A slip in a Dockerfile or in Prometheus's configuration is found, where no cluster would read it."""
    with copied() as deploy:
        text = (deploy / file).read_text()
        assert old in text
        (deploy / file).write_text(text.replace(old, new, 1))
        problems = problems_of_files(deploy)
    assert any(re.search(re.escape(pattern), problem) for problem in problems), problems


def test_a_key_of_a_secret_that_nobody_reads_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """A key of secrets.example.yaml that no overlay asks for is named: it is mostly a misspelt one."""
    changed = copy.deepcopy(secrets)
    changed[0]["stringData"]["tokn-key"] = "<random>"
    assert "Secret/kairos-gateway: nobody reads tokn-key" in problems_over(overlays, changed)


def test_a_patch_for_nothing_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """kustomize leaves out a patch whose target is nowhere without a word; it is named."""
    with copied() as deploy:
        file = deploy / "k8s" / "components" / "audit-log" / "kustomization.yaml"
        file.write_text(file.read_text().replace("kairos-pricing}", "kairos-pricer}", 1))
        problems = problems_over(overlays, secrets, deploy)
    assert any(re.search("audit-log/kustomization.yaml: .*kairos-pricer.* is nothing", p) for p in problems), problems


def test_an_empty_config_map_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """A generator of nothing is named: mtls without its one setting would ask no caller for a certificate."""
    with copied() as deploy:
        file = deploy / "k8s" / "components" / "mtls" / "kustomization.yaml"
        text = re.sub(r"literals: .*", "literals: []", file.read_text())
        file.write_text(text)
        problems = problems_over(overlays, secrets, deploy)
    assert "mtls/kustomization.yaml: nothing is in the config map kairos-gateway" in problems


def test_a_file_that_nobody_takes_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """A file that no kustomization lists any more is named: what it says would be missing, without a word."""
    with copied() as deploy:
        file = deploy / "k8s" / "base" / "gateway" / "kustomization.yaml"
        file.write_text(file.read_text().replace(", scaling.yaml", ""))
        problems = problems_over(overlays, secrets, deploy)
    assert "no overlay takes k8s/base/gateway/scaling.yaml" in problems


def test_a_name_that_the_docs_tell_to_type_is_there(overlays: Overlays, secrets: list[Object]) -> None:
    """Somebody who follows docs/deploying.md finds the secret that it names, or the checks say so."""
    renamed = [secret for secret in secrets if secret["metadata"]["name"] != "kairos-qdrant-tls"]
    problems = problems_over(overlays, renamed)
    assert "docs/deploying.md names kairos-qdrant-tls, and there is no such object" in problems


def test_a_slip_in_a_label_is_named(overlays: Overlays, secrets: list[Object]) -> None:
    """A policy that selects nothing any more is named: it would close or open nothing, without a word."""
    changed = copy.deepcopy(overlays)
    for objects in changed.values():
        policy(objects, "to-redis")["podSelector"] = {"matchLabels": {"app.kubernetes.io/componnt": "stage"}}
    problems = problems_over(changed, secrets)
    assert len(problems) == 1
    assert re.search("NetworkPolicy/to-redis: .*componnt", problems[0])
