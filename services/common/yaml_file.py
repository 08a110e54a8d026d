"""YAML files that people write: keys that occur twice are refused, and errors name the file and the line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from services.common.errors import FieldViolation, InvalidArgument

MAX_BYTES = 8 << 20
# Problems of a file that an error names; there may be more.
_MAX_VIOLATIONS = 20
# libyaml, if PyYAML was built with it: ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class YamlFile:
    """`name` is how errors call the file; `content` is what it holds."""

    name: str
    text: str
    content: Any

    @classmethod
    def parse(cls, text: str, name: str) -> YamlFile:
        """Raises InvalidArgument."""
        return cls(name, text, _loaded(text, name, lambda: yaml.load(text, _StrictLoader)))

    def read_as(self, kind: type[Model]) -> Model:
        """The content, checked. An empty file has no keys. Raises InvalidArgument that names each wrong line."""
        try:
            return kind.model_validate({} if self.content is None else self.content)
        except ValidationError as error:
            problems = error.errors()[:_MAX_VIOLATIONS]
            raise InvalidArgument(
                *(self.wrong(one["loc"], _remedy(one["type"], one["msg"])) for one in problems)
            ) from None

    def wrong(self, path: Sequence[str | int], problem: str) -> FieldViolation:
        """The problem of the value at `path`."""
        dotted = ".".join(str(step) for step in path if step != "[key]")
        return FieldViolation(f"{self.name}:{self._line_of(path)}", f"{dotted}: {problem}" if dotted else problem)

    def line_of_key(self, name: str) -> int | None:
        """The first line where a mapping has the key; None if none has."""
        left = [yaml.compose(self.text, _Loader)]
        while left:
            node = left.pop(0)
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == name:
                        return int(key.start_mark.line) + 1
                    left.append(value)
            elif isinstance(node, yaml.SequenceNode):
                left.extend(node.value)
        return None

    def _line_of(self, path: Sequence[str | int]) -> int:
        """Of the key or entry at `path`, else of the nearest one above it."""
        node, line = yaml.compose(self.text, _Loader), 1
        for step in path:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return int(line)


def yaml_documents(text: str, name: str) -> list[Any]:
    """The documents of a file that may hold several, without empty ones. Raises InvalidArgument."""
    documents = _loaded(text, name, lambda: list(yaml.load_all(text, _StrictLoader)))
    return [document for document in documents if document is not None]


def _loaded(text: str, name: str, load: Callable[[], Any]) -> Any:
    if len(text) > MAX_BYTES:
        raise InvalidArgument.of(name, f"has {len(text)} characters; at most {MAX_BYTES}")
    try:
        return load()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidArgument.of(f"{name}:{line}", f"is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InvalidArgument.of(name, f"is not valid YAML: {error}") from None


def _remedy(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "is unknown; remove it or correct its spelling"
    if kind == "string_type":
        return "is not a text; put it in quotes"
    return message


class _StrictLoader(_Loader):  # type: ignore[misc] # the base class is chosen when the process starts
    """Refuses a key that occurs twice in a mapping: PyYAML would silently keep the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} occurs twice; keep one of the two", node.start_mark
            )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping
