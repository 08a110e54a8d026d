"""Every object against its schema, unknown fields refused.

Kubernetes' own kinds: the API server's OpenAPI schemas, from kubernetes-validate. Custom resources: our own models of
what we use of them (custom_resources.py), the pods within them again by Kubernetes' schemas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import ValidationError
from referencing import Registry, Resource

from deploy.checks.build import Object, name_of

# Of the API server whose schemas we hold the objects against: the newest that the library brings.
KUBERNETES = "1.37.0"
_FOLDER = f"kubernetes-json-schema/v{KUBERNETES}-local-strict"
# The name that the file with all definitions gives itself.
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"


def schema_problems(objects: list[Object]) -> Iterator[str]:
    """One line for each field that its schema does not know, or knows otherwise."""
    from deploy.checks.custom_resources import CUSTOM_RESOURCES

    for item in objects:
        kind = (item.get("apiVersion", ""), item.get("kind", ""))
        if model := CUSTOM_RESOURCES.get(kind):
            try:
                model.model_validate(item)
            except ValidationError as error:
                for problem in error.errors():
                    yield f"{name_of(item)}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        elif validator := _validator(*kind):
            yield from (f"{name_of(item)}: {problem}" for problem in _problems(validator, item))
        else:
            yield f"{name_of(item)}: no schema of {' '.join(kind)} is known here"


def core_problems(definition: str, value: Any) -> list[str]:
    """What is wrong with `value` as one of Kubernetes' own types, io.k8s.api.core.v1.PodTemplateSpec for example."""
    return list(_problems(_definition(definition), value))


def _problems(validator: Draft202012Validator, value: Any) -> Iterator[str]:
    for error in validator.iter_errors(value):
        yield f"{error.json_path.removeprefix('$').lstrip('.') or 'object'}: {error.message}"


@cache
def _validator(api_version: str, kind: str) -> Draft202012Validator | None:
    # autoscaling/v2 is in horizontalpodautoscaler-autoscaling-v2.json, networking.k8s.io/v1 in …-networking-v1.json.
    version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    file = files("kubernetes_validate") / _FOLDER / f"{kind.lower()}-{version}.json"
    return _with_definitions(json.loads(file.read_text())) if file.is_file() else None


@cache
def _definition(name: str) -> Draft202012Validator:
    return _with_definitions({"$ref": f"{_DEFINITIONS}#/$defs/{name}"})


def _with_definitions(schema: Object) -> Draft202012Validator:
    return Draft202012Validator(schema, registry=_registry())


@cache
def _registry() -> Registry[Any]:
    content = json.loads((files("kubernetes_validate") / _FOLDER / "_definitions.json").read_text())
    resource: Resource[Any] = Resource.from_contents(content)
    registry: Registry[Any] = Registry().with_resource(_DEFINITIONS, resource)
    return registry.crawl()
