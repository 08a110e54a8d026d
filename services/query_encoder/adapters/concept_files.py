"""Concept graphs from YAML files: the embedded graph, or a shop's own."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from services.common.errors import InvalidArgument
from services.query_encoder.domain.concepts import ConceptGraph

# libyaml, if PyYAML was built with it: ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_graph(concepts_file: Path | None, extra_concepts_file: Path | None) -> ConceptGraph:
    """The graph of `concepts_file`, by default the embedded one, with the additions of `extra_concepts_file`.

    Raises InvalidArgument.
    """
    if concepts_file is None and extra_concepts_file is None:
        return embedded_graph()
    first = _parse(concepts_file.read_text("utf-8"), str(concepts_file)) if concepts_file else _embedded()
    more = [_parse(extra_concepts_file.read_text("utf-8"), str(extra_concepts_file))] if extra_concepts_file else []
    return ConceptGraph.read(first, *more)


@lru_cache(maxsize=1)
def embedded_graph() -> ConceptGraph:
    """The graph that comes with Kairos. It is read once in a process."""
    return ConceptGraph.read(_embedded())


def _embedded() -> dict[str, Any]:
    return _parse((files("services.query_encoder") / "concepts.yaml").read_text("utf-8"), "concepts.yaml")


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        raise InvalidArgument.of("concepts", f"{name} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgument.of("concepts", f"{name} is not a mapping; its top-level keys are the kinds of concepts")
    return document


class _StrictLoader(_Loader):  # type: ignore[misc] # the base class is chosen when the process starts
    """Refuses a key that occurs twice in a mapping: PyYAML would silently keep the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} occurs twice; put its labels together", node.start_mark
            )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping
