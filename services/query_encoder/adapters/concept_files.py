"""Concept graphs from YAML files: that of a domain, or a shop's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from services.common.domain_folder import CONCEPTS, DomainFolder, read_yaml
from services.common.errors import FieldViolation, InvalidArgument
from services.common.yaml_file import YamlFile
from services.query_encoder.domain.concepts import ConceptGraph


def load_graph(folder: DomainFolder, concepts_file: Path | None, extra_concepts_file: Path | None) -> ConceptGraph:
    """The graph of `concepts_file`, by default the domain's, with the additions of `extra_concepts_file`.

    A domain without concepts has an empty graph. Raises InvalidArgument that names the file and the line.
    """
    first = read_yaml(concepts_file) if concepts_file else folder.file(CONCEPTS)
    extra = read_yaml(extra_concepts_file) if extra_concepts_file else None
    documents = [file for file in (first, extra) if file is not None]
    try:
        return ConceptGraph.read(*({} if file.content is None else file.content for file in documents))
    except InvalidArgument as error:
        raise InvalidArgument(*(_located(wrong, documents) for wrong in error.violations)) from None


def _located(wrong: FieldViolation, documents: Iterable[YamlFile]) -> FieldViolation:
    """The last file that has the concept: an addition is more often wrong than what it adds to."""
    name = wrong.field.partition(".")[2]
    for file in reversed(list(documents)):
        if line := file.line_of_key(name):
            return FieldViolation(f"{file.name}:{line}", f"{name}: {wrong.description}")
    return wrong
