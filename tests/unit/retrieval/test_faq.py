"""How questions are compared, entries ordered, and confidences fitted."""

from __future__ import annotations

import numpy as np
import pytest

from kairos.common.v1 import common_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import FieldViolation
from services.common.faq import FaqEntry, violations
from services.retrieval.convert_faq import listed_to_proto, with_entry
from services.retrieval.domain.faq.confidence import ANSWERS_FROM, PRIOR_WITH_VECTORS, Evidence, Example, similarity
from services.retrieval.domain.faq.matching import FaqMatch, FoundQuestion, in_order, scored
from services.retrieval.domain.faq.wording import Wording, WordWeights, coverage, spelled_alike
from services.retrieval.ports import FaqAnswer


def evidence(cosine: float | None, words: float = 0.0) -> Evidence:
    return Evidence(cosine, words, words, words)


def found(id: str, cosine: float, language: str = "en", questions: int = 1) -> FoundQuestion:
    return FoundQuestion(id, language, f"{id}?", evidence(cosine), questions)


def test_rare_words_count_more() -> None:
    """A word of every entry says less about a question than one of a single entry."""
    weights = WordWeights({1: 10, 2: 1}, 10)
    asked = Wording.of("x", [1, 2])
    common, rare = (coverage(asked, Wording.of("y", [word]), weights)[0] for word in (1, 2))
    assert 0 < common < 0.1 < rare < 1


def test_typos_are_spelled_alike() -> None:
    """Pairs of characters tell a typo from another word, also in Chinese."""
    typed, known, other = (Wording.of(text, []) for text in ("refnd polcy", "refund policy", "shipping cost"))
    assert spelled_alike(typed, known) > 2 * spelled_alike(typed, other)
    assert spelled_alike(Wording.of("退款多久", []), Wording.of("多久退款", [])) > 0.5


def test_the_same_question_is_similar_without_vectors() -> None:
    """An equal question has the similarity 1, with vectors and without."""
    assert similarity(evidence(None, 1.0)) == pytest.approx(1)
    assert similarity(evidence(1.0, 1.0)) == pytest.approx(1)


def test_a_translation_is_no_rival() -> None:
    """The margin is that over other entries of the language: an entry in another one that says the same takes nothing
    away.
    """
    twins = scored([found("a", 0.9), found("a-zh", 0.9, "zh"), found("b", 0.5)])
    assert {each.best.entry_id: round(each.margin, 2) for each in twins}["a"] == pytest.approx(0.24)
    rivals = scored([found("a", 0.9), found("c", 0.9)])
    assert rivals[0].margin == 0


def test_further_questions_decide() -> None:
    """Of two entries with equally similar questions, the one whose next questions are similar too comes first."""
    one = [found("a", 0.8, questions=3), found("a", 0.2, questions=3), found("a", 0.2, questions=3)]
    two = [found("b", 0.8, questions=3), found("b", 0.7, questions=3), found("b", 0.7, questions=3)]
    assert scored([*one, *two])[0].best.entry_id == "b"


def test_the_preferred_language() -> None:
    """Among entries that answer the one in the language is first; one that does not answer stays behind."""
    entries = scored([found("a", 1.0), found("b", 0.95, "zh"), found("c", 0.1, "fr")])
    assert in_order(entries, PRIOR_WITH_VECTORS, "zh")[0][0].best.entry_id == "b"
    assert in_order(entries, PRIOR_WITH_VECTORS, "fr")[0][0].best.entry_id == "a"


def test_confidences_follow_the_shop() -> None:
    """Fitted to a shop whose right entries begin at a similarity of 0.3, one of 0.4 answers that the prior refuses.
    Without examples of entries that are there, the prior stays.
    """
    random = np.random.default_rng(0)
    right = [Example(float(s), 0.1, True) for s in random.uniform(0.3, 0.6, 100)]
    absent = [Example(float(s), 0.1, False, is_absent=True) for s in random.uniform(0.0, 0.25, 100)]
    fitted = PRIOR_WITH_VECTORS.fitted([*right, *absent])
    assert PRIOR_WITH_VECTORS.confidence(0.4, 0.1) < ANSWERS_FROM < fitted.confidence(0.4, 0.1)
    assert fitted.confidence(0.1, 0.1) < ANSWERS_FROM
    assert PRIOR_WITH_VECTORS.fitted(absent) == PRIOR_WITH_VECTORS


def test_extreme_examples_do_not_diverge() -> None:
    """Examples that a line separates, and that are all the same, give finite weights and the right side."""
    separated = [Example(0.9, 0.5, True)] * 300 + [Example(0.1, 0.0, False, is_absent=True)] * 300
    fitted = PRIOR_WITH_VECTORS.fitted(separated)
    assert np.isfinite(fitted.weights).all()
    assert fitted.confidence(0.9, 0.5) > 0.9
    assert fitted.confidence(0.1, 0.0) < 0.1


@pytest.mark.parametrize(
    ("confidence", "similarity", "relevance", "is_above"),
    [(0.95, 0.6, 0.2, True), (0.95, 0.6, 0.9, False), (0.95, 0.9, 0.9, True), (0.8, 0.9, 0.2, False)],
)
def test_above_a_search(confidence: float, similarity: float, relevance: float, is_above: bool) -> None:
    """An entry is above a search if it is sure, and products do not answer the query or the question is the same."""
    match = FaqMatch(FaqEntry("a", "x", "y"), confidence, "x", similarity)
    assert match.is_above(relevance) == is_above


def test_bounds_of_an_entry() -> None:
    """Each wrong field of an entry is named."""
    wrong = FaqEntry("", " ", "x" * 4_001, ("x",) * 51, "x_y", ("",), ("x" * 257,))
    assert {each.field for each in violations(wrong)} == {
        "id", "question", "answer", "alternative_questions", "locale", "product_ids[0]", "categories[0]",
    }  # fmt: skip
    assert all(isinstance(each, FieldViolation) for each in violations(wrong))


def test_an_entry_beside_a_search() -> None:
    """Answers of searches are shared: one with an entry is a copy. A FAQ that is late is reported, and the search is
    whole; without a sure entry the answer is the same object.
    """
    searched = retrieval_pb2.RetrieveCandidatesResponse(total_size=3)
    sure, unsure = (FaqMatch(FaqEntry("a", "x", "y"), share, "x", 0.9) for share in (0.95, 0.6))
    above = with_entry(searched, FaqAnswer((sure,), True))
    assert (above.faq.entry.id, above.total_size) == ("a", 3)
    assert not searched.HasField("faq")
    assert with_entry(searched, FaqAnswer((unsure,), True)) is searched
    assert with_entry(searched, FaqAnswer((), False)) is searched
    late = with_entry(searched, None)
    assert late.total_size == 3
    assert [each.reason for each in late.degradations] == [common_pb2.DEGRADATION_REASON_LATE]


def test_a_page_of_large_entries() -> None:
    """A page ends before it is larger than a message may be, and says that more follows."""
    large = [FaqEntry(f"e{number}", "x", "y", ("x" * 512,) * 50) for number in range(201)]
    page = listed_to_proto(large, 500)
    assert 100 < len(page.entries) < 201
    assert page.ByteSize() < 5 << 20
    assert not page.is_last_page
    assert listed_to_proto(large[:2], 2).is_last_page
