"""YAML files whose content is a protobuf message, with the names of its fields. Errors name the path of the field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from services.common.errors import FieldViolation, InvalidArgument
from services.common.yaml_file import YamlFile

# Problems of a file that an error names; there may be more.
_MOST_VIOLATIONS = 20
_TIMESTAMP = "google.protobuf.Timestamp"
_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)

Kind = TypeVar("Kind", bound=Message)


def message_from_yaml(text: str, name: str, kind: type[Kind]) -> Kind:
    """The message in a YAML text. `name` is how errors about its syntax call the file.

    A time is in the form of RFC 3339, with or without quotes; without a zone it is UTC. Raises InvalidArgument for
    unknown fields, several fields of a oneof, and values of another type. Bounds are not checked.
    """
    content = YamlFile.parse(text, name).content
    plain = _plain({} if content is None else content)
    if wrong := list(_violations(plain, cast(Descriptor, kind.DESCRIPTOR), ""))[:_MOST_VIOLATIONS]:
        raise InvalidArgument(*wrong)
    try:
        return ParseDict(plain, kind())
    except ParseError as error:
        raise InvalidArgument.of(name, f"cannot be read: {error}") from None


def _plain(value: Any) -> Any:
    """As JSON has it: YAML reads an unquoted time as one."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return f"{value.isoformat()}T00:00:00Z" if isinstance(value, date) else value


def _violations(value: Any, descriptor: Descriptor, path: str) -> Iterator[FieldViolation]:
    if not isinstance(value, dict):
        yield FieldViolation(path or "file", f"is no mapping; give it fields: {_names(descriptor)}")
        return
    chosen: dict[str, str] = {}
    for name, each in value.items():
        at = f"{path}.{name}" if path else name
        field = descriptor.fields_by_name.get(name)
        if field is None:
            yield FieldViolation(at, f"is unknown; use one of {_names(descriptor)}")
            continue
        group = field.containing_oneof
        if group is not None and len(group.fields) > 1 and chosen.setdefault(group.name, name) != name:
            yield FieldViolation(at, f"is set together with {chosen[group.name]}; set one of them")
        if not field.is_repeated:
            yield from _value_violations(each, field, at)
        elif not isinstance(each, list):
            yield FieldViolation(at, "is no list; write it as a list, also for one entry")
        else:
            for index, entry in enumerate(each):
                yield from _value_violations(entry, field, f"{at}[{index}]")


def _value_violations(value: Any, field: FieldDescriptor, path: str) -> Iterator[FieldViolation]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.message_type is not None and field.message_type.full_name == _TIMESTAMP:
        if not _is_time(value):
            yield FieldViolation(path, "is no time; write it as 2026-11-27T00:00:00+01:00")
    elif field.message_type is not None:
        yield from _violations(value, field.message_type, path)
    elif field.type in _TEXTS:
        if not isinstance(value, str):
            yield FieldViolation(path, "is not a text; put it in quotes")
    elif field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            yield FieldViolation(path, "is neither true nor false; write one of them")
    elif field.enum_type is not None:
        names: Sequence[str] = [one.name for one in field.enum_type.values]
        if value not in names:
            yield FieldViolation(path, f"is unknown; use one of {', '.join(names)}")
    elif field.type in _FLOATS:
        if not is_number:
            yield FieldViolation(path, "is no number; write one such as 1.5")
    elif not is_number or value != int(value) or abs(value) >= 2**31:
        yield FieldViolation(path, "is no whole number; write one such as 3")


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _names(descriptor: Descriptor) -> str:
    return ", ".join(field.name for field in descriptor.fields)
