"""Retrieval's helps as searches, and the sentence that names them."""

from __future__ import annotations

import pytest

from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.adapters.text_files import load_texts
from services.gateway.flows.abstention import report_relevance

QUERY = "nordhem red sofaa under $50"


def response() -> gateway_pb2.SearchResponse:
    answer = gateway_pb2.SearchResponse()
    answer.interpretation.corrected_text = QUERY
    for matched, constraint in (
        ("nordhem", encoder_pb2.Constraint(type=encoder_pb2.CONSTRAINT_TYPE_BRAND)),
        ("red", encoder_pb2.Constraint(type=encoder_pb2.CONSTRAINT_TYPE_COLOUR, attribute="colour")),
        ("under $50", encoder_pb2.Constraint(type=encoder_pb2.CONSTRAINT_TYPE_PRICE)),
        ("without legs", encoder_pb2.Constraint(type=encoder_pb2.CONSTRAINT_TYPE_EXCLUSION)),
    ):
        answer.interpretation.interpreted_as.add(matched_text=matched, constraint=constraint)
    return answer


def reported(help: retrieval_pb2.Help, locale: str = "en", explain: bool = False) -> gateway_pb2.SearchResponse:
    answer, found = response(), retrieval_pb2.RetrieveCandidatesResponse()
    found.assessment.relevance = 0.25
    found.assessment.missing_words.append("sofaa")
    found.assessment.evidence.covered = 0.5
    found.no_good_match.reason = retrieval_pb2.NO_GOOD_MATCH_REASON_WORDS
    found.no_good_match.helps.append(help)
    message = gateway_pb2.SearchRequest(query=QUERY, explain=explain)
    report_relevance(answer, message, found, load_texts(None).of(locale))
    return answer


@pytest.mark.parametrize(
    ("kind", "value", "shown", "query"),
    [
        ("WITHOUT_CONDITION", "brand", "nordhem", "red sofaa under $50"),
        ("WITHOUT_CONDITION", "attributes.colour", "red", "nordhem sofaa under $50"),
        ("WITHOUT_CONDITION", "price", "under $50", "nordhem red sofaa"),
        ("WITHOUT_EXCLUSION", "legs", "without legs", QUERY),
        ("WITHOUT_FILTER", "category", "category", QUERY),
        ("OTHER_SPELLING", "sofaa", "sofa", "nordhem red sofa under $50"),
        ("NEAREST_CATEGORY", "Chairs", "Chairs", ""),
        ("NEAREST_TYPE", "chair", "chair", "chair"),
    ],
)
def test_helps(kind: str, value: str, shown: str, query: str) -> None:
    """Each is a search without the words of its condition, or with others; the sentence has its value and count."""
    number = retrieval_pb2.HelpKind.Value(f"HELP_KIND_{kind}")
    answer = reported(retrieval_pb2.Help(kind=number, value=value, replacement="sofa", count=7))
    assert list(answer.no_good_match.helps) == [gateway_pb2.SearchHelp(kind=number, value=shown, query=query, count=7)]
    assert all(part in answer.no_good_match.text for part in (QUERY, "sofaa", shown, "7"))


def test_the_sentence_in_chinese() -> None:
    help = retrieval_pb2.Help(kind=retrieval_pb2.HELP_KIND_NEAREST_CATEGORY, value="沙发", count=3)
    answer = reported(help, "zh-CN")
    assert (answer.no_good_match.language, "最接近的商品：沙发（3 件）" in answer.no_good_match.text) == ("zh", True)


def test_evidence_only_on_request() -> None:
    help = retrieval_pb2.Help(kind=retrieval_pb2.HELP_KIND_NEAREST_TYPE, value="chair", count=1)
    assert reported(help).relevance == 0.25
    assert not reported(help).HasField("relevance_evidence")
    assert reported(help, explain=True).relevance_evidence.covered == 0.5


def test_without_an_assessment() -> None:
    """Retrieval that did not assess the candidates says nothing of them."""
    answer = response()
    texts = load_texts(None).of("en")
    report_relevance(answer, gateway_pb2.SearchRequest(), retrieval_pb2.RetrieveCandidatesResponse(), texts)
    assert answer == response()
