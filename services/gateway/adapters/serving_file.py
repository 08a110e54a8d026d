"""Serving configurations from YAML files: the embedded one, and a shop's own."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.common.errors import FieldViolation, InvalidArgument
from services.gateway.domain.serving_configuration import ServingConfiguration

# A configuration of a hundred placements has some 50 KB.
_MOST_BYTES = 1 << 20
# Problems of a file that an error names; there may be more.
_MOST_PROBLEMS = 20


@lru_cache(maxsize=1)
def embedded_configuration() -> ServingConfiguration:
    """The one that comes with Kairos."""
    return _parsed((files("services.gateway") / "serving.yaml").read_text("utf-8"))


def load_configuration(file: Path | None) -> ServingConfiguration:
    """The placements of `file`, and the embedded ones that it does not have. Raises InvalidArgument."""
    if file is None:
        return embedded_configuration()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidArgument.of("serving_configuration", f"{file} cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise InvalidArgument.of("serving_configuration", f"{file} has {len(data)} bytes; at most {_MOST_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidArgument.of("serving_configuration", f"{file} is not UTF-8; save it as UTF-8") from None
    return _parsed(text).over(embedded_configuration())


def _parsed(text: str) -> ServingConfiguration:
    try:
        document = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        raise InvalidArgument.of("serving_configuration", f"is not valid YAML: {error}") from None
    try:
        return ServingConfiguration.model_validate(document)
    except ValidationError as error:
        wrong = list(map(_violation, error.errors()))
        # A list with a wrong entry is reported as too short as well.
        inner = [each for each in wrong if not any(other.field.startswith(f"{each.field}[") for other in wrong)]
        raise InvalidArgument(*inner[:_MOST_PROBLEMS]) from None


def _violation(error: Any) -> FieldViolation:
    """With the path as in the file: placements.home.sources[0].quota."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return FieldViolation(path or "serving_configuration", error["msg"])


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice in a mapping: PyYAML would silently keep the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} occurs twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping
