"""What shoppers look for most in the demo shop, in English and Chinese, through the gateway."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import grpc
import pytest

from catalog.products import read_catalogue
from cli.tour import SENTENCES
from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.assistant.v1 import assistant_pb2
from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import conversation_pb2, gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite

Stub = gateway_pb2_grpc.GatewayServiceStub
# About twenty products of each category.
SIZE = 1_200
DEPTH = 5
# Which products are right for a query: `right` and not `wrong` is found in "Clothing > Jeans: Slim Jeans, Blue".
JUDGED = Path(__file__).parents[2] / "benchmarks" / "data" / "demo_head_queries.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def stub(folder: Path) -> Iterator[Stub]:
    with in_process_suite(folder / "state") as suite:
        connection = Connection(suite.gateway_target, timeout_s=60)
        load_products(connection, folder, build_catalogue(size=SIZE))
        with connection.stub() as stub:
            yield stub


def search(
    stub: Stub, query: str, collapse: product_pb2.CollapseMode.ValueType = product_pb2.COLLAPSE_MODE_UNSPECIFIED
) -> gateway_pb2.SearchResponse:
    request = gateway_pb2.SearchRequest(query=query, page_size=DEPTH, collapse=collapse)
    answer = stub.Search(request, timeout=20)
    assert not answer.degradations
    return answer


@pytest.mark.parametrize(("query", "category"), SENTENCES.items())
def test_sentences(stub: Stub, query: str, category: str) -> None:
    """A sentence in Chinese finds five products of what it asks for, and no condition is read."""
    answer = search(stub, query)
    assert [category in result.product.category_path for result in answer.results] == [True] * DEPTH
    assert answer.interpretation.language == "zh"
    assert not answer.interpretation.constraints


@pytest.mark.parametrize("is_english", [True, False])
def test_head_queries(stub: Stub, folder: Path, is_english: bool) -> None:
    """Of at least 60 queries in each language, 95 % of the first results and 90 % of the first five are what is asked
    for. Every variant is a result, as the rules count them.
    """
    texts = {
        p.id: f"{' > '.join(p.category_path)}: {p.title}" for p in read_catalogue(folder / "products.jsonl.gz", "")
    }
    firsts, precisions = list[bool](), list[float]()
    for row in csv.DictReader(JUDGED.open(newline="", encoding="utf-8")):
        right = {id for id, text in texts.items() if is_right(text, row["right"], row["wrong"])}
        if row["query"].isascii() == is_english and right:
            found = [result.product.id for result in search(stub, row["query"], product_pb2.COLLAPSE_MODE_NONE).results]
            firsts.append(found[:1] != [] and found[0] in right)
            precisions.append(len(right.intersection(found)) / min(DEPTH, len(right)))
    assert len(firsts) >= 60
    assert mean(firsts) >= 0.95
    assert mean(precisions) >= 0.9


def is_right(text: str, right: str, wrong: str) -> bool:
    return re.search(right, text, re.IGNORECASE) is not None and not (wrong and re.search(wrong, text, re.IGNORECASE))


def turn(stub: Stub, conversation_id: str = "", **fields: object) -> list[assistant_pb2.ConverseResponse]:
    """The events of a turn of one visitor; `fields`: of Utterance."""
    request = conversation_pb2.ConverseRequest(
        conversation_id=conversation_id,
        shopper=assistant_pb2.Shopper(visitor_id="talker"),
        utterance=assistant_pb2.Utterance(**fields),  # type: ignore[arg-type]
    )
    return [answer.event for answer in stub.Converse(request, timeout=20)]


@pytest.mark.parametrize(
    ("first", "then", "language"),
    [
        ("I want to buy a pair of jeans, any suggestions?", "in light blue, under 80", "en"),
        ("我想买一条牛仔裤，有什么推荐吗？", "浅蓝色的呢？80美元以下", "zh"),
    ],
)
def test_a_conversation_is_stored_and_refined(stub: Stub, first: str, then: str, language: str) -> None:
    """The second turn narrows the search of the first one, which is read from the ranker's store; every sentence with a
    price cites it.
    """
    events = turn(stub, text=first)
    conversation_id = events[0].begun.conversation_id
    assert events[-1].ended.is_stored
    assert {card.product.category_path[-1] for event in events for card in event.products.cards} == {"Jeans"}
    events = turn(stub, conversation_id, text=then)
    cards = [card for event in events for card in event.products.cards]
    assert cards
    assert {value for card in cards for value in card.product.attributes["colour"].values} == {"light blue"}
    assert max(card.price.offer.units for card in cards) < 80
    priced = [event.segment for event in events if re.search(r"\d\.\d\d", event.segment.text)]
    assert any("price" in {citation.field for citation in segment.citations} for segment in priced)
    assert events[-1].ended.language == language


def test_wrong_turns_are_refused(stub: Stub) -> None:
    """A text of 10,000 characters names the field, and an unknown conversation is not found."""
    with pytest.raises(grpc.RpcError) as caught:
        turn(stub, text="x" * 10_000)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "utterance.text" in (caught.value.details() or "")
    with pytest.raises(grpc.RpcError) as caught:
        turn(stub, "c" * 32, text="jeans")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
