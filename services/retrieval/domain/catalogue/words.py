"""Postings: which rows contain a word.

Words are numbers of 32 bits (the tokenizer's). New postings go to an unsorted tail; a full tail becomes a sorted
segment, and segments of like size are merged, as in Lucene: a word is looked up in a handful of segments, and a posting
is merged about log4(postings) times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.catalogue.growing import Growing, IntArray

WordArray = npt.NDArray[np.uint32]

# Postings: 2,500 products of 26 words. Looking through the tail takes 0.01 ms a word.
_TAIL = 1 << 16
_MERGED_FACTOR = 4
_ROW_BITS = np.uint64(32)


@dataclass(frozen=True)
class _Segment:
    """Rows [starts[i] : starts[i + 1]] contain words[i], ascending."""

    words: WordArray
    starts: npt.NDArray[np.int64]
    rows: IntArray

    def of(self, word: int) -> IntArray:
        place = int(self.words.searchsorted(np.uint32(word)))
        if place == len(self.words) or int(self.words[place]) != word:
            return self.rows[:0]
        return self.rows[self.starts[place] : self.starts[place + 1]]

    def packed(self) -> npt.NDArray[np.uint64]:
        return _packed(np.repeat(self.words, np.diff(self.starts)), self.rows)


class WordPostings:
    def __init__(self, segments: Sequence[_Segment] = ()) -> None:
        self._segments = list(segments)
        self._words, self._rows = Growing(np.uint32), Growing(np.int32)

    @property
    def nbytes(self) -> int:
        arrays = [array for part in self._segments for array in (part.words, part.starts, part.rows)]
        return sum(array.nbytes for array in arrays) + self._words.nbytes + self._rows.nbytes

    def add(self, words: WordArray, rows: IntArray) -> None:
        """rows[i] contains words[i]; rows are at least those of the calls before."""
        self._words.extend(words)
        self._rows.extend(rows)

    def add_all(self, words: Sequence[Sequence[int] | WordArray], rows: IntArray) -> None:
        """rows[i] contains each of words[i]."""
        lengths = [len(its) for its in words]
        if sum(lengths):
            self.add(np.concatenate([np.asarray(its, np.uint32) for its in words]), np.repeat(rows, lengths))

    def rows(self, word: int) -> IntArray:
        """The rows that contain the word, living or not, ascending."""
        parts = [segment.of(word) for segment in self._segments]
        if len(self._rows):
            parts.append(self._rows.view.take(np.flatnonzero(self._words.view == np.uint32(word))))
        return parts[0] if len(parts) == 1 else np.concatenate([self._rows.view[:0], *parts])

    @property
    def is_due(self) -> bool:
        return len(self._rows) > _TAIL

    def tidied(self) -> WordPostings:
        """Equal postings, without a tail."""
        segments = [*self._segments, _segment(_packed(self._words.view, self._rows.view))]
        while len(segments) > 1 and len(segments[-2].rows) < _MERGED_FACTOR * len(segments[-1].rows):
            last, before = segments.pop(), segments.pop()
            segments.append(_segment(np.concatenate([before.packed(), last.packed()])))
        return WordPostings(segments)

    def compacted(self, moved: IntArray) -> WordPostings:
        """`moved`: by row its new number, -1 for one that is gone."""
        parts = [*(segment.packed() for segment in self._segments), _packed(self._words.view, self._rows.view)]
        packed = np.concatenate(parts)
        rows = moved[(packed & np.uint64(0xFFFFFFFF)).astype(np.intp)]
        kept = rows >= 0
        return WordPostings([_segment(_packed((packed[kept] >> _ROW_BITS).astype(np.uint32), rows[kept]))])


def _packed(words: WordArray, rows: IntArray) -> npt.NDArray[np.uint64]:
    """Word and row in one number: numpy sorts numbers ten times faster than it sorts by two keys."""
    return (words.astype(np.uint64) << _ROW_BITS) | rows.astype(np.uint64)


def _segment(packed: npt.NDArray[np.uint64]) -> _Segment:
    packed.sort()
    words = (packed >> _ROW_BITS).astype(np.uint32)
    is_first = np.ones(len(words), np.bool_)
    np.not_equal(words[1:], words[:-1], out=is_first[1:])
    firsts = np.flatnonzero(is_first)
    rows = (packed & np.uint64(0xFFFFFFFF)).astype(np.int32)
    return _Segment(words[firsts], np.append(firsts, len(rows)), rows)
