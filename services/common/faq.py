"""An entry of the FAQ as a domain object, and its validation. Bounds: faq.proto."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from services.common.errors import FieldViolation
from services.common.limits import MAX_QUERY, id_problem, language_problem

MAX_ANSWER = 4_000
MAX_ALTERNATIVES = 50
MAX_PRODUCTS = 50
MAX_CATEGORIES, MAX_FAQ_CATEGORY = 20, 256
# Entries, and questions of all of them, of one import; ids of one deletion; entries of a page.
MAX_IMPORTED, MAX_IMPORTED_QUESTIONS = 500, 1_000
MAX_DELETED, MAX_LISTED = 1_000, 500
# Entries, and questions of all of them, of one tenant.
MAX_ENTRIES, MAX_QUESTIONS = 5_000, 50_000


class _HasQuestions(Protocol):
    @property
    def alternative_questions(self) -> Sized: ...


Entry = TypeVar("Entry", bound=_HasQuestions)


@dataclass(frozen=True)
class FaqEntry:
    """Only id, question and answer are required. `version` 0: not stored yet."""

    id: str
    question: str
    answer: str
    alternatives: tuple[str, ...] = ()
    locale: str = ""
    product_ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    version: int = 0

    @property
    def questions(self) -> tuple[str, ...]:
        return (self.question, *self.alternatives)

    @property
    def language(self) -> str:
        """Of the locale, for example "zh"; empty if unknown."""
        return language_of(self.locale)

    def is_valid_at(self, now_s: float) -> bool:
        """`now_s`: seconds since the epoch."""
        begins = self.valid_from is None or self.valid_from.timestamp() <= now_s
        return begins and (self.valid_until is None or now_s < self.valid_until.timestamp())


def language_of(locale: str) -> str:
    """The language of a language tag, in lower case."""
    return locale.split("-")[0].lower()


def faq_batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Lists of entries that one import takes."""
    batch, questions = list[Entry](), 0
    for entry in entries:
        count = 1 + len(entry.alternative_questions)
        if batch and (len(batch) == MAX_IMPORTED or questions + count > MAX_IMPORTED_QUESTIONS):
            yield batch
            batch, questions = [], 0
        batch.append(entry)
        questions += count
    if batch:
        yield batch


def violations(entry: FaqEntry) -> list[FieldViolation]:
    """All violations, by the field's path in FaqEntry; empty for a valid entry."""
    return [FieldViolation(path, problem) for path, problem in _check(entry)]


def _check(entry: FaqEntry) -> Iterator[tuple[str, str]]:
    if problem := id_problem(entry.id):
        yield "id", problem
    yield from _text("question", entry.question, MAX_QUERY)
    yield from _texts("alternative_questions", entry.alternatives, MAX_ALTERNATIVES, MAX_QUERY)
    yield from _text("answer", entry.answer, MAX_ANSWER)
    if entry.locale and (problem := language_problem(entry.locale)):
        yield "locale", problem
    if len(entry.product_ids) > MAX_PRODUCTS:
        yield "product_ids", f"holds {len(entry.product_ids)}; send at most {MAX_PRODUCTS}"
    for index, id in enumerate(entry.product_ids[:MAX_PRODUCTS]):
        if problem := id_problem(id):
            yield f"product_ids[{index}]", problem
    yield from _texts("categories", entry.categories, MAX_CATEGORIES, MAX_FAQ_CATEGORY)
    if entry.valid_from and entry.valid_until and entry.valid_until < entry.valid_from:
        yield "valid_until", f"{entry.valid_until.isoformat()} is before valid_from; swap them, or leave one out"


def _texts(path: str, texts: tuple[str, ...], many: int, limit: int) -> Iterator[tuple[str, str]]:
    if len(texts) > many:
        yield path, f"holds {len(texts)}; send at most {many}"
        return
    for index, text in enumerate(texts):
        yield from _text(f"{path}[{index}]", text, limit)


def _text(path: str, text: str, limit: int) -> Iterator[tuple[str, str]]:
    if not text.strip():
        yield path, f"is empty; send 1 to {limit} characters"
    elif len(text) > limit:
        yield path, f"has {len(text)} characters; send at most {limit}"
