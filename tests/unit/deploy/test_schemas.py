"""CustomResourceDefinitions are read from a folder and validate strictly."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks.schemas import Crds, read_crds, schema_problems

_SPEC = {
    "type": "object",
    "required": ["size", "mode"],
    "properties": {
        "size": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "note": {"type": "string", "nullable": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"n": {"type": "integer"}},
        },
        "parts": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}  # fmt: skip
_SCHEMA = {
    "type": "object",
    "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": _SPEC,
    },
}  # fmt: skip
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Widget"},
        "versions": [
            {"name": "v1", "served": True, "schema": {"openAPIV3Schema": _SCHEMA}},
            {"name": "v1alpha1", "served": False, "schema": {"openAPIV3Schema": _SCHEMA}},
        ],
    },
}


@pytest.fixture
def crds(tmp_path: Path) -> Crds:
    (tmp_path / "widgets.yaml").write_text(yaml.safe_dump(WIDGETS))
    return read_crds(tmp_path)


def widget(spec: dict[str, Any], version: str = "v1", metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": f"example.com/{version}",
        "kind": "Widget",
        "metadata": metadata or {"name": "w"},
        "spec": spec,
    }


def test_a_list_as_kubectl_prints_it_is_read(tmp_path: Path) -> None:
    """`kubectl get crd -o yaml` prints a List."""
    (tmp_path / "crds.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [WIDGETS]}))
    assert [*read_crds(tmp_path)] == [("example.com/v1", "Widget")]


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    """A file may be compressed with gzip."""
    (tmp_path / "widgets.yaml.gz").write_bytes(gzip.compress(yaml.safe_dump(WIDGETS).encode()))
    assert [*read_crds(tmp_path)] == [("example.com/v1", "Widget")]


def test_a_folder_without_definitions_is_refused(tmp_path: Path) -> None:
    """A folder without a definition is a mistake in the option, not an empty list."""
    with pytest.raises(FileNotFoundError, match="no CustomResourceDefinition"):
        read_crds(tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        {"size": 1},  # `mode` has a default
        {"size": "50%", "note": None, "labels": {"any": "key"}},
        {"size": 1, "free": {"anything": [1], "n": 1}, "parts": [{"name": "p"}]},
    ],
)
def test_what_the_api_server_takes_is_valid(spec: dict[str, Any], crds: Crds) -> None:
    """Defaults, null where it is allowed, maps, and fields that a schema leaves open."""
    assert list(schema_problems([widget(spec)], crds)) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"size": 1, "sze": 2}, "'sze' was unexpected"),
        ({"size": 1, "parts": [{"nmae": "p"}]}, "'nmae' was unexpected"),
        ({"size": 1, "mode": "c"}, "'c' is not one of"),
        ({"size": 1, "free": {"n": "one"}}, "spec.free.n: 'one' is not of type 'integer'"),
        ({}, "'size' is a required property"),
    ],
)
def test_what_the_api_server_drops_or_refuses_is_an_error(spec: dict[str, Any], message: str, crds: Crds) -> None:
    """An unknown field is an error at any depth, and so is a wrong value."""
    (problem,) = schema_problems([widget(spec)], crds)
    assert not problem.own
    assert message in str(problem)


def test_metadata_is_validated(crds: Crds) -> None:
    """Definitions leave metadata to the API server; an unknown field in it is an error as well."""
    (problem,) = schema_problems([widget({"size": 1}, metadata={"name": "w", "label": {}})], crds)
    assert "'label' was unexpected" in str(problem)


def test_a_version_that_is_not_served_is_unknown(crds: Crds) -> None:
    """An object of a version that no definition serves is not valid."""
    (problem,) = schema_problems([widget({"size": 1}, "v1alpha1")], crds)
    assert str(problem) == "Widget/w: no CustomResourceDefinition serves example.com/v1alpha1 Widget"


def test_without_definitions_custom_resources_pass() -> None:
    """Without --crds a custom resource is not validated."""
    assert list(schema_problems([widget({"sze": 1})], None)) == []
