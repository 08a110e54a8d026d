"""The concept graph: products, colours, materials, audiences and more, each with its English and Chinese labels.

It is read from documents, which are checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any

from services.common.errors import FieldViolation, InvalidArgument
from services.common.noun_phrases import singular
from services.common.scripts import has_han
from services.common.traditional_chinese import simplified
from services.query_encoder.domain.text import normal_form

MAX_CONCEPTS = 20_000
MAX_LABEL = 48
MAX_LABELS = 64
# Problems of a file that an error names; there may be more.
MAX_VIOLATIONS = 20
FILLERS = "fillers"

# "glass (material)": the text in parentheses distinguishes two concepts and is not part of the label.
_QUALIFIER = re.compile(r"\s*\([^)]*\)$")
_WORD = re.compile(r"[^\W_]+")
_KEYS = frozenset(("labels", "kinds", "is_a", "goes_with"))


class ConceptKind(Enum):
    """The value is a top-level key of a document."""

    PRODUCT = "products"
    COLOUR = "colours"
    MATERIAL = "materials"
    ATTRIBUTE = "attributes"
    AUDIENCE = "audiences"
    OCCASION = "occasions"
    UNIT = "units"
    BRAND = "brands"


@dataclass
class Concept:
    """A thing that a text can mean. The first English label is its English name."""

    name: str
    kind: ConceptKind
    english: list[str] = field(default_factory=list)
    chinese: list[str] = field(default_factory=list)
    # Names of other concepts: those that this one is a kind of, and those that shoppers look for together with it.
    is_a: list[str] = field(default_factory=list)
    goes_with: list[str] = field(default_factory=list)


class ConceptGraph:
    """Concepts by name and by label. `fillers` are Chinese words that say nothing about a product."""

    def __init__(self, concepts: Mapping[str, Concept], fillers: frozenset[str]) -> None:
        self.concepts = concepts
        self.fillers = fillers

    @classmethod
    def read(cls, *documents: Mapping[str, Any]) -> ConceptGraph:
        """A later document adds concepts, and adds labels and edges to concepts of earlier documents.

        Raises InvalidArgument that names each wrong concept and the remedy.
        """
        reader = _Reader()
        for document in documents:
            reader.add(document)
        reader.check()
        return cls(reader.concepts, frozenset(reader.fillers))

    @cached_property
    def by_chinese(self) -> Mapping[str, tuple[Concept, ...]]:
        """By `chinese_key`."""
        return _index((chinese_key(label), concept) for concept in self.concepts.values() for label in concept.chinese)

    @cached_property
    def by_english(self) -> Mapping[tuple[str, ...], tuple[Concept, ...]]:
        """By `english_key`."""
        return _index((english_key(label), concept) for concept in self.concepts.values() for label in concept.english)

    @cached_property
    def kinds_of(self) -> Mapping[str, tuple[Concept, ...]]:
        """By the name of a concept: the concepts that are directly a kind of it."""
        return _index((parent, concept) for concept in self.concepts.values() for parent in concept.is_a)


def chinese_key(label: str) -> str:
    """The form in which labels are compared: simplified characters without spaces."""
    return "".join(simplified(normal_form(label)).split())


@lru_cache(maxsize=32_768)
def english_key(label: str) -> tuple[str, ...]:
    """The form in which labels are compared: the words in the singular."""
    return tuple(map(singular, _WORD.findall(normal_form(label).replace("'s", ""))))


def _index(pairs: Iterator[tuple[Any, Concept]]) -> dict[Any, tuple[Concept, ...]]:
    found: dict[Any, dict[str, Concept]] = {}
    for key, concept in pairs:
        if key:
            found.setdefault(key, {})[concept.name] = concept
    return {key: tuple(concepts.values()) for key, concepts in found.items()}


class _Reader:
    """Collects the concepts of documents, and all problems of the documents."""

    def __init__(self) -> None:
        self.concepts: dict[str, Concept] = {}
        self.fillers: set[str] = set()
        self._wrong: list[FieldViolation] = []
        self._seen: set[str] = set()

    def add(self, document: Mapping[str, Any]) -> None:
        self._seen = set()
        if not isinstance(document, Mapping):
            raise InvalidArgument.of(
                "concepts", "the file is not a mapping; its top-level keys are the kinds of concepts"
            )
        for key, value in document.items():
            if key == FILLERS:
                self.fillers.update(map(chinese_key, self._strings(FILLERS, value)))
            elif key in {kind.value for kind in ConceptKind}:
                self._entries(ConceptKind(key), value, parent=None)
            else:
                known = ", ".join((*(kind.value for kind in ConceptKind), FILLERS))
                self._report(str(key), f"is not a kind of concept; use {known}")

    def check(self) -> None:
        """Raises InvalidArgument for all problems, among them edges to missing concepts and cycles of edges."""
        for concept in self.concepts.values():
            for name, targets in (("is_a", concept.is_a), ("goes_with", concept.goes_with)):
                for target in targets:
                    if target not in self.concepts:
                        self._report(
                            concept.name, f"{name} names {target!r}, which is not a concept; add it or correct the name"
                        )
                    elif target == concept.name:
                        self._report(concept.name, f"{name} names the concept itself; remove it")
            if len(concept.english) + len(concept.chinese) > MAX_LABELS:
                self._report(concept.name, f"has more than {MAX_LABELS} labels; split it into kinds")
        if len(self.concepts) > MAX_CONCEPTS:
            self._report("concepts", f"there are {len(self.concepts)}; at most {MAX_CONCEPTS}")
        if not self._wrong and (cycle := self._cycle()):
            self._report(cycle[0], f"is a kind of itself: {' > '.join(cycle)}; remove one of these edges")
        if self._wrong:
            raise InvalidArgument(*self._wrong[:MAX_VIOLATIONS])

    def _entries(self, kind: ConceptKind, entries: Any, parent: str | None) -> None:
        if not isinstance(entries, Mapping):
            self._report(parent or kind.value, "its concepts are not a mapping from names to labels")
            return
        for name, entry in entries.items():
            self._entry(kind, str(name), entry, parent)

    def _entry(self, kind: ConceptKind, name: str, entry: Any, parent: str | None) -> None:
        if name in self._seen:
            self._report(name, "occurs twice in one file; put its labels together")
        self._seen.add(name)
        concept = self.concepts.setdefault(name, Concept(name, kind))
        if concept.kind is not kind:
            self._report(name, f"occurs under {kind.value} and under {concept.kind.value}; choose one")
        long = entry if isinstance(entry, Mapping) else {"labels": entry}
        if unknown := sorted(str(key) for key in long if key not in _KEYS):
            self._report(name, f"has the unknown key {unknown[0]!r}; use {', '.join(sorted(_KEYS))}")
        for label in (_QUALIFIER.sub("", name), *self._strings(name, long.get("labels"))):
            self._label(concept, label)
        _extend(concept.is_a, [*([parent] if parent else []), *self._strings(name, long.get("is_a"))])
        _extend(concept.goes_with, self._strings(name, long.get("goes_with")))
        if long.get("kinds"):
            self._entries(kind, long["kinds"], name)

    def _label(self, concept: Concept, label: str) -> None:
        key = chinese_key(label) if has_han(label) else " ".join(english_key(label))
        if not key or len(label) > MAX_LABEL:
            self._report(
                concept.name, f"the label {label[:MAX_LABEL]!r} is empty or longer than {MAX_LABEL} characters"
            )
            return
        _extend(concept.chinese if has_han(label) else concept.english, [normal_form(label)])

    def _strings(self, name: str, value: Any) -> list[str]:
        if value is None:
            return []
        if isinstance(value, str) or not isinstance(value, Sequence):
            self._report(name, f"{value!r} is not a list of texts; write [a, b]")
            return []
        if wrong := [item for item in value if not isinstance(item, str)]:
            self._report(name, f"{wrong[0]!r} is not a text; put it in quotes")
        return [item for item in value if isinstance(item, str)]

    def _cycle(self) -> list[str]:
        """A path of is-a edges that leads back to its start; empty if there is none."""
        done: set[str] = set()
        for start in self.concepts:
            # Depth first, without recursion: a path may be as long as the file.
            path: list[tuple[str, Iterator[str]]] = [(start, iter(self.concepts[start].is_a))]
            on_path = {start: 0}
            while path and path[0][0] not in done:
                name, parents = path[-1]
                parent = next((p for p in parents if p not in done), None)
                if parent is None:
                    done.add(name)
                    on_path.pop(name)
                    path.pop()
                elif parent in on_path:
                    return [step for step, _ in path[on_path[parent] :]] + [parent]
                else:
                    on_path[parent] = len(path)
                    path.append((parent, iter(self.concepts[parent].is_a)))
        return []

    def _report(self, name: str, description: str) -> None:
        self._wrong.append(FieldViolation(f"concepts.{name}", description))


def _extend(known: list[str], more: Sequence[str]) -> None:
    known.extend(item for item in dict.fromkeys(more) if item not in known)
