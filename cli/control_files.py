"""Resources of control as YAML documents: kind, id, and the content under the name of the kind."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from kairos.control.v1 import control_pb2
from services.common.errors import InvalidArgument
from services.common.yaml_file import MAX_BYTES, yaml_documents

_PREFIX = "RESOURCE_KIND_"
KINDS = [name.removeprefix(_PREFIX).lower() for name in control_pb2.ResourceKind.keys()[1:]]
# What a document may have beside the content.
_ENVELOPE = ("kind", "id", "etag")


def kind_number(kind: str) -> control_pb2.ResourceKind.ValueType:
    """Raises InvalidArgument."""
    if kind not in KINDS:
        raise InvalidArgument.of("kind", f"{kind[:40]!r} is unknown; use one of {', '.join(KINDS)}")
    return control_pb2.ResourceKind.Value(f"{_PREFIX}{kind.upper()}")


def kind_name(number: control_pb2.ResourceKind.ValueType) -> str:
    return control_pb2.ResourceKind.Name(number).removeprefix(_PREFIX).lower()


def read_resources(file: Path) -> list[control_pb2.Resource]:
    """The resources of a file, each once. Raises InvalidArgument that names the document."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InvalidArgument.of(file.name, f"has more than {MAX_BYTES} bytes; split it")
        text = file.read_text("utf-8")
    except OSError as error:
        raise InvalidArgument.of(file.name, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument.of(file.name, "is not UTF-8; save it as UTF-8") from None
    found = [_resource(content, f"document {n}") for n, content in enumerate(yaml_documents(text, file.name), 1)]
    if not found:
        raise InvalidArgument.of(file.name, "has no document; write kind, id and the content of a resource")
    seen = set[tuple[int, str]]()
    for number, resource in enumerate(found, 1):
        if (resource.kind, resource.id) in seen:
            raise InvalidArgument.of(f"document {number}", f"is {resource.id!r} again; keep one of the two")
        seen.add((resource.kind, resource.id))
    return found


def as_yaml(resources: Iterable[control_pb2.Resource], with_etag: bool = False) -> str:
    """The documents of a file that `read_resources` reads."""
    return "---\n".join(_dumped(_document(resource, with_etag)) for resource in resources)


def content_of(resource: control_pb2.Resource) -> Mapping[str, Any]:
    content: dict[str, Any] = MessageToDict(
        getattr(resource, kind_name(resource.kind)), preserving_proto_field_name=True
    )
    return content


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, name: str) -> str:
    """The changed lines of the YAML form; empty if there are none. None: there is no content."""
    old, new = ("" if content is None else _dumped(content) for content in (before, after))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"{name} (before)", f"{name} (after)", lineterm="")
    return "\n".join(lines)


def _resource(content: Any, name: str) -> control_pb2.Resource:
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise InvalidArgument.of(name, f"has no kind; write `kind:` with one of {', '.join(KINDS)}")
    kind = content["kind"]
    kind_number(kind)
    if unknown := [str(field) for field in content if field not in (*_ENVELOPE, kind)]:
        raise InvalidArgument.of(name, f"has the unknown field {unknown[0]!r}; the content belongs under `{kind}:`")
    try:
        document = {**content, "kind": f"{_PREFIX}{kind.upper()}", kind: content.get(kind) or {}}
        return ParseDict(document, control_pb2.Resource())
    except ParseError as error:
        raise InvalidArgument.of(name, str(error)) from None


def _document(resource: control_pb2.Resource, with_etag: bool) -> dict[str, Any]:
    kind = kind_name(resource.kind)
    etag = {"etag": resource.etag} if with_etag else {}
    return {"kind": kind, "id": resource.id, **etag, kind: content_of(resource)}


def _dumped(content: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120))
