"""From the questions that were found to the entries that may answer, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.faq import FaqEntry
from services.retrieval.domain.faq.confidence import ANSWERS_FROM, Calibration, Evidence, similarity


@dataclass(frozen=True)
class FoundQuestion:
    """A question of an entry, with what it has in common with the question that was asked."""

    entry_id: str
    language: str
    question: str
    evidence: Evidence


@dataclass(frozen=True)
class FaqMatch:
    """An entry that may answer; `confidence`: the probability that it does."""

    entry: FaqEntry
    confidence: float
    matched_question: str


@dataclass(frozen=True)
class Scored:
    """An entry by the most similar of its questions. `margin`: over the best other entry of its language."""

    best: FoundQuestion
    similarity: float
    margin: float


def scored(found: Sequence[FoundQuestion]) -> list[Scored]:
    """Each entry once, most similar first.

    An entry in another language that says the same is no rival: it would take away the margin.
    """
    best: dict[str, tuple[float, FoundQuestion]] = {}
    for each in found:
        value = similarity(each.evidence)
        if each.entry_id not in best or value > best[each.entry_id][0]:
            best[each.entry_id] = value, each
    order = sorted(best.values(), key=lambda pair: (-pair[0], pair[1].entry_id))
    result = []
    for value, each in order:
        rivals = (
            other
            for other, rival in order
            if rival.entry_id != each.entry_id and (not rival.language or rival.language == each.language)
        )
        result.append(Scored(each, value, value - next(rivals, 0.0)))
    return result


def in_order(entries: Sequence[Scored], calibration: Calibration, language: str) -> list[tuple[Scored, float]]:
    """With the confidence of each, the most likely first; of those that answer, one in `language` first."""
    sure = [(each, calibration.confidence(each.similarity, each.margin)) for each in entries]
    sure.sort(key=lambda pair: -pair[1])
    preferred = next(
        (p for p, (each, share) in enumerate(sure) if share >= ANSWERS_FROM and each.best.language == language), 0
    )
    return [sure[preferred], *sure[:preferred], *sure[preferred + 1 :]] if sure else []
