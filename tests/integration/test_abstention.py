"""A search that has no good match says so, and names what would help: through the gateway, over the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from ops.client import Connection
from ops.in_process import in_process_suite

Stub = gateway_pb2_grpc.GatewayServiceStub
GOOD = 0.5
# Every so many products of the demo shop.
_SAMPLE = 6


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    folder = tmp_path_factory.mktemp("suite")
    with in_process_suite(folder) as suite:
        connection = Connection(suite.gateway_target)
        load_products(connection, folder, build_catalogue()[::_SAMPLE])
        with connection.stub() as stub:
            yield stub


def search(stub: Stub, query: str, **fields: object) -> gateway_pb2.SearchResponse:
    message = gateway_pb2.SearchRequest(query=query, **fields)  # type: ignore[arg-type]
    answer: gateway_pb2.SearchResponse = stub.Search(message, timeout=20)
    return answer


@pytest.mark.parametrize("query", ["running shoes", "women's summer dress", "dog food", "跑步鞋", "dress not red"])
def test_the_shop_s_own_queries(stub: Stub, query: str) -> None:
    """They have a good match, and the best of the page is as relevant as the answer says."""
    answer = search(stub, query)
    assert not answer.HasField("no_good_match")
    assert answer.relevance >= GOOD
    assert max(result.relevance for result in answer.results) <= answer.relevance
    assert not answer.missing_words


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ("lipstick", ["lipstick"]),
        ("hamster cage", ["hamster"]),
        ("plumber near me", ["plumber"]),
        ("冰箱", ["冰箱"]),
        ("WH-1000XM", ["wh-1000xm"]),
    ],
)
def test_queries_of_another_shop(stub: Stub, query: str, missing: list[str]) -> None:
    """They have results all the same. Each help is true: the search that it names has so many products."""
    answer = search(stub, query)
    assert answer.no_good_match.reason == retrieval_pb2.NO_GOOD_MATCH_REASON_WORDS
    assert set(missing) <= set(answer.missing_words)
    assert missing[0] in answer.no_good_match.text
    assert answer.relevance < GOOD
    for help in answer.no_good_match.helps:
        if help.kind == retrieval_pb2.HELP_KIND_NEAREST_CATEGORY:
            narrowing = product_pb2.ProductFilter(categories=[help.value])
            assert search(stub, "", filter=narrowing, collapse=product_pb2.COLLAPSE_MODE_NONE).total_size == help.count


def test_without_the_filter(stub: Stub) -> None:
    """What is asked for is in another category."""
    answer = search(stub, "running shoes", filter=product_pb2.ProductFilter(categories=["Kitchen"]))
    assert answer.no_good_match.reason == retrieval_pb2.NO_GOOD_MATCH_REASON_CONDITIONS
    (help,) = answer.no_good_match.helps
    assert (help.kind, help.value) == (retrieval_pb2.HELP_KIND_WITHOUT_FILTER, "category")
    assert search(stub, help.query).total_size >= help.count > 0


def test_without_a_condition_of_the_text(stub: Stub) -> None:
    """The shop has cookware, and the brand, but no cookware of it; the sentence is in the language of the request."""
    for query, language in (("stridewell frying pan", "en"), ("stridewell 平底锅", "zh")):
        answer = search(stub, query)
        assert answer.no_good_match.language == language
        assert answer.no_good_match.reason == retrieval_pb2.NO_GOOD_MATCH_REASON_CONDITIONS
        (help,) = answer.no_good_match.helps
        assert (help.kind, help.value) == (retrieval_pb2.HELP_KIND_WITHOUT_CONDITION, "stridewell")
        assert not search(stub, help.query).HasField("no_good_match")


def test_an_unknown_word_among_known_ones(stub: Stub) -> None:
    """The results are a good match, and the word is named."""
    answer = search(stub, "running shoes x7000q")
    assert not answer.HasField("no_good_match")
    assert list(answer.missing_words) == ["x7000q"]


def test_what_has_no_relevance(stub: Stub) -> None:
    """A list that is sorted by price, and a request that browses."""
    for fields in ({"query": "lipstick", "sort": product_pb2.SORT_ORDER_PRICE_ASCENDING}, {"query": ""}):
        answer = search(stub, **fields)
        assert not answer.HasField("no_good_match")
        assert not answer.HasField("relevance")
        assert not any(result.HasField("relevance") for result in answer.results)


def test_evidence_is_explained(stub: Stub) -> None:
    """Only on request."""
    assert search(stub, "running shoes", explain=True).relevance_evidence.covered == pytest.approx(1)
    assert not search(stub, "running shoes").HasField("relevance_evidence")


def test_later_pages(stub: Stub) -> None:
    """Only the first page says how good the matches are."""
    first = search(stub, "lipstick", page_size=2)
    second = search(stub, "lipstick", page_size=2, page_token=first.next_page_token)
    assert first.HasField("no_good_match")
    assert not second.HasField("no_good_match")
    assert not second.missing_words
