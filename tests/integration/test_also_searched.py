"""Other spellings of a word that no product has, through the gateway: they do no harm, and the answer names them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite

Stub = gateway_pb2_grpc.GatewayServiceStub
TITLES = {
    "oak": "Oak Lock", "brass": "Brass Lock", "kettle": "Steel Kettle", "pan": "Steel Pan", "cup": "Steel Cup",
    "sour": "Stone Sour Record", "soul": "Stone Soul Record", "poster": "Stone Soul Poster", "mug": "Stone Soul Mug",
}  # fmt: skip


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    products = [product_pb2.Product(id=id, title=title) for id, title in TITLES.items()]
    with (
        in_process_suite(tmp_path_factory.mktemp("suite")) as suite,
        Connection(suite.gateway_target).stub() as stub,
    ):
        assert stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=products)])).rejected_count == 0
        yield stub


def test_what_was_typed_comes_first(stub: Stub) -> None:
    """Locks come before steel kettles, and the query that the answer gives to remove the other spelling has none."""
    answer = stub.Search(gateway_pb2.SearchRequest(query="steal lock"))
    ids = [result.product.id for result in answer.results]
    assert set(ids[:2]) == {"oak", "brass"}
    assert {"kettle", "pan", "cup"} <= set(ids[2:])
    (other,) = answer.interpretation.also_searched
    assert (other.matched_text, other.alternative, other.query_without) == ("steal", "steel", '"steal" lock')
    without = stub.Search(gateway_pb2.SearchRequest(query=other.query_without))
    assert not without.interpretation.also_searched
    assert not stub.Search(
        gateway_pb2.SearchRequest(query="steal lock", literal_query=True)
    ).interpretation.also_searched


def test_a_clean_query_is_searched_as_typed(stub: Stub) -> None:
    """One title has these words side by side: more frequent ones are no matter."""
    answer = stub.Search(gateway_pb2.SearchRequest(query="stone sour"))
    assert answer.interpretation.corrected_text == "stone sour"
    assert not answer.interpretation.also_searched
    assert answer.results[0].product.id == "sour"
