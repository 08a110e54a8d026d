"""The entries of one tenant's FAQ in memory, and the words of their questions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.common.faq import FaqEntry
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collection
from services.retrieval.adapters.faq_points import entry_of, question_key
from services.retrieval.adapters.item_spaces import ItemSpace
from services.retrieval.adapters.points import AtLeast, Where
from services.retrieval.adapters.records import CHANGED_AT
from services.retrieval.domain.faq.confidence import PRIOR_WITH_VECTORS, PRIOR_WITHOUT_VECTORS, Calibration
from services.retrieval.domain.faq.wording import WordWeights
from services.retrieval.ports import Columns

# Questions of a shop that its calibration is fitted to: each is asked twice.
_SAMPLED = 200
_PAGE = 1_000
# By how much clocks of replicas may differ.
_SKEW_MS = 60_000
_CONTENT = Columns()


@dataclass(frozen=True)
class FaqState:
    """The entries of one tenant. Replaced as a whole."""

    collection: Collection | None
    entries: Mapping[str, FaqEntry] = field(default_factory=dict)
    # Of each point: the entry and the number of the question.
    questions: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    # Entries that begin or end, with the keys of their questions.
    dated: tuple[tuple[FaqEntry, tuple[int, ...]], ...] = ()
    weights: WordWeights = field(default_factory=lambda: WordWeights({}, 0))
    spaces: Mapping[str, ItemSpace] = field(default_factory=dict)
    # By model version; "" without vectors.
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    # What shows whether another process has written: see `counts_of`.
    marks: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    def calibration(self, version: str) -> Calibration:
        known = self.calibrations.get(version)
        return known or (PRIOR_WITH_VECTORS if version else PRIOR_WITHOUT_VECTORS)


def loaded(collection: Collection, encoder: Bm25Encoder) -> FaqState:
    now_ms = int(time.time() * 1e3)
    marks = (now_ms - _SKEW_MS, now_ms)
    counts = () if collection.revision is not None else counts_of(collection, marks)
    entries: dict[str, FaqEntry] = {}
    places: dict[int, tuple[str, int]] = {}
    start = 0
    while True:
        ids, start = collection.page(start, _PAGE)
        for key, record in collection.retrieve(ids, _CONTENT).items():
            places[key] = record.id, record.stock
            entry = entry_of(record)
            if entry is not None:
                entries[entry.id] = entry
        if not start:
            break
    questions = {
        key: (id, number)
        for key, (id, number) in places.items()
        if id in entries and number < len(entries[id].questions)
    }
    words: Counter[int] = Counter()
    for entry in entries.values():
        words.update({word for question in entry.questions for word in encoder.terms(question)})
    spaces = {space.model_version: space for space in collection.item_spaces}
    dated = tuple(
        (entry, tuple(question_key(entry.id, number) for number in range(len(entry.questions))))
        for entry in entries.values()
        if entry.valid_from or entry.valid_until
    )
    return FaqState(
        collection, entries, questions, dated, WordWeights(words, len(entries)), spaces, marks=marks, counts=counts
    )


def counts_of(collection: Collection, marks: Sequence[int]) -> tuple[int, ...]:
    """Of all points, and of those that were written after each mark."""
    return collection.count(Where()), *(collection.count(Where((AtLeast(CHANGED_AT, mark),))) for mark in marks)


def sample(state: FaqState) -> list[int]:
    """The same questions in every process: those with the lowest keys, which are hashes."""
    return sorted(state.questions)[:_SAMPLED]
