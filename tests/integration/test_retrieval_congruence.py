"""One suite for both engines, through the handler over real gRPC: Qdrant Edge, and Qdrant through its client.

The client runs against ":memory:", and against a server when KAIROS_QDRANT_URL is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient

from kairos.common.v1 import common_pb2, product_pb2
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.retrieval.adapters.edge import EdgeCollection
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.fusion_model import save_fusion
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.app import RetrievalReplica
from services.retrieval.domain.learned_fusion import FEATURES, FusionNetwork
from services.retrieval.domain.query import FloatArray
from services.retrieval.handler import RetrievalHandler
from services.retrieval.settings import EdgeSettings, FusionSettings, RetrievalSettings
from services.retrieval.wiring import build_handler, handler_over, retriever_over
from tests.fakes.waiting import until

MODEL = "m@1"

if TYPE_CHECKING:  # the stub file alone knows this name
    Stub = retrieval_pb2_grpc.RetrievalServiceAsyncStub
ENGINES = [
    "edge",
    "memory",
    pytest.param(
        "server",
        marks=pytest.mark.skipif(not os.environ.get("KAIROS_QDRANT_URL"), reason="KAIROS_QDRANT_URL names no server"),
    ),
]


def handler_of(
    engine: str, folder: Path, fusion: FusionSettings | None = None, attributes_file: Path | None = None
) -> RetrievalHandler:
    settings = RetrievalSettings(data_dir=folder, fusion=fusion or FusionSettings(), attributes_file=attributes_file)
    if engine == "edge":
        return build_handler(settings)
    client = QdrantClient(":memory:") if engine == "memory" else QdrantClient(url=os.environ["KAIROS_QDRANT_URL"])
    collections = ServerCollections(client, f"test-{uuid.uuid4().hex[:8]}-")
    return handler_over(retriever_over(collections, settings), settings)


@pytest.fixture(params=ENGINES)
async def stub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(handler_of(request.param, tmp_path)) as client:
        yield client


@contextlib.asynccontextmanager
async def serving(handler: RetrievalHandler) -> AsyncIterator[Stub]:
    """A client of the handler, with the shop in its index."""
    server = grpc.aio.server()
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client: Stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        await client.UpsertProducts(upsert(*SHOP))
        yield client
    await server.stop(None)
    handler.close()


def product(id: str, title: str, brand: str, category: str, price: int | None, **more: object) -> product_pb2.Product:
    made = product_pb2.Product(id=id, title=title, brand=brand, category_path=category.split(" > "), **more)  # type: ignore[arg-type]
    if price is not None:
        made.price.currency_code, made.price.units = "USD", price
    return made


SHOP = (
    product("shoe", "Red running shoes", "Pacelane", "Shoes > Running Shoes", 90, stock=4),
    product("boot", "Leather hiking boots", "Solmara", "Shoes > Boots", 150, stock=0),
    product("cable", "HDMI cable 6ft", "Klarvox", "Electronics > Cables", 12),
    product("phones", "Wireless headphones", "Klarvox", "Electronics > Audio", None),
    product("chinese", "跑步鞋 红色", "Pacelane", "Shoes > Running Shoes", 70),
)
VECTORS = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.float32)


def values(*texts: str) -> product_pb2.AttributeValues:
    return product_pb2.AttributeValues(values=texts)


def upsert(*products: product_pb2.Product) -> retrieval_pb2.UpsertProductsRequest:
    return retrieval_pb2.UpsertProductsRequest(
        products=products,
        vectors=vectors_to_proto(VECTORS[: len(products)], MODEL),
        fingerprints=[p.id.encode() for p in products],
    )


def ask(text: str = "", vector: list[float] | None = None, **fields: object) -> retrieval_pb2.RetrieveCandidatesRequest:
    vectors = None if vector is None else vectors_to_proto(np.array([vector], np.float32), MODEL)
    return retrieval_pb2.RetrieveCandidatesRequest(text=text, query_vectors=vectors, **fields)  # type: ignore[arg-type]


async def found(stub: Stub, request: retrieval_pb2.RetrieveCandidatesRequest) -> list[str]:
    return list((await stub.RetrieveCandidates(request)).candidates.ids)


async def test_the_lexical_leg(stub: Stub) -> None:
    """Words find products in English, by their stems, and in Chinese."""
    assert (await found(stub, ask("hdmi cables")))[0] == "cable"
    assert (await found(stub, ask("跑步鞋")))[0] == "chinese"


@pytest.mark.parametrize("engine", ENGINES)
async def test_attributes_that_users_may_declare(engine: str, tmp_path: Path) -> None:
    """Searches, lists and lookups have those of the schema with use: features, and no others; equal ones are equal."""
    schema = tmp_path / "attributes.yaml"
    schema.write_text("tenants: {default: {size: {type: text}, age: {type: text, use: fairness}}}", "utf-8")
    made = [
        product(id, "Shirt", "B", "Shirts", 9, attributes={name: values(*texts) for name, texts in stated.items()})
        for id, stated in {
            "a": {"size": ["M", "L"], "age": ["9"]}, "b": {"colour": ["red"]}, "c": {"size": ["M", "L"]},
        }.items()
    ]  # fmt: skip
    async with serving(handler_of(engine, tmp_path, attributes_file=schema)) as stub:
        await stub.UpsertProducts(upsert(*made))
        for answer in (
            await stub.RetrieveCandidates(ask("shirt")),
            await stub.RetrieveCandidates(ask("shirt", sort=product_pb2.SORT_ORDER_NEWEST)),
            await stub.RetrieveCandidates(ask(filter=product_pb2.ProductFilter(categories=["Shirts"]))),
            await stub.LookupProducts(retrieval_pb2.LookupProductsRequest(ids=["a", "b", "c"])),
        ):
            found = dict(zip(answer.candidates.ids, answer.candidates.attributes, strict=True))
            stated = product_pb2.Product.FromString(found["a"]).attributes
            assert {name: list(each.values) for name, each in stated.items()} == {"size": ["M", "L"]}
            assert (found["c"], found["b"]) == (found["a"], b"")


async def test_the_application_has_them_too(tmp_path: Path) -> None:
    """What Ray Serve runs reads the same file."""
    schema = tmp_path / "attributes.yaml"
    schema.write_text("tenants: {default: {size: {type: text}}}", "utf-8")
    async with serving(RetrievalReplica(RetrievalSettings(data_dir=tmp_path, attributes_file=schema))) as stub:
        await stub.UpsertProducts(upsert(product("a", "Shirt", "B", "Shirts", 9, attributes={"size": values("M")})))
        answer = await stub.LookupProducts(retrieval_pb2.LookupProductsRequest(ids=["a"]))
        assert any(answer.candidates.attributes)


COLAS = (
    product("sugar", "Cola with sugar, sugar cane and more sugar", "A", "Drinks", 1),
    product("free", "Sugar free cola", "B", "Drinks", 1),
    product("none", "Cola drink", "C", "Drinks", 1, description="Without sugar? Tastes of sugar."),
    product("attribute", "Cola", "D", "Drinks", 1, attributes={"contains": values("sugars")}),
    product("chinese", "可乐 含糖 cola", "E", "Drinks", 1),
    product("wireless", "Wireless mouse", "F", "Mice", 1),
    product("wired", "Wired mouse", "G", "Mice", 1),
)


async def test_exclusions(stub: Stub) -> None:
    """What has an excluded word in title or attributes, by its stem, comes last and is no match, unless it says that it
    does without; a description does not matter.
    """
    await stub.UpsertProducts(retrieval_pb2.UpsertProductsRequest(products=COLAS))
    answer = await stub.RetrieveCandidates(ask("cola", excluded_words=["sugar", "糖"]))
    tiers = dict(zip(answer.candidates.ids, answer.candidates.tiers, strict=True))
    assert tiers == {"free": 0, "none": 0, "attribute": 4, "chinese": 4, "sugar": 4}
    assert set(list(answer.candidates.ids)[:2]) == {"free", "none"}
    assert answer.total_size == 2
    by_price = ask("cola", excluded_words=["sugars"], sort=product_pb2.SORT_ORDER_PRICE_ASCENDING)
    assert set(await found(stub, by_price)) == {"free", "none", "chinese"}
    assert (await found(stub, ask("mouse", excluded_words=["wired"])))[0] == "wireless"
    assert not (await stub.RetrieveCandidates(ask("cola"))).candidates.tiers


async def test_no_good_match(stub: Stub) -> None:
    """Relevance and helps are the same in both engines: of a word that no product has, and of a filter that leaves out
    what is asked for.
    """
    good = await stub.RetrieveCandidates(ask("hdmi cable", [0, 1, 0]))
    assert not good.HasField("no_good_match")
    assert good.assessment.relevance == pytest.approx(max(good.candidates.relevances))
    assert len(good.candidates.relevances) == len(good.candidates.ids)
    missing = await stub.RetrieveCandidates(ask("lipstick mascara"))
    assert list(missing.assessment.missing_words) == ["lipstick", "mascara"]
    assert missing.no_good_match.reason == retrieval_pb2.NO_GOOD_MATCH_REASON_WORDS
    narrowing = product_pb2.ProductFilter(categories=["Shoes"])
    filtered = await stub.RetrieveCandidates(ask("hdmi cable", filter=narrowing))
    assert filtered.no_good_match.reason == retrieval_pb2.NO_GOOD_MATCH_REASON_CONDITIONS
    (help,) = filtered.no_good_match.helps
    assert (help.kind, help.value, help.count) == (retrieval_pb2.HELP_KIND_WITHOUT_FILTER, "category", 1)
    by_price = await stub.RetrieveCandidates(ask("lipstick", sort=product_pb2.SORT_ORDER_PRICE_ASCENDING))
    assert not by_price.HasField("assessment")


async def test_phrases(stub: Stub) -> None:
    """What has the phrase comes before what has its words more often."""
    chargers = (
        product("scattered", "Rapid charger night charger rapid night", "A", "Chargers", 1),
        product("phrase", "Charger for cars, a rapid night charger", "B", "Chargers", 1),
        product("some", "Rapid charger", "C", "Chargers", 1),
    )
    await stub.UpsertProducts(retrieval_pb2.UpsertProductsRequest(products=chargers))
    answer = await stub.RetrieveCandidates(ask("rapid night charger", phrases=["Rapid night charger"]))
    tiers = zip(answer.candidates.ids, answer.candidates.tiers, strict=True)
    assert list(tiers) == [("phrase", 0), ("scattered", 2), ("some", 2)]


async def test_spelling_alternatives(stub: Stub) -> None:
    """One is looked up if no product has the typed word by its stem, also not in a description. What has a typed word
    comes before what has only the alternative.
    """
    locks = (
        product("oak lock", "Oak lock", "A", "Locks", 1),
        product("steel kettle", "Steel kettle", "B", "Kettles", 1),
        product("steel lock", "Steel lock", "C", "Locks", 1),
    )
    await stub.UpsertProducts(retrieval_pb2.UpsertProductsRequest(products=locks))
    other = retrieval_pb2.SpellingAlternative(typed="steal", meant="steel")
    request = ask("steal lock", vector=[1, 0.1, 0], spelling_alternatives=[other])
    answer = await stub.RetrieveCandidates(request)
    assert list(answer.also_searched) == [other]
    tiers = dict(zip(answer.candidates.ids, answer.candidates.tiers, strict=True))
    assert list(tiers)[:2] == ["steel lock", "oak lock"]
    assert (tiers["steel lock"], tiers["oak lock"], tiers["steel kettle"]) == (0, 0, 2)
    assert answer.total_size == 3
    alone = await stub.RetrieveCandidates(ask("steal", spelling_alternatives=[other]))
    assert set(alone.candidates.ids) == {"steel kettle", "steel lock"}

    wallet = product("wallet", "Wallet", "D", "Bags", 1, description="Nobody steals it.")
    await stub.UpsertProducts(retrieval_pb2.UpsertProductsRequest(products=[wallet]))
    answer = await stub.RetrieveCandidates(request)
    assert not answer.also_searched
    assert not answer.candidates.tiers
    await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=["wallet"]))
    assert (await stub.RetrieveCandidates(request)).also_searched


async def test_the_dense_leg(stub: Stub) -> None:
    """A vector finds its neighbours in order; a product with a zero vector is not among them."""
    answer = await stub.RetrieveCandidates(ask(vector=[1, 0.1, 0]))
    assert list(answer.candidates.ids)[:2] == ["shoe", "boot"]
    assert "chinese" not in answer.candidates.ids
    assert answer.candidates.dense_scores[0] == pytest.approx(0.995, abs=0.01)


async def test_both_legs(stub: Stub) -> None:
    """Text and vector together find what either finds, and each column has the score of its leg."""
    answer = await stub.RetrieveCandidates(ask("headphones", [1, 0, 0], with_vectors=True))
    row = list(answer.candidates.ids).index("phones")
    assert answer.candidates.lexical_scores[row] > 0
    assert {"shoe", "phones"} <= set(answer.candidates.ids)
    vectors = vectors_from_proto(answer.candidates.vectors, "vectors")
    np.testing.assert_allclose(vectors[row], [0, 0, 1], atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
async def test_learned_fusion(engine: str, tmp_path: Path) -> None:
    """A network of one feature orders by it, and each candidate has both scores, whichever leg found it."""
    for feature, best in (("cosine", "shoe"), ("coverage", "phones")):
        wanted = np.array([[10.0 if name == feature else 0.0] for name in FEATURES], np.float32)
        zeros, ones = np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32)
        network = FusionNetwork(zeros, 100 * ones, wanted, np.zeros(1, np.float32), np.ones(1, np.float32))
        save_fusion(network, tmp_path / feature, {})
        fusion = FusionSettings(method="learned", model_dir=tmp_path / feature)
        async with serving(handler_of(engine, tmp_path / f"{feature}-index", fusion)) as client:
            answer = await client.RetrieveCandidates(ask("wireless headphones", [1, 0.2, 0.1]))
        assert answer.candidates.ids[0] == best
        assert sorted(answer.candidates.scores, reverse=True) == list(answer.candidates.scores)
        row = list(answer.candidates.ids).index("phones")
        assert answer.candidates.lexical_scores[row] > 0
        assert answer.candidates.dense_scores[row] == pytest.approx(0.097, abs=0.01)


def test_a_missing_learned_fusion_is_refused_by_name(tmp_path: Path) -> None:
    """Retrieval does not start with a folder that holds no learned fusion."""
    fusion = FusionSettings(method="learned", model_dir=tmp_path)
    with pytest.raises(ValueError, match=r"fusion\.model_dir.*holds no learned fusion"):
        handler_of("memory", tmp_path / "index", fusion)


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        (product_pb2.ProductFilter(categories=["Shoes"]), {"shoe", "boot", "chinese"}),
        (product_pb2.ProductFilter(categories=["Shoes > Boots"]), {"boot"}),
        (product_pb2.ProductFilter(brands=["klarvox"]), {"cable", "phones"}),
        (product_pb2.ProductFilter(in_stock_only=True), {"shoe", "cable", "phones", "chinese"}),
        (
            product_pb2.ProductFilter(
                price=product_pb2.PriceRange(maximum=common_pb2.Money(currency_code="USD", units=90))
            ),
            {"shoe", "cable", "chinese"},
        ),
    ],
)
async def test_filters(stub: Stub, narrowing: product_pb2.ProductFilter, expected: set[str]) -> None:
    """Only what matches: categories with all below them, brands without case, stock, and prices that are known."""
    assert set(await found(stub, ask(filter=narrowing))) == expected


async def test_sort_by_price(stub: Stub) -> None:
    """Ascending and descending; a product without a price comes last both times."""
    up = await found(stub, ask(sort=product_pb2.SORT_ORDER_PRICE_ASCENDING))
    down = await found(stub, ask(sort=product_pb2.SORT_ORDER_PRICE_DESCENDING))
    assert up == ["cable", "chinese", "shoe", "boot", "phones"]
    assert down == ["boot", "shoe", "chinese", "cable", "phones"]


async def test_facets(stub: Stub) -> None:
    """Counts by brand over the filtered catalogue, most frequent first."""
    answer = await stub.RetrieveCandidates(ask(facets=["brand"]))
    assert sorted((c.value, c.count) for c in answer.facets[0].counts) == [
        ("Klarvox", 2),
        ("Pacelane", 2),
        ("Solmara", 1),
    ]
    assert answer.total_size == 5


@pytest.mark.parametrize("vector", [None, [1.0, 0, 0]], ids=["lexical", "both legs"])
async def test_a_soft_filter(stub: Stub, vector: list[float] | None) -> None:
    """What has the words and meets it comes first, also if its scores are lower; only it is counted."""
    await stub.UpsertProducts(retrieval_pb2.UpsertProductsRequest(products=HEADPHONES))
    cheap = product_pb2.ProductFilter(
        price=product_pb2.PriceRange(maximum=common_pb2.Money(currency_code="USD", units=23))
    )
    request = ask("headphones", vector, soft_filter=cheap, facets=["brand"])
    answer = await stub.RetrieveCandidates(request)
    candidates, (brands,) = answer.candidates, answer.facets
    meets = dict(zip(candidates.ids, candidates.meets_soft_filter, strict=True))
    assert candidates.ids[0] == "low"
    assert {"dear", "phones"} < set(meets)
    assert {id for id, holds in meets.items() if holds} - {"cable"} == {"low"}
    assert list(candidates.tiers) == [0] + [1] * (len(meets) - 1)
    assert (answer.soft_filter_applied, answer.total_size) == (True, 1)
    assert [(count.value, count.count) for count in brands.counts] == [("B", 1)]

    request.sort = product_pb2.SORT_ORDER_PRICE_DESCENDING
    assert list((await stub.RetrieveCandidates(request)).candidates.ids) == ["low", "dear", "phones"]
    request.sort = product_pb2.SORT_ORDER_UNSPECIFIED
    cheap.price.maximum.units = 13
    request.soft_filter.CopyFrom(cheap)
    answer = await stub.RetrieveCandidates(request)
    assert (answer.soft_filter_applied, answer.total_size, set(answer.candidates.tiers)) == (False, 3, {1})

    lookup = retrieval_pb2.LookupProductsRequest(ids=["dear", "cable"], soft_filter=cheap)
    assert list((await stub.LookupProducts(lookup)).candidates.meets_soft_filter) == [False, True]


HEADPHONES = (
    product("dear", "Headphones", "A", "Audio", 35),
    product("low", "Wired headphones for travel", "B", "Audio", 20),
)


async def test_a_soft_filter_without_a_query(stub: Stub) -> None:
    """Only what meets it is listed; if nothing does, it is ignored."""
    for brand, count in (("Klarvox", 2), ("unheard-of", 5)):
        answer = await stub.RetrieveCandidates(ask(soft_filter=product_pb2.ProductFilter(brands=[brand])))
        assert (answer.soft_filter_applied, len(answer.candidates.ids), answer.total_size) == (count < 5, count, count)


async def test_another_model_version_is_not_compared(stub: Stub) -> None:
    """A query vector of another model is not used: only the lexical leg answers, and a degradation reports it."""
    request = ask("cable", [1, 0, 0])
    request.query_vectors.model_version = "m@2"
    answer = await stub.RetrieveCandidates(request)
    assert answer.candidates.ids[0] == "cable"
    assert answer.degradations[0].reason == common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH


PICTURES = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 0], [0.9, 0.1]], np.float32)


def upsert_with_pictures(
    model: str = "image@1", pictures: FloatArray = PICTURES
) -> retrieval_pb2.UpsertProductsRequest:
    request = upsert(*SHOP)
    request.image_vectors.CopyFrom(vectors_to_proto(pictures, model))
    return request


def picture(*vector: float, model: str = "image@1") -> common_pb2.Vectors:
    return vectors_to_proto(np.array([vector], np.float32), model)


async def test_the_image_leg(stub: Stub) -> None:
    """An image finds its neighbours in order, and no product without an image; other legs are as before."""
    await stub.UpsertProducts(upsert_with_pictures())
    answer = await stub.RetrieveCandidates(ask(image_vector=picture(1, 0)))
    assert list(answer.candidates.ids) == ["shoe", "chinese", "boot", "cable"]
    np.testing.assert_allclose(answer.candidates.image_scores, [1, 0.994, 0.6, 0], atol=0.01)
    assert not any(answer.candidates.lexical_scores)
    assert (await found(stub, ask("hdmi", [0, 1, 0])))[0] == "cable"
    assert not (await stub.RetrieveCandidates(ask("hdmi"))).candidates.image_scores


async def test_image_and_text(stub: Stub) -> None:
    """Both together find what either finds, in the order of both, and each column has the score of its leg."""
    await stub.UpsertProducts(upsert_with_pictures())
    answer = (await stub.RetrieveCandidates(ask("boots", [0.8, 0.6, 0], image_vector=picture(0.6, 0.8)))).candidates
    assert answer.ids[0] == "boot"
    np.testing.assert_allclose([answer.image_scores[0], answer.dense_scores[0]], 1, atol=0.01)
    assert answer.lexical_scores[0] > 0
    assert "phones" in answer.ids


async def test_an_image_within_a_filter(stub: Stub) -> None:
    """Filters narrow the image leg as any other."""
    await stub.UpsertProducts(upsert_with_pictures())
    narrowing = product_pb2.ProductFilter(categories=["Shoes > Boots"])
    assert await found(stub, ask(image_vector=picture(1, 0), filter=narrowing)) == ["boot"]


async def test_similar_products(stub: Stub) -> None:
    """Similar by the product's image, without the product itself; if it has none by its text, with a degradation."""
    await stub.UpsertProducts(upsert_with_pictures())
    alike = await stub.RetrieveCandidates(ask(similar_to_id="shoe"))
    assert list(alike.candidates.ids) == ["chinese", "boot", "cable"]
    assert not alike.degradations
    without = await stub.RetrieveCandidates(ask(similar_to_id="phones"))
    assert "phones" not in without.candidates.ids
    assert [(d.reason, d.fallback) for d in without.degradations] == [
        (common_pb2.DEGRADATION_REASON_NO_PICTURE, "similar text")
    ]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetrieveCandidates(ask(similar_to_id="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_shop_without_images(stub: Stub) -> None:
    """There an image finds nothing and fails nothing; the other legs answer, and similar products go by their text."""
    assert await found(stub, ask(image_vector=picture(1, 0))) == []
    assert (await found(stub, ask("hdmi", image_vector=picture(1, 0))))[0] == "cable"
    assert (await found(stub, ask(similar_to_id="shoe")))[0] == "boot"


async def test_images_of_another_model(stub: Stub) -> None:
    """They are never compared: refused in an import, and skipped in a query, with a degradation."""
    await stub.UpsertProducts(upsert_with_pictures())
    answer = await stub.RetrieveCandidates(ask("cable", image_vector=picture(1, 0, 0, model="image@2")))
    assert answer.candidates.ids[0] == "cable"
    assert [(d.reason, d.fallback) for d in answer.degradations] == [
        (common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH, "retrieval without the picture")
    ]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.UpsertProducts(upsert_with_pictures("image@2"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "image_vectors.model_version" in (caught.value.details() or "")


async def test_an_image_that_was_removed(stub: Stub) -> None:
    """The image leg finds neither a product stored again without its image nor a removed one."""
    await stub.UpsertProducts(upsert_with_pictures())
    await stub.UpsertProducts(upsert(SHOP[0]))
    await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=["chinese"]))
    assert await found(stub, ask(image_vector=picture(1, 0))) == ["boot", "cable"]
    assert (await found(stub, ask("red running")))[0] == "shoe"


async def test_lookup_and_remove(stub: Stub) -> None:
    """Products by id come in the order asked for, with fingerprints; removed and unknown ids come back as missing."""
    request = retrieval_pb2.LookupProductsRequest(ids=["cable", "x", "shoe"], with_products=True)
    answer = await stub.LookupProducts(request)
    assert list(answer.candidates.ids) == ["cable", "shoe"]
    assert list(answer.fingerprints) == [b"cable", b"shoe"]
    assert product_pb2.Product.FromString(answer.candidates.products[0]) == SHOP[2]
    gone = await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=["cable", "x"]))
    assert (gone.removed_count, list(gone.missing_ids)) == (1, ["x"])
    assert list((await stub.LookupProducts(request)).missing_ids) == ["cable", "x"]


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda r: r.filter.price.CopyFrom(_range("USD", 9, "USD", 1)), "filter.price"),
        (lambda r: r.filter.price.CopyFrom(_range("USD", 1, "EUR", 9)), "filter.price"),
        (lambda r: r.query_vectors.CopyFrom(_not_a_number()), "query_vectors.values.data"),
        (lambda r: setattr(r, "limit", 1_001), "limit"),
        (lambda r: r.image_vector.CopyFrom(_not_a_number()), "image_vector.values.data"),
        (lambda r: r.image_vector.CopyFrom(vectors_to_proto(PICTURES, MODEL)), "image_vector.values.shape"),
        (lambda r: setattr(r, "similar_to_id", "x" * 129), "similar_to_id"),
    ],
)
async def test_bad_input(
    stub: Stub, spoil: Callable[[retrieval_pb2.RetrieveCandidatesRequest], None], field: str
) -> None:
    """Reversed ranges, mixed currencies, NaN and bounds are refused by the name of the field."""
    request = ask("x")
    spoil(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetrieveCandidates(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (caught.value.details() or "")


async def test_pages(stub: Stub) -> None:
    """Browsing continues behind the last product, and each page has the count of all; a search has no pages."""
    request, ids = ask(sort=product_pb2.SORT_ORDER_PRICE_ASCENDING, limit=2), list[str]()
    for _ in range(3):
        page = await stub.RetrieveCandidates(request)
        ids += page.candidates.ids
        request.page_token = page.next_page_token
        assert page.total_size == len(SHOP)
    assert ids == ["cable", "chinese", "shoe", "boot", "phones"]
    assert not request.page_token
    assert not (await stub.RetrieveCandidates(ask("shoes", limit=1))).next_page_token


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: setattr(r, "page_token", r.page_token[:-1]),
        lambda r: setattr(r, "sort", product_pb2.SORT_ORDER_NEWEST),
        lambda r: setattr(r, "text", "shoes"),
    ],
)
async def test_bad_page_tokens(stub: Stub, spoil: Callable[[retrieval_pb2.RetrieveCandidatesRequest], None]) -> None:
    """A damaged token, a token of another sort and a token together with a query are refused by name."""
    request = ask(limit=2)
    request.page_token = (await stub.RetrieveCandidates(request)).next_page_token
    spoil(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetrieveCandidates(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "page_token: " in (caught.value.details() or "")


def _range(low: str, minimum: int, high: str, maximum: int) -> product_pb2.PriceRange:
    return product_pb2.PriceRange(
        minimum=common_pb2.Money(currency_code=low, units=minimum),
        maximum=common_pb2.Money(currency_code=high, units=maximum),
    )


def _not_a_number() -> common_pb2.Vectors:
    return vectors_to_proto(np.array([[np.nan, 0, 0]], np.float32), MODEL)


_WRITE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.fakes.waiting import until
from tests.integration.test_retrieval_congruence import SHOP, handler_of, upsert
handler = handler_of("edge", Path(sys.argv[1]))
class Context:
    def invocation_metadata(self): return ()
answer = asyncio.run(handler.UpsertProducts(upsert(*SHOP), Context()))
assert answer.upserted_count == len(SHOP)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_images_survive_a_restart(tmp_path: Path) -> None:
    """Edge: a new process has the images and the version of their model."""

    class Context:
        def invocation_metadata(self) -> tuple[()]:
            return ()

    first = handler_of("edge", tmp_path)
    await first.UpsertProducts(upsert_with_pictures(), Context())
    first.close()
    second = handler_of("edge", tmp_path)
    answer = await second.RetrieveCandidates(ask(image_vector=picture(1, 0)), Context())
    second.close()
    assert list(answer.candidates.ids) == ["shoe", "chinese", "boot", "cable"]


async def test_images_survive_optimising(tmp_path: Path) -> None:
    """Edge: the optimised copy that replaces the collection has the images as well."""
    settings = RetrievalSettings(data_dir=tmp_path)
    collections = EdgeCollections(tmp_path, settings.edge)
    handler = RetrievalHandler(retriever_over(collections, settings), settings.workers, settings.answer_cache_mb)

    class Context:
        def invocation_metadata(self) -> tuple[()]:
            return ()

    await handler.UpsertProducts(upsert_with_pictures(), Context())
    collection = collections.get("default")
    assert isinstance(collection, EdgeCollection)
    assert collection.optimize(collections._run_optimizer)
    answer = await handler.RetrieveCandidates(ask(similar_to_id="shoe"), Context())
    handler.close()
    assert list(answer.candidates.ids) == ["chinese", "boot", "cable"]


async def test_optimised_after_a_restart(tmp_path: Path) -> None:
    """Edge: products that no optimised copy holds count as changed in the next process, and are optimised there."""

    class Context:
        def invocation_metadata(self) -> tuple[()]:
            return ()

    def generations() -> list[Path]:
        return list((tmp_path / "default").glob("generation-*"))

    first = handler_of("edge", tmp_path)
    await first.UpsertProducts(upsert(*SHOP), Context())
    first.close()
    (before,) = generations()
    eager = EdgeSettings(optimize_after=len(SHOP), optimize_idle_s=0.05)
    second = EdgeCollections(tmp_path, eager)
    await until(lambda: len(generations()) == 1 and before not in generations())
    second.close()
    third = EdgeCollections(tmp_path, EdgeSettings())
    collection = third.get("default")
    assert isinstance(collection, EdgeCollection)
    assert collection.changed == 0
    third.close()


def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    """Edge: after an acknowledged upsert and kill -9, a new process finds everything."""
    root = Path(__file__).parents[2]
    died = subprocess.run([sys.executable, "-c", _WRITE_AND_DIE, str(tmp_path)], cwd=root, check=False)
    assert died.returncode == -9
    handler = handler_of("edge", tmp_path)

    class Context:
        def invocation_metadata(self) -> tuple[()]:
            return ()

    ids = [entry.id for entry in SHOP]

    async def look() -> retrieval_pb2.LookupProductsResponse:
        return await handler.LookupProducts(retrieval_pb2.LookupProductsRequest(ids=ids), Context())

    answer = asyncio.run(look())
    handler.close()
    assert list(answer.candidates.ids) == ids


async def test_equal_scores_have_an_order(stub: Stub) -> None:
    """Of more products with one score than the limit, the same query always returns the same ones in one order."""
    same = [product(f"lamp-{number}", "Desk lamp", "Klarvox", "Lamps", 20) for number in range(40)]
    request = retrieval_pb2.UpsertProductsRequest(
        products=same, vectors=vectors_to_proto(np.tile(VECTORS[2], (40, 1)), MODEL),
        fingerprints=[one.id.encode() for one in same],
    )  # fmt: skip
    await stub.UpsertProducts(request)
    answers = [await found(stub, ask("desk lamp", [0.0, 1.0, 0.0], limit=25)) for _ in range(4)]
    assert len(answers[0]) == 25
    assert answers[1:] == answers[:1] * 3


async def test_accessories(stub: Stub) -> None:
    """Without a query: what is for the product, within the filter. In a search: all but what is for another one."""
    await stub.UpsertProducts(
        upsert(
            product("case", "Acme - Case for Klarvox X9 Phones", "Acme", "Electronics", 9, stock=0),
            product("charger", "Acme - Charger for Klarvox Phones", "Acme", "Electronics", 9),
            product("other case", "Acme - Case for Solmara Phones", "Acme", "Electronics", 9),
            product("any case", "Acme - Phone Case", "Acme", "Electronics", 9),
        )
    )
    named = [retrieval_pb2.ProductName(title="Klarvox - X9 Phone", brand="Klarvox")]
    answer = await stub.RetrieveCandidates(ask(accessories_for=named, with_vectors=True))
    assert list(answer.candidates.ids) == ["case", "charger"]
    assert list(answer.candidates.product_types) == ["case", "charger"]
    assert list(answer.candidates.scores) == [1, 0.5]
    assert answer.candidates.vectors.values.shape[0] == 2
    in_stock = product_pb2.ProductFilter(in_stock_only=True)
    assert await found(stub, ask(accessories_for=named, filter=in_stock)) == ["charger"]
    assert await found(stub, ask(accessories_for=named, excluded_ids=["case"], limit=1)) == ["charger"]
    assert set(await found(stub, ask("case", accessories_for=named))) == {"case", "any case"}


async def test_excluded_filters(stub: Stub) -> None:
    """What matches one of them is in neither candidates nor total nor facets, of a search and when browsing."""
    await stub.UpsertProducts(
        upsert(
            product("red mug", "Acme - Red Mug", "Acme", "Kitchen", 9),
            product("blue mug", "Klarvox - Blue Mug", "Klarvox", "Kitchen", 9),
            product("gift mug", "Solmara - Gift Mug", "Solmara", "Gifts", 9),
        )
    )
    excluded = [product_pb2.ProductFilter(brands=["KLARVOX"]), product_pb2.ProductFilter(categories=["Gifts"])]
    only = product_pb2.ProductFilter(categories=["Kitchen", "Gifts"])
    for text in ("mug", ""):
        answer = await stub.RetrieveCandidates(ask(text, filter=only, excluded_filters=excluded, facets=["brand"]))
        assert (list(answer.candidates.ids), answer.total_size) == (["red mug"], 1)
        assert [count.value for count in answer.facets[0].counts] == ["Acme"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetrieveCandidates(ask("mug", excluded_filters=[product_pb2.ProductFilter()]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "excluded_filters[0]" in (caught.value.details() or "")


def moderated(id: str, **fields: object) -> retrieval_pb2.SetModerationRequest:
    """Without fields: nothing is found about the product."""
    entry = retrieval_pb2.ModeratedProduct(id=id)
    if fields:
        entry.moderation.MergeFrom(product_pb2.Moderation(**fields))  # type: ignore[arg-type]
    return retrieval_pb2.SetModerationRequest(products=[entry])


BLOCKED, PASSED = product_pb2.MODERATION_OUTCOME_BLOCK, product_pb2.MODERATION_OUTCOME_PASS


async def test_a_blocked_product_is_nowhere(stub: Stub) -> None:
    """No search, count, facet, lookup or variant has it, until a decision shows it again; its vector stays."""
    by_vector, by_word = ask(vector=[0.0, 1.0, 0.0]), ask("hdmi cable", facets=["brand"])
    before = await stub.RetrieveCandidates(by_word)
    assert (await found(stub, by_vector))[0] == "cable"
    assert (await stub.SetModeration(moderated("cable", outcome=BLOCKED))).changed_count == 1
    assert "cable" not in await found(stub, by_vector)
    after = await stub.RetrieveCandidates(by_word)
    assert "cable" not in after.candidates.ids
    assert [(each.value, each.count) for each in after.facets[0].counts] != [
        (each.value, each.count) for each in before.facets[0].counts
    ]
    lookup = retrieval_pb2.LookupProductsRequest(ids=["cable"], with_products=True)
    assert (await stub.LookupProducts(lookup)).missing_ids == ["cable"]
    browsed = await stub.RetrieveCandidates(ask())
    assert (browsed.total_size, "cable" in browsed.candidates.ids) == (len(SHOP) - 1, False)
    lookup.context.shows_blocked = True
    kept = product_pb2.Product.FromString((await stub.LookupProducts(lookup)).candidates.products[0])
    assert kept.moderation.outcome == BLOCKED
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.RetrieveCandidates(ask(similar_to_id="cable"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    await stub.SetModeration(moderated("cable"))
    assert (await found(stub, by_vector))[0] == "cable"


async def test_markets_and_audiences(stub: Stub) -> None:
    """A product is shown in the markets and to the audience that moderation allows, and unknown ids are named."""
    assert (await stub.SetModeration(moderated("nothing", outcome=BLOCKED))).missing_ids == ["nothing"]
    await stub.SetModeration(moderated("shoe", outcome=PASSED, market_outcomes={"de": BLOCKED}))
    await stub.SetModeration(moderated("boot", outcome=PASSED, adults_only=True))
    seen = {}
    for market, audience in itertools.product(("", "de"), (common_pb2.AUDIENCE_GENERAL, common_pb2.AUDIENCE_ADULT)):
        request = ask("shoes boots")
        request.context.market, request.context.audience = market, audience
        for _ in range(3):
            # The third answer comes from memory.
            seen[market, audience] = {"shoe", "boot"} & set(await found(stub, request))
    assert list(seen.values()) == [{"shoe"}, {"shoe", "boot"}, set(), {"boot"}]


async def test_what_reviews_say(stub: Stub) -> None:
    """Candidates have the sentiment once a product has reviews; an import keeps it, and unknown ids are named."""
    assert not (await stub.RetrieveCandidates(ask("hdmi cable"))).candidates.review_sentiments
    said = product_pb2.ReviewSummary(count=3, mean=4.5, rating=4.0, sentiment=0.5)
    entries = [retrieval_pb2.SummarizedProduct(id=id, summary=said) for id in ("cable", "nothing")]
    answer = await stub.SetReviewSummaries(retrieval_pb2.SetReviewSummariesRequest(products=entries))
    assert (answer.changed_count, list(answer.missing_ids)) == (1, ["nothing"])
    for _ in range(2):
        browsed = (await stub.RetrieveCandidates(ask())).candidates
        assert dict(zip(browsed.ids, browsed.review_sentiments, strict=True)) == {
            "shoe": 0.0, "boot": 0.0, "cable": 0.5, "phones": 0.0, "chinese": 0.0,
        }  # fmt: skip
        stored = dict(zip(browsed.ids, browsed.products, strict=True))["cable"]
        assert product_pb2.Product.FromString(stored).reviews == said
        await stub.UpsertProducts(upsert(*SHOP))
    await stub.SetReviewSummaries(
        retrieval_pb2.SetReviewSummariesRequest(products=[retrieval_pb2.SummarizedProduct(id="cable")])
    )
    lookup = retrieval_pb2.LookupProductsRequest(ids=["cable"], with_products=True)
    (stored,) = (await stub.LookupProducts(lookup)).candidates.products
    assert not product_pb2.Product.FromString(stored).HasField("reviews")
