"""One page for each package of `protos/`: services, messages, fields and enums with their comments."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from docs._reference.markdown import definition, escaped

PROTOS = Path(__file__).parents[2] / "protos"
# Field numbers of descriptor.proto: the parts of a path in source_code_info.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE, _FILE_PACKAGE = 4, 5, 6, 2
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _ENUM_VALUE, _SERVICE_METHOD = 2, 3, 4, 2, 2


@dataclass
class Page:
    """The parts of one package, which may come from several files."""

    package: str
    introductions: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """kairos.gateway.v1 is gateway.md."""
        return f"{self.package.split('.')[1]}.md"

    def text(self) -> str:
        parts = [f"# {self.package}", *self.introductions, *self.services]
        if self.types:
            parts += ["## Messages and enums", *self.types]
        return "\n\n".join(parts) + "\n"


def contract_pages() -> dict[str, str]:
    """Markdown by file name, one page for each package."""
    pages: dict[str, Page] = {}
    for file in descriptors():
        page = pages.setdefault(file.package, Page(file.package))
        _add(page, file)
    return {page.name: page.text() for page in pages.values()}


def descriptors() -> list[FileDescriptorProto]:
    """Our files with their comments. Those of Google that they import are left out."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.binpb"
        well_known = Path(protoc.__file__).parent / "_proto"
        arguments = ["protoc", f"-I{PROTOS}", f"-I{well_known}", "--include_source_info", f"-o{target}"]
        if protoc.main(arguments + sorted(map(str, PROTOS.rglob("*.proto")))) != 0:
            raise RuntimeError("protoc refused protos/; its message stands above")
        return list(FileDescriptorSet.FromString(target.read_bytes()).file)


def _add(page: Page, file: FileDescriptorProto) -> None:
    comments = _Comments(file)
    page.introductions += filter(None, [comments.of(_FILE_PACKAGE)])
    page.services += [
        _service(service, comments, (_FILE_SERVICE, number), file.package)
        for number, service in enumerate(file.service)
    ]
    scope = f".{file.package}"
    page.types += _types(file.message_type, file.enum_type, comments, (_FILE_MESSAGE,), (_FILE_ENUM,), scope)


class _Comments:
    """Leading comments of a file's elements, by their path."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._texts = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}

    def of(self, *path: int) -> str:
        lines = [line.strip() for line in self._texts.get(path, "").splitlines()]
        return escaped("\n".join(lines).strip())


def _service(service: ServiceDescriptorProto, comments: _Comments, path: Sequence[int], package: str) -> str:
    parts = [f"({package}.{service.name})=\n## {service.name}", comments.of(*path)]
    for number, method in enumerate(service.method):
        asked = ("stream of " if method.client_streaming else "") + _type_link(method.input_type)
        answered = ("stream of " if method.server_streaming else "") + _type_link(method.output_type)
        parts.append(f"({package}.{service.name}.{method.name})=\n### {method.name}")
        parts.append(f"{asked} → {answered}")
        parts.append(comments.of(*path, _SERVICE_METHOD, number))
    return "\n\n".join(filter(None, parts))


def _types(
    messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto], comments: _Comments,
    message_path: Sequence[int], enum_path: Sequence[int], scope: str,
) -> Iterator[str]:  # fmt: skip
    for number, message in enumerate(messages):
        if message.options.map_entry:
            continue
        path, name = (*message_path, number), f"{scope}.{message.name}"
        yield _message(message, comments, path, name)
        nested, inner = (*path, _MESSAGE_NESTED), (*path, _MESSAGE_ENUM)
        yield from _types(message.nested_type, message.enum_type, comments, nested, inner, name)
    for number, enum in enumerate(enums):
        yield _enum(enum, comments, (*enum_path, number), f"{scope}.{enum.name}")


def _message(message: DescriptorProto, comments: _Comments, path: Sequence[int], name: str) -> str:
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    entries = [
        definition(
            f"`{part.name}` · {_type_of(part, maps)} · {part.number}",
            _choice(part, message), comments.of(*path, _MESSAGE_FIELD, number),
        )
        for number, part in enumerate(message.field)
    ]  # fmt: skip
    return _section(name, message.name, comments.of(*path), entries or ["No fields."])


def _enum(enum: EnumDescriptorProto, comments: _Comments, path: Sequence[int], name: str) -> str:
    entries = [
        definition(f"`{value.name}` · {value.number}", comments.of(*path, _ENUM_VALUE, number))
        for number, value in enumerate(enum.value)
    ]
    return _section(name, f"{enum.name} (enum)", comments.of(*path), entries)


def _section(full_name: str, title: str, comment: str, entries: Sequence[str]) -> str:
    return "\n\n".join(filter(None, [f"({full_name[1:]})=\n### {title}", comment, "\n".join(entries)]))


def _choice(part: FieldDescriptorProto, message: DescriptorProto) -> str:
    """Where the field belongs to a oneof that the author wrote."""
    if not part.HasField("oneof_index") or part.proto3_optional:
        return ""
    return f"One of `{message.oneof_decl[part.oneof_index].name}`."


def _type_of(part: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    entry = maps.get(part.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = entry.field
        return f"map of {_type_of(key, {})} to {_type_of(value, {})}"
    name = _type_link(part.type_name) if part.type_name else FieldDescriptorProto.Type.Name(part.type)[5:].lower()
    if part.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if part.proto3_optional else name


def _type_link(name: str) -> str:
    """A link to the type's place in the reference; Google's own types are only named."""
    short = name.rpartition(".")[2]
    return f"[{short}](#{name[1:]})" if name.startswith(".kairos.") else name[1:]
