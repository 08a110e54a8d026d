"""Every object against the schema that its own project publishes, unknown fields refused.

Kubernetes' kinds: the API server's OpenAPI schemas, by kubernetes-validate. Custom resources: the schemas of their
CustomResourceDefinitions, read from a folder. CEL rules (x-kubernetes-validations) run in the API server only. The
Serve configuration within a RayService: Ray's own schema.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import kubernetes_validate
from jsonschema import Draft4Validator, ValidationError

from deploy.checks.build import Object, Problem, name_of, objects_in
from deploy.checks.serve_config import WrongServeConfig, serve_config_of

KUBERNETES = kubernetes_validate.latest_version()
# By apiVersion and kind. OpenAPI 3.0 extends draft 4 of JSON schema.
Crds = Mapping[tuple[str, str], Draft4Validator]


def read_crds(folder: Path) -> Crds:
    """From all *.yaml and *.yaml.gz of a folder: definitions, or a List of them. Raises FileNotFoundError."""
    crds: dict[tuple[str, str], Draft4Validator] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yaml.gz")]):
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        for document in objects_in(text):
            for item in document["items"] if document.get("kind") == "List" else [document]:
                if item.get("kind") == "CustomResourceDefinition":
                    crds |= _validators(item["spec"])
    if not crds:
        raise FileNotFoundError(f"{folder} holds no CustomResourceDefinition in a file *.yaml or *.yaml.gz")
    return crds


def schema_problems(objects: list[Object], crds: Crds | None) -> Iterator[Problem]:
    """One for each wrong or unknown field. Without `crds` custom resources are not validated."""
    for item in objects:
        where, key = name_of(item), (item["apiVersion"], item["kind"])
        if (core := _core_errors(json.dumps(item))) is not None:
            yield from (Problem(where, error) for error in core)
        elif "." not in item["apiVersion"]:
            yield Problem(where, f"Kubernetes {KUBERNETES} has no {' '.join(key)}")
        elif crds is not None and key in crds:
            yield from (Problem(where, _message(error)) for error in crds[key].iter_errors(item))
            # Definitions leave `metadata` to the API server, whose schema is the same for every kind.
            like = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": item["metadata"]}
            yield from (Problem(where, error) for error in _core_errors(json.dumps(like)) or ())
        elif crds is not None:
            yield Problem(where, f"no CustomResourceDefinition serves {' '.join(key)}", own=True)
        try:
            _ = serve_config_of(item) if item["kind"] == "RayService" else None
        except WrongServeConfig as error:
            yield from (Problem(where, f"serveConfigV2: {what}") for what in error.args)


@cache
def _core_errors(item: str) -> list[str] | None:
    """None for a custom resource. Cached, since overlays share most objects and each validation takes about 10 ms."""
    try:
        kubernetes_validate.validate(json.loads(item), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [_message(error)]
    except kubernetes_validate.SchemaNotFoundError:
        return None
    return []


def _message(error: ValidationError) -> str:
    return f"{error.json_path.removeprefix('$').lstrip('.') or 'object'}: {error.message}"


def _validators(spec: Object) -> dict[tuple[str, str], Draft4Validator]:
    """Of each served version."""
    found = {}
    for version in spec["versions"]:
        if version["served"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = Draft4Validator(schema)
    return found


def _strict(schema: Object) -> Object:
    """A JSON schema that refuses what the API server would drop, from a structural schema of Kubernetes."""
    strict = {**schema}
    if "properties" in schema:
        strict["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            strict[key] = _strict(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            strict[key] = [_strict(value) for value in schema[key]]
    if schema.get("x-kubernetes-embedded-resource"):
        strict["properties"] = {"apiVersion": {}, "kind": {}, "metadata": {}} | strict.get("properties", {})
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and not is_open:
        strict["additionalProperties"] = False
    # The API server fills in defaults before it validates.
    defaults = {name for name, value in schema.get("properties", {}).items() if "default" in value}
    if "required" in schema:
        strict["required"] = [name for name in schema["required"] if name not in defaults]
    if schema.get("nullable") and "type" in schema:
        strict["type"] = [schema["type"], "null"]
    if schema.get("x-kubernetes-int-or-string"):
        strict.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    return strict
