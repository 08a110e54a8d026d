"""Where a text names concepts: the longest labels that together read most of it, in English and in Chinese."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.common.scripts import HAN, has_han, is_han
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind, singular
from services.query_encoder.domain.traditional_chinese import simplified

_HAN_RUN = re.compile(f"[{HAN}]+")
_BESIDE_HAN = re.compile(rf"(?<=[{HAN}])\s+|\s+(?=[{HAN}])")
_WORD = re.compile(rf"[^\W_{HAN}]+")
_POSSESSIVE = re.compile(r"['’](?:s(?![a-z0-9]))?")
_LONGEST_ENGLISH = 5
_JOINING = " -&/'"
_DESCRIBING = (ConceptKind.COLOUR, ConceptKind.MATERIAL, ConceptKind.ATTRIBUTE)


@dataclass(frozen=True)
class Found:
    """A stretch of the text and the concepts that it names: several where the label is ambiguous."""

    text: str
    concepts: tuple[Concept, ...]

    @property
    def is_chinese(self) -> bool:
        return has_han(self.text)


@dataclass(frozen=True)
class Reading:
    """`parts` in the text's order: what was found, and as plain text the Latin words and numbers between.

    `understood` is the share of the Chinese characters that were read, 0 to 1, fillers left out; 1 for a text without.
    """

    parts: tuple[Found | str, ...]
    understood: float

    @property
    def found(self) -> list[Found]:
        return [part for part in self.parts if isinstance(part, Found)]


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    concepts: tuple[Concept, ...]


class _Word(NamedTuple):
    """A Latin word or number; `next` is the place after it and what may join two words of a label."""

    singular: str
    end: int
    end_of_possessive: int
    next: int


class ConceptFinder:
    """Built once for a graph; `read` takes some tens of microseconds for a query."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._english = graph.by_english
        self._fillers = graph.fillers
        # Fillers are labels of nothing.
        self._chinese: dict[str, tuple[Concept, ...]] = dict.fromkeys(graph.fillers, ()) | dict(graph.by_chinese)
        # By first character, the lengths of labels of two characters or more, longest first.
        lengths: dict[str, set[int]] = {}
        for label in self._chinese:
            lengths.setdefault(label[0], set()).add(len(label))
        self._lengths = {first: sorted(found - {1}, reverse=True) for first, found in lengths.items()}

    def read(self, normal: str) -> Reading:
        """Of a normalised text."""
        text, places = _without_gaps(simplified(normal))
        spans = self._best_spans(text)
        spans = sorted([*spans, *self._single_characters(text, spans)], key=lambda span: span.start)
        return Reading(tuple(self._parts(normal, text, places, spans)), _understood(text, spans))

    def _best_spans(self, text: str) -> list[_Span]:
        """Labels of two characters or more that cover most of `text`; of equal covers, that of the longest labels."""
        words = _words(text)
        # Nothing begins or ends inside of a Latin word.
        inside = {place for start, word in words.items() for place in range(start + 1, word.end)}
        # Of text[i:]: (characters covered, sum of squared lengths), and the span chosen at i.
        best, chosen = [(0, 0)] * (len(text) + 1), dict[int, _Span]()
        for start in range(len(text) - 1, -1, -1):
            best[start] = best[start + 1]
            if start in inside:
                continue
            for span in self._spans_at(text, start, words, inside):
                length = span.end - span.start
                covered, squares = best[span.end]
                candidate = (covered + length, squares + length * length)
                if candidate > best[start] or (start not in chosen and candidate == best[start]):
                    best[start], chosen[start] = candidate, span
        spans, place = [], 0
        while place < len(text):
            if place in chosen:
                spans.append(chosen[place])
            place = chosen[place].end if place in chosen else place + 1
        return spans

    def _spans_at(self, text: str, start: int, words: Mapping[int, _Word], inside: Container[int]) -> Iterator[_Span]:
        for length in self._lengths.get(text[start], ()):
            concepts = self._chinese.get(text[start : start + length])
            if concepts is not None and start + length <= len(text) and start + length not in inside:
                yield _Span(start, start + length, concepts)
        key: tuple[str, ...] = ()
        place = start
        while place in words and len(key) < _LONGEST_ENGLISH:
            word = words[place]
            key = (*key, word.singular)
            if concepts := self._english.get(key):
                yield _Span(start, word.end_of_possessive, concepts)
            place = word.next

    def _single_characters(self, text: str, spans: list[_Span]) -> Iterator[_Span]:
        """Labels of one character, only where they explain all that longer ones left over, or are its last noun.

        "红裙" is a red dress; the 家 of an unknown word is no home.
        """
        for start, end in _gaps(text, spans):
            kept = self._without_fillers(text, start, end)
            if kept is None:
                yield from (_Span(place, place + 1, ()) for place in range(start, end))
                continue
            first, last = kept
            yield from (_Span(place, place + 1, ()) for place in (*range(start, first), *range(last, end)))
            singles = [self._chinese.get(text[place]) for place in range(first, last)]
            if self._is_trailing(text, first, last, singles[-1]):
                continue
            if all(concepts is not None for concepts in singles):
                yield from (_Span(first + i, first + i + 1, concepts or ()) for i, concepts in enumerate(singles))
            elif (end == len(text) or not is_han(text[end])) and (noun := singles[-1]):
                products = tuple(concept for concept in noun if concept.kind is ConceptKind.PRODUCT)
                if products:
                    yield _Span(last - 1, last, products)

    def _is_trailing(self, text: str, first: int, last: int, concepts: tuple[Concept, ...] | None) -> bool:
        """A lone 粉 at the end of 咖啡粉 is a powder, not pink: what describes stands before what it describes."""
        ends_run = last == len(text) or not is_han(text[last])
        continues = first > 0 and is_han(text[first - 1])
        return bool(ends_run and continues and last - first == 1 and concepts and concepts[0].kind in _DESCRIBING)

    def _without_fillers(self, text: str, start: int, end: int) -> tuple[int, int] | None:
        """The gap without fillers at its ends; None where it holds nothing else."""
        while start < end and text[start] in self._fillers and not self._chinese.get(text[start]):
            start += 1
        while end > start and text[end - 1] in self._fillers and not self._chinese.get(text[end - 1]):
            end -= 1
        return (start, end) if start < end else None

    def _parts(self, normal: str, text: str, places: list[int], spans: list[_Span]) -> Iterator[Found | str]:
        done = 0
        for span in [*spans, _Span(len(text), len(text), ())]:
            if between := _HAN_RUN.sub(" ", text[done : span.start]).strip():
                yield " ".join(between.split())
            if span.concepts:
                yield Found(normal[places[span.start] : places[span.end - 1] + 1], span.concepts)
            done = span.end


def _words(text: str) -> dict[int, _Word]:
    """By their place."""
    found = {}
    for match in _WORD.finditer(text):
        end = possessive = match.end()
        if after := _POSSESSIVE.match(text, end):
            possessive = after.end()
        next_place = possessive
        while next_place < len(text) and text[next_place] in _JOINING:
            next_place += 1
        found[match.start()] = _Word(singular(match.group()), end, possessive, next_place)
    return found


def _without_gaps(text: str) -> tuple[str, list[int]]:
    """`text` without the spaces beside Chinese characters, and where each of its characters stood."""
    if text.isascii():
        return text, list(range(len(text)))
    gaps = {place for match in _BESIDE_HAN.finditer(text) for place in range(match.start(), match.end())}
    places = [place for place in range(len(text)) if place not in gaps]
    return "".join(text[place] for place in places), places


def _gaps(text: str, spans: list[_Span]) -> Iterator[tuple[int, int]]:
    """Stretches of Chinese between the spans."""
    done = 0
    for start, end in [*((span.start, span.end) for span in spans), (len(text), len(text))]:
        for run in _HAN_RUN.finditer(text, done, start):
            yield run.start(), run.end()
        done = end


def _understood(text: str, spans: list[_Span]) -> float:
    if text.isascii():
        return 1.0
    covered = {place: bool(span.concepts) for span in spans for place in range(span.start, span.end)}
    han = (place for place, character in enumerate(text) if is_han(character))
    kept = [covered.get(place, False) for place in han if covered.get(place) is not False]
    return sum(kept) / len(kept) if kept else 1.0
