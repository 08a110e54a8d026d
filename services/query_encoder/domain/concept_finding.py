"""Finds the concepts that a text mentions, in English and Chinese: the longest labels that cover most of the text."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.common.noun_phrases import singular
from services.common.scripts import HAN, has_han, is_han
from services.common.traditional_chinese import simplified
from services.query_encoder.domain.concepts import Concept, ConceptGraph, ConceptKind

_HAN_RUN = re.compile(f"[{HAN}]+")
_BESIDE_HAN = re.compile(rf"(?<=[{HAN}])\s+|\s+(?=[{HAN}])")
_WORD = re.compile(rf"[^\W_{HAN}]+")
_POSSESSIVE = re.compile(r"['’](?:s(?![a-z0-9]))?")
# Words of the longest English label that is looked for.
_LONGEST_ENGLISH = 5
# Characters that may stand between two words of an English label.
_JOINING = " -&/'"
_DESCRIBING = (ConceptKind.COLOUR, ConceptKind.MATERIAL, ConceptKind.ATTRIBUTE)


@dataclass(frozen=True)
class Mention:
    """A part of the text, and the concepts that it names: several if the label is ambiguous."""

    text: str
    concepts: tuple[Concept, ...]

    @property
    def is_chinese(self) -> bool:
        return has_han(self.text)


@dataclass(frozen=True)
class ConceptReading:
    """`parts` in the order of the text: mentions, and between them, as plain text, the words of other scripts.

    `recognised` is the share of the Han characters that belong to mentions, 0 to 1, fillers not counted; 1 for a text
    without Han characters.
    """

    parts: tuple[Mention | str, ...]
    recognised: float

    @property
    def mentions(self) -> list[Mention]:
        return [part for part in self.parts if isinstance(part, Mention)]


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    concepts: tuple[Concept, ...]


class _Word(NamedTuple):
    """A word that is not Chinese. `next` is where the next word of a label could begin."""

    singular: str
    end: int
    end_of_possessive: int
    next: int


class ConceptFinder:
    """Built once for a concept graph. Reading a query takes some tens of microseconds."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._english = graph.by_english
        self._fillers = graph.fillers
        # A filler is a label without a concept.
        self._chinese: dict[str, tuple[Concept, ...]] = dict.fromkeys(graph.fillers, ()) | dict(graph.by_chinese)
        # By the first character: lengths of the labels that have two characters or more, longest first.
        lengths: dict[str, set[int]] = {}
        for label in self._chinese:
            lengths.setdefault(label[0], set()).add(len(label))
        self._lengths = {first: sorted(sizes - {1}, reverse=True) for first, sizes in lengths.items()}

    def read(self, normal: str) -> ConceptReading:
        """`normal` is a normalised text."""
        text, places = _without_spaces_beside_han(simplified(normal))
        spans = self._best_spans(text)
        spans = sorted([*spans, *self._single_characters(text, spans)], key=lambda span: span.start)
        return ConceptReading(tuple(self._parts(normal, text, places, spans)), _recognised(text, spans))

    def _best_spans(self, text: str) -> list[_Span]:
        """The labels of two characters or more that cover most of `text`; if two choices cover the same number of
        characters, the one with the longer labels.
        """
        words = _words(text)
        # No label begins or ends inside a Latin word.
        inside = {place for start, word in words.items() for place in range(start + 1, word.end)}
        # best[i], for text[i:]: (number of covered characters, sum of squared lengths). chosen[i]: the span at i.
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
        """Labels of one character. They count only if they explain all that the longer labels leave over, or if the
        last one is a product.

        "红裙" is a red dress, but the 家 of an unknown word is not a home.
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
        """A single describing character at the end: the 粉 of 咖啡粉 is a powder, not pink. A describing word stands
        before what it describes.
        """
        ends_run = last == len(text) or not is_han(text[last])
        continues = first > 0 and is_han(text[first - 1])
        return bool(ends_run and continues and last - first == 1 and concepts and concepts[0].kind in _DESCRIBING)

    def _without_fillers(self, text: str, start: int, end: int) -> tuple[int, int] | None:
        """The gap without the fillers at its ends. None if it has nothing but fillers."""
        while start < end and text[start] in self._fillers and not self._chinese.get(text[start]):
            start += 1
        while end > start and text[end - 1] in self._fillers and not self._chinese.get(text[end - 1]):
            end -= 1
        return (start, end) if start < end else None

    def _parts(self, normal: str, text: str, places: list[int], spans: list[_Span]) -> Iterator[Mention | str]:
        done = 0
        for span in [*spans, _Span(len(text), len(text), ())]:
            if between := _HAN_RUN.sub(" ", text[done : span.start]).strip():
                yield " ".join(between.split())
            if span.concepts:
                yield Mention(normal[places[span.start] : places[span.end - 1] + 1], span.concepts)
            done = span.end


def _words(text: str) -> dict[int, _Word]:
    """The words that are not Chinese, by the index of their first character."""
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


def _without_spaces_beside_han(text: str) -> tuple[str, list[int]]:
    """`text` without the spaces beside Han characters, and the original index of each character."""
    if text.isascii():
        return text, list(range(len(text)))
    gaps = {place for match in _BESIDE_HAN.finditer(text) for place in range(match.start(), match.end())}
    places = [place for place in range(len(text)) if place not in gaps]
    return "".join(text[place] for place in places), places


def _gaps(text: str, spans: list[_Span]) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of Han characters between the spans."""
    done = 0
    for start, end in [*((span.start, span.end) for span in spans), (len(text), len(text))]:
        for run in _HAN_RUN.finditer(text, done, start):
            yield run.start(), run.end()
        done = end


def _recognised(text: str, spans: list[_Span]) -> float:
    if text.isascii():
        return 1.0
    covered = {place: bool(span.concepts) for span in spans for place in range(span.start, span.end)}
    han = (place for place, character in enumerate(text) if is_han(character))
    kept = [covered.get(place, False) for place in han if covered.get(place) is not False]
    return sum(kept) / len(kept) if kept else 1.0
