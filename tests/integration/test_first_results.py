"""The first results of a search in an electronics shop, through the gateway: the product before its accessories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite

Stub = gateway_pb2_grpc.GatewayServiceStub
TITLES = {
    "slate": "Acme - Slate 2 with Wi-Fi - 16GB - Black",
    "slate case": "Fabrikam - Leather Case for Acme Slate 2 - Black",
    "slate sleeve": "Fabrikam - Sleeve for Acme Slate - Pink",
    "slate stand": "Contoso - Desk Stand for Most Acme Slate Models",
    "slate charger": "Contoso - Car Charger for Acme Slate",
    "hdtv": 'Acme - 46" Class / 1080p / 120Hz / LCD HDTV',
    "tv stand": "Fabrikam - TV Stand for Flat-Panel TVs Up to 52",
    "tv mount": "Contoso - Tilting TV Wall Mount for Most TVs",
    "tv antenna": "Contoso - Indoor TV Antenna",
    "laptop": "Acme - Voyager Laptop / 15.6 Display / 4GB Memory / 500GB Hard Drive",
    "laptop sleeve": "Fabrikam - Laptop Sleeve - Gray",
    "laptop charger": "Contoso - Laptop Charger",
    "laptop memory": "Contoso - 4GB DDR3 SoDIMM Memory for Acme Voyager Laptops",
    "camera": "Acme - D3100 14.2-Megapixel Camera with Wi-Fi - Black",
    "camera battery": "Contoso - Lithium-Ion Battery for Acme D3100 Cameras",
    "camera bag": "Fabrikam - Camera Bag for Acme D3100",
    "film": "Hidden Camera - Widescreen - DVD",
    "phone case": "Fabrikam - Silicone Phone Case - Blue",
    "phone": "Acme - Mobile Phone (Unlocked) - Black",
}


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    products = [
        product_pb2.Product(id=id, title=title, brand=title.partition(" - ")[0] if id != "film" else "")
        for id, title in TITLES.items()
    ]
    with (
        in_process_suite(tmp_path_factory.mktemp("suite"), ranker={"exploration": 0}) as suite,
        Connection(suite.gateway_target).stub() as stub,
    ):
        assert stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=products)])).rejected_count == 0
        yield stub


@pytest.mark.parametrize(
    ("query", "first", "type"),
    [
        ("slate", "slate", "slate"),
        ("slate case", "slate case", "case"),
        ("case for slate", "slate case", "case"),
        ("case slate", "slate case", "case"),
        ("tv", "hdtv", "hdtv"),
        ("televisions", "hdtv", "hdtv"),
        ("tv stand", "tv stand", "stand"),
        ("laptops", "laptop", "laptop"),
        ("laptop memory", "laptop memory", "memory"),
        ("memory for voyager laptop", "laptop memory", "memory"),
        ("camera", "camera", "camera"),
        ("camera with wifi", "camera", "camera"),
        ("battery d3100", "camera battery", "battery"),
        ("手机", "phone", "phone"),
        ("手机壳", "phone case", "case"),
    ],
)
def test_the_first_result(stub: Stub, query: str, first: str, type: str) -> None:
    """What is asked for is first, and the interpretation says what it was taken for."""
    answer = stub.Search(gateway_pb2.SearchRequest(query=query, page_size=5), timeout=20)
    assert answer.results[0].product.id == first
    assert answer.interpretation.product_type == type


@pytest.mark.parametrize(
    "query", [f"camera {'a' * 300}", f'camera "{"c" * 200}"', f"camera or {'d' * 200}", f"camera -{'e' * 300}"]
)
def test_long_words(stub: Stub, query: str) -> None:
    """A word that is longer than any name is searched for as others are."""
    assert stub.Search(gateway_pb2.SearchRequest(query=query), timeout=20).results


def test_a_literal_query_asks_for_no_type(stub: Stub) -> None:
    """Its words alone count."""
    answer = stub.Search(gateway_pb2.SearchRequest(query="slate", literal_query=True), timeout=20)
    assert not answer.interpretation.product_type


def test_without_the_type(stub: Stub) -> None:
    """The chip has the word; a request that ignores the type has neither chip nor type."""
    message = gateway_pb2.SearchRequest(query="slate case")
    read = stub.Search(message, timeout=20).interpretation
    (chip,) = (chip for chip in read.interpreted_as if chip.product_type)
    assert (chip.matched_text, chip.product_type, chip.query_without) == ("case", "case", "slate")
    message.ignore_product_type = True
    read = stub.Search(message, timeout=20).interpretation
    assert not read.product_type
    assert not any(chip.product_type for chip in read.interpreted_as)


def test_facet_and_filter(stub: Stub) -> None:
    """A type's count is the total after choosing it, in a search and when browsing; every result is of the type."""
    for query in ("slate", ""):
        message = gateway_pb2.SearchRequest(query=query, facets=["product_type"])
        (facet,) = stub.Search(message, timeout=20).facets
        assert {count.value for count in facet.counts} >= {"case", "slate"}
        for count in facet.counts:
            of_type = product_pb2.ProductFilter(product_types=[count.value.upper()])
            chosen = gateway_pb2.SearchRequest(query=query, filter=of_type)
            answer = stub.Search(chosen, timeout=20)
            assert answer.total_size == count.count
            assert all(count.value in TITLES[result.product.id].lower() for result in answer.results)


def test_recommendations_of_a_type(stub: Stub) -> None:
    """The filter holds in a placement, also for its fallback."""
    of_types = product_pb2.ProductFilter(product_types=["case", "sleeve"])
    message = gateway_pb2.RecommendRequest(placement="similar-items", item_ids=["slate case"], filter=of_types)
    shown = {result.product.id for result in stub.Recommend(message, timeout=20).results}
    assert shown == {"slate sleeve", "phone case", "laptop sleeve"}


def test_what_goes_with_a_product(stub: Stub) -> None:
    """In a shop without purchases: what is for the camera, and no other camera."""
    message = gateway_pb2.RecommendRequest(placement="bought-together", item_ids=["camera"], page_size=2)
    shown = {result.product.id for result in stub.Recommend(message, timeout=20).results}
    assert shown == {"camera battery", "camera bag"}
