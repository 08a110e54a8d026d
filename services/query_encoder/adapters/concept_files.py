"""Concept graphs from YAML: the embedded one, or a shop's own."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from services.common.errors import InvalidArgument
from services.query_encoder.domain.concepts import ConceptGraph

# libyaml where PyYAML was built with it: ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_graph(concepts_file: Path | None, extra_concepts_file: Path | None) -> ConceptGraph:
    """`concepts_file` in place of the embedded graph, `extra_concepts_file` on top. Raises InvalidArgument."""
    if concepts_file is None and extra_concepts_file is None:
        return embedded_graph()
    first = _parse(concepts_file.read_text("utf-8"), str(concepts_file)) if concepts_file else _embedded()
    more = [_parse(extra_concepts_file.read_text("utf-8"), str(extra_concepts_file))] if extra_concepts_file else []
    return ConceptGraph.read(first, *more)


@lru_cache(maxsize=1)
def embedded_graph() -> ConceptGraph:
    """Read once for a process."""
    return ConceptGraph.read(_embedded())


def _embedded() -> dict[str, Any]:
    return _parse((files("services.query_encoder") / "concepts.yaml").read_text("utf-8"), "concepts.yaml")


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, _StrictLoader)  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise InvalidArgument.of("concepts", f"{name} is no YAML: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgument.of("concepts", f"{name} holds no mapping; its top keys are kinds of concept")
    return document


class _StrictLoader(_Loader):  # type: ignore[misc] # chosen when the process starts
    """Refuses a key that stands twice: YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} stands twice; put its labels together", node.start_mark
            )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping
