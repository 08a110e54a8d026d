"""Serving configurations from YAML files: the embedded one, and a shop's own."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.common.errors import FieldViolation, InvalidArgument
from services.common.serving_configuration import ServingConfiguration
from services.common.validation import violations_of

# A configuration of a hundred placements has some 50 KB.
_MOST_BYTES = 1 << 20
_FILE = "serving_configuration"


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
        raise InvalidArgument.of(_FILE, f"{file} cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise InvalidArgument.of(_FILE, f"{file} has {len(data)} bytes; at most {_MOST_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidArgument.of(_FILE, f"{file} is not UTF-8; save it as UTF-8") from None
    return _parsed(text).over(embedded_configuration())


def _parsed(text: str) -> ServingConfiguration:
    try:
        document = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        raise InvalidArgument.of(_FILE, f"is not valid YAML: {error}") from None
    try:
        return ServingConfiguration.model_validate(document)
    except ValidationError as error:
        wrong = violations_of(error, "")
        raise InvalidArgument(*(FieldViolation(one.field or _FILE, one.description) for one in wrong)) from None


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice in a mapping: PyYAML would silently keep the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} occurs twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping
