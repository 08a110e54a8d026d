"""What shoppers look for most in the demo shop, in English and Chinese, through the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.first_results import DEPTH, QUERIES, figures_of, judged_text, read_rules
from catalog.products import read_catalogue
from cli.tour import SENTENCES
from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite

Stub = gateway_pb2_grpc.GatewayServiceStub
# About twenty products of each category.
SIZE = 1_200
RULES = read_rules(QUERIES.with_name("demo_head_queries.csv"))


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
    judged = {product.id: judged_text(product) for product in read_catalogue(folder / "products.jsonl.gz", "")}
    rules = {query: rule for query, rule in RULES.items() if query.isascii() == is_english}
    found = {query: search(stub, query, product_pb2.COLLAPSE_MODE_NONE).results for query in rules}
    rankings = {query: [result.product.id for result in results] for query, results in found.items()}
    existing = {query: rule.existing(judged.values()) for query, rule in rules.items()}
    figures = figures_of(rules, existing, judged, rankings)
    assert sum(~np.isnan(figures.first)) >= 60
    assert np.nanmean(figures.first) >= 0.95
    assert np.nanmean(figures.precision) >= 0.9
