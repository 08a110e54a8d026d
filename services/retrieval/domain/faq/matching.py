"""From the questions that were found to the entries that may answer, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.faq import FaqEntry
from services.retrieval.domain.faq.confidence import ANSWERS_FROM, SHOWN_FROM, Calibration, Evidence, similarity

# Of the most similar question of an entry; the rest is that of the next ones, if the entry has so many.
_FIRST, _NEXT = 0.5, 2
_ANSWERED_BY_PRODUCTS, _SAME_QUESTION = 0.5, 0.85


@dataclass(frozen=True)
class FoundQuestion:
    """A question of an entry, with what it has in common with the question that was asked.

    `questions`: how many the entry has.
    """

    entry_id: str
    language: str
    question: str
    evidence: Evidence
    questions: int = 1


@dataclass(frozen=True)
class FaqMatch:
    """An entry that may answer; `confidence`: the probability that it does. `similarity`: of its best question."""

    entry: FaqEntry
    confidence: float
    matched_question: str
    similarity: float

    def is_above(self, products_relevance: float) -> bool:
        """Whether it stands above the results of a search. `products_relevance`: how well the best product answers.

        A query that products answer asks for products, unless the entry has nearly the same question: "running shoes"
        is no question about running shoes.
        """
        is_for_products = products_relevance >= _ANSWERED_BY_PRODUCTS and self.similarity < _SAME_QUESTION
        return self.confidence >= SHOWN_FROM and not is_for_products


@dataclass(frozen=True)
class Scored:
    """An entry with its most similar question. `margin`: of the score over that of the best other entry of its
    language.
    """

    best: FoundQuestion
    similarity: float
    margin: float


def scored(found: Sequence[FoundQuestion]) -> list[Scored]:
    """Each entry once, best first: by the similarity of its best question, and of the next ones.

    An entry in another language that says the same is no rival: it would take away the margin.
    """
    by_entry: dict[str, list[tuple[float, FoundQuestion]]] = {}
    for each in found:
        by_entry.setdefault(each.entry_id, []).append((similarity(each.evidence), each))
    lowest = min((value for its in by_entry.values() for value, _ in its), default=0.0)
    entries = []
    for its in by_entry.values():
        its.sort(key=lambda pair: -pair[0])
        entries.append((_score([value for value, _ in its], its[0][1].questions, lowest), *its[0]))
    entries.sort(key=lambda entry: (-entry[0], entry[2].entry_id))
    result = []
    for score, value, best in entries:
        rivals = (
            other
            for other, _, rival in entries
            if rival.entry_id != best.entry_id and (not rival.language or rival.language == best.language)
        )
        result.append(Scored(best, value, score - next(rivals, 0.0)))
    return result


def _score(similarities: Sequence[float], questions: int, lowest: float) -> float:
    """`similarities`: of the questions that were found, best first; `lowest`: for others of the entry."""
    following = min(_NEXT, questions - 1)
    if not following:
        return similarities[0]
    values = [*similarities[1 : 1 + following]]
    values += [lowest] * (following - len(values))
    return _FIRST * similarities[0] + (1 - _FIRST) * sum(values) / following


def in_order(entries: Sequence[Scored], calibration: Calibration, language: str) -> list[tuple[Scored, float]]:
    """With the confidence of each, the most likely first; of those that answer, one in `language` first."""
    sure = [(each, calibration.confidence(each.similarity, each.margin)) for each in entries]
    sure.sort(key=lambda pair: -pair[1])
    preferred = next(
        (p for p, (each, share) in enumerate(sure)
         if language and share >= ANSWERS_FROM and each.best.language == language), 0
    )  # fmt: skip
    return [sure[preferred], *sure[:preferred], *sure[preferred + 1 :]] if sure else []
