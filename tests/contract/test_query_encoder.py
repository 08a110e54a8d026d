"""QueryEncoderService over real gRPC with the real model, by protos/kairos/encoder/v1/encoder.proto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.arrays import FloatArray
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.common.rpc import DETAILS_KEY
from services.common.session_mixing import SessionMixing
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.adapters.understanding_files import save_understanding
from services.query_encoder.handler import QueryEncoderHandler
from services.query_encoder.ports import TextKind
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import assemble, build_handler
from tests.fakes.understanding import LABELS, network

DIMENSIONS = 384
RULE, MODEL = encoder_pb2.UNDERSTANDING_SOURCE_RULE, encoder_pb2.UNDERSTANDING_SOURCE_MODEL
NAN = np.full((1, DIMENSIONS), np.nan, dtype=np.float32)
PRODUCTS = [
    product_pb2.Product(id=f"h{number}", title=f"Sony noise cancelling headphones {number}", brand="Sony")
    for number in range(3)
] + [
    product_pb2.Product(
        id="s1",
        title="Nike Pegasus",
        localized_titles={"zh": "耐克飞马"},
        brand="Nike",
        category_path=["Shoes", "Running Shoes"],
        attributes={"colour": product_pb2.AttributeValues(values=["Red"])},
    ),
    product_pb2.Product(id="zh", title="红色跑步鞋"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> QueryEncoderSettings:
    return QueryEncoderSettings(data_dir=tmp_path_factory.mktemp("query_encoder"), bulk_threads=1)


@pytest.fixture(scope="module")
def handler(settings: QueryEncoderSettings) -> Iterator[QueryEncoderHandler]:
    built = build_handler(settings)
    yield built
    built.close()


@pytest.fixture
async def stub(handler: QueryEncoderHandler) -> AsyncIterator[encoder_pb2_grpc.QueryEncoderServiceAsyncStub]:
    # Each test has an event loop of its own. The handler may serve all of them: no query is waiting between two tests.
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield encoder_pb2_grpc.QueryEncoderServiceStub(channel)
    await server.stop(None)


# In quotes: only the stubs' type files know this name.
Stub: TypeAlias = "encoder_pb2_grpc.QueryEncoderServiceAsyncStub"


def query(text: str, tenant: str = "", **context: object) -> encoder_pb2.EncodeQueryRequest:
    return encoder_pb2.EncodeQueryRequest(
        context=common_pb2.RequestContext(request_id="r1", tenant=tenant),
        text=text,
        query_context=encoder_pb2.QueryContext(**context),  # type: ignore[arg-type]
    )


def vector_of(response: encoder_pb2.EncodeQueryResponse) -> FloatArray:
    """Shape [dimensions]."""
    row: FloatArray = vectors_from_proto(response.vector, "vector")[0]
    return row


async def refusal(call: Callable[..., object], request: object) -> tuple[grpc.StatusCode, list[str]]:
    """(code, wrong fields) of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(request)  # type: ignore[misc]
    raw = dict(caught.value.trailing_metadata() or ())[DETAILS_KEY]
    bad = error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode()).details:
        detail.Unpack(bad)
    return caught.value.code(), [violation.field for violation in bad.field_violations]


async def test_english_query(stub: Stub) -> None:
    """An English query has its language, tokens and price, and a vector of length 1 that names its model."""
    said = await stub.EncodeQuery(query("  Running  SHOES under $100 "))
    assert said.language == "en"
    assert said.normalized_text == said.corrected_text == "running shoes under $100"
    assert said.retrieval_text == "running shoes"
    assert list(said.tokens) == ["run", "shoe"]
    (price,) = said.constraints
    assert price.type == encoder_pb2.CONSTRAINT_TYPE_PRICE
    assert price.matched_text == "under $100"
    assert (price.price.maximum.units, price.price.maximum.currency_code) == (100, "USD")
    assert not price.price.HasField("minimum")
    assert said.vector.model_version == "all-minilm-l6-v2@1"
    assert vector_of(said).shape == (DIMENSIONS,)
    assert np.linalg.norm(vector_of(said)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "kind", "matched", "values", "looked_up"),
    [
        ("headphones without a microphone", "EXCLUSION", "without a microphone", ["microphone"], "headphones"),
        ("红色跑步鞋 不要黑色", "EXCLUSION", "不要黑色", ["黑色"], "红色跑步鞋"),
        ('pegasus "running shoes"', "PHRASE", '"running shoes"', ["running shoes"], "pegasus running shoes"),
        ("nike or adidas pegasus", "ALTERNATIVES", "nike or adidas", ["nike", "adidas"], "nike adidas pegasus"),
    ],
)
async def test_operators(stub: Stub, text: str, kind: str, matched: str, values: list[str], looked_up: str) -> None:
    """Exclusions, phrases and alternatives are typed conditions, and their operators are not looked up."""
    said = await stub.EncodeQuery(query(text))
    of_kind = encoder_pb2.ConstraintType.Value(f"CONSTRAINT_TYPE_{kind}")
    (found,) = [one for one in said.constraints if one.type == of_kind]
    assert (found.matched_text, list(found.alternatives) or [found.value]) == (matched, values)
    assert said.retrieval_text == looked_up


async def test_chinese_query(stub: Stub) -> None:
    """A Chinese query has segmented tokens, its price and concepts, and the vector of its English rendering."""
    said = await stub.EncodeQuery(query("红色手机３００元以下"))
    assert said.language == "zh"
    assert said.retrieval_text == "红色手机"
    assert list(said.tokens) == ["红色", "手机"]
    assert [(c.matched_text, c.price.maximum.currency_code) for c in said.constraints] == [("300元以下", "CNY")]
    assert [(c.matched_text, c.id, c.kind) for c in said.concepts] == [
        ("红色", "red", encoder_pb2.CONCEPT_KIND_COLOUR),
        ("手机", "phone", encoder_pb2.CONCEPT_KIND_PRODUCT),
    ]
    assert said.rendered_text == "red phone"
    english = await stub.EncodeQuery(query("red phone"))
    assert not english.rendered_text
    np.testing.assert_allclose(vector_of(said), vector_of(english), atol=1e-6)


class ReadsChinese:
    """An encoder that knows every text, and records the texts."""

    model_version, dimensions = "bilingual@1", 2

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> FloatArray:
        self.texts += texts
        return np.tile(np.array([1, 0], np.float32), (len(texts), 1))


async def test_an_encoder_that_reads_chinese(tmp_path: Path) -> None:
    """It gets the query and its English rendering as one text, or the query alone if it has no rendering."""
    encoder = ReadsChinese()
    settings = QueryEncoderSettings(data_dir=tmp_path)
    handler = assemble(settings, [encoder], SqliteLexiconStore(tmp_path), embedded_domain())
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)
            said = await stub.EncodeQuery(query("红色手机"))
            unread = await stub.EncodeQuery(query("量子纠缠"))
    finally:
        await server.stop(None)
        handler.close()
    assert encoder.texts[-2:] == ["红色手机 red phone", "量子纠缠"]
    assert said.rendered_text == "red phone"
    assert unread.HasField("vector")
    assert not unread.rendered_text


async def test_unknown_chinese(stub: Stub) -> None:
    """Chinese that neither the model nor the concept graph knows has no vector."""
    said = await stub.EncodeQuery(query("量子纠缠"))
    assert not said.HasField("vector")
    assert not said.rendered_text
    assert not said.concepts


async def test_concepts_take_the_words_of_the_shop(stub: Stub) -> None:
    """Expansions are labels that occur in the shop's titles; a colour has the shop's name of it."""
    tenant = common_pb2.RequestContext(tenant="boots")
    products = [
        product_pb2.Product(
            id="1",
            title="Leather ankle boots",
            attributes={"colour": product_pb2.AttributeValues(values=["Wine Red"])},
        )
    ]
    await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(context=tenant, products=products))
    said = await stub.EncodeQuery(query("酒紅色的靴子", "boots"))
    assert [list(c.expansions) for c in said.concepts if c.id == "boots"] == [["boots"]]
    assert [(c.matched_text, c.value) for c in said.constraints] == [("酒紅色", "Wine Red")]
    shoes = await stub.EncodeQuery(query("鞋子", "boots"))
    assert [list(c.expansions) for c in shoes.concepts] == [["boots"]]


async def test_english_stays_as_typed(stub: Stub) -> None:
    """An English query has concepts, and gets other words only if the shop knows none of its own."""
    tenant = common_pb2.RequestContext(tenant="pots")
    products = [product_pb2.Product(id="1", title="Red teapot"), product_pb2.Product(id="2", title="Dinnerware")]
    await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(context=tenant, products=products))
    said = await stub.EncodeQuery(query("red teapots", "pots"))
    assert [(c.id, list(c.expansions)) for c in said.concepts] == [("red", []), ("teapot", [])]
    # No title has this word; the graph knows the shop's word for it.
    other = await stub.EncodeQuery(query("crockery", "pots"))
    assert [(c.id, list(c.expansions)) for c in other.concepts] == [("tableware", ["dinnerware"])]


async def test_idempotent(stub: Stub) -> None:
    """The same query twice has the same answer."""
    request = query("coffee grinder")
    assert await stub.EncodeQuery(request) == await stub.EncodeQuery(request)


async def test_products_teach_the_lexicon(stub: Stub, settings: QueryEncoderSettings) -> None:
    """After an import, queries are corrected and read with the shop's words, also by a service that starts later."""
    shop = common_pb2.RequestContext(tenant="shop")
    request = encoder_pb2.EncodeProductsRequest(context=shop, products=PRODUCTS)
    encoded = vectors_from_proto((await stub.EncodeProducts(request)).vectors, "vectors")
    assert encoded.shape == (len(PRODUCTS), DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), [1, 1, 1, 1, 0], atol=1e-5)

    said = await stub.EncodeQuery(query("sony headphnoes", "shop"))
    assert said.corrected_text == "sony headphones"
    assert not said.spelling_alternatives
    doubtful = await stub.EncodeQuery(query("nose", "shop"))
    assert doubtful.corrected_text == "nose"
    assert (list(doubtful.doubtful_words), list(doubtful.spelling_alternatives)) == (["nose"], ["noise"])
    assert [(c.type, c.value) for c in said.constraints] == [(encoder_pb2.CONSTRAINT_TYPE_BRAND, "Sony")]
    assert (encoded @ vector_of(said)).argmax() < 3

    reopened = build_handler(settings)
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(reopened, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        again = await encoder_pb2_grpc.QueryEncoderServiceStub(channel).EncodeQuery(query("red running shoes", "shop"))
    await server.stop(None)
    reopened.close()
    assert {(c.type, c.value) for c in again.constraints} == {
        (encoder_pb2.CONSTRAINT_TYPE_COLOUR, "Red"),
        (encoder_pb2.CONSTRAINT_TYPE_CATEGORY, "Shoes > Running Shoes"),
    }


async def test_suggestions(stub: Stub) -> None:
    """Prefixes are completed to brands, categories, phrases and past queries of the shop; typos are corrected."""
    shop = common_pb2.RequestContext(tenant="suggesting")
    await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(context=shop, products=PRODUCTS))
    for shopper in "abc":
        asked = query("sony noise headphones", "suggesting")
        asked.shopper = shopper
        await stub.EncodeQuery(asked)
    # What one person searches often is nobody else's business.
    for _ in range(9):
        asked = query("sony cancelling", "suggesting")
        asked.shopper = "a"
        await stub.EncodeQuery(asked)

    async def kinds(prefix: str) -> dict[str, tuple[int, bool]]:
        request = encoder_pb2.SuggestRequest(context=shop, prefix=prefix)
        return {s.text: (s.kind, s.spelling_corrected) for s in (await stub.Suggest(request)).suggestions}

    assert (await kinds("so"))["Sony"] == (encoder_pb2.SUGGESTION_KIND_BRAND, False)
    assert "sony cancelling" not in await kinds("sony c")
    assert (await kinds("sony n"))["sony noise headphones"] == (encoder_pb2.SUGGESTION_KIND_QUERY, False)
    assert (await kinds("run"))["running shoes"] == (encoder_pb2.SUGGESTION_KIND_CATEGORY, False)
    assert (await kinds("cancelling headphnoes"))["noise cancelling headphones"] == (
        encoder_pb2.SUGGESTION_KIND_PRODUCT, True,
    )  # fmt: skip
    assert await kinds("") == {}


@pytest.mark.parametrize(("fields", "field"), [({"prefix": "x" * 513}, "prefix"), ({"limit": -1}, "limit")])
async def test_bad_prefix(stub: Stub, fields: dict[str, Any], field: str) -> None:
    """A prefix that is too long, and a negative limit, is INVALID_ARGUMENT that names the field."""
    request = encoder_pb2.SuggestRequest(**fields)
    assert await refusal(stub.Suggest, request) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_tenants_are_separate(stub: Stub) -> None:
    """The brands of one tenant are unknown to another."""
    request = encoder_pb2.EncodeProductsRequest(context=common_pb2.RequestContext(tenant="one"), products=PRODUCTS)
    await stub.EncodeProducts(request)
    assert not (await stub.EncodeQuery(query("sony", "other"))).constraints
    assert (await stub.EncodeQuery(query("sony", "one"))).constraints


async def test_context_moves_the_vector(stub: Stub) -> None:
    """The session and the category move the query's vector towards theirs; it keeps length 1."""
    plain = vector_of(await stub.EncodeQuery(query("pegasus")))
    shoes = vector_of(await stub.EncodeQuery(query("running shoes")))
    session = vectors_to_proto(shoes[np.newaxis], "all-minilm-l6-v2@1")
    for said in (
        await stub.EncodeQuery(query("pegasus", session=session)),
        await stub.EncodeQuery(query("pegasus", category="Shoes > Running Shoes")),
    ):
        assert vector_of(said) @ shoes > plain @ shoes
        assert np.linalg.norm(vector_of(said)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("category", ["", "Shoes > Running Shoes"])
async def test_a_session_that_follows(stub: Stub, category: str) -> None:
    """Mixed in by the caller, a session gives the vector that it gives in the request; without it nothing changes."""
    row = np.random.default_rng(0).normal(size=(1, DIMENSIONS)).astype(np.float32)
    session = vectors_to_proto(row / np.linalg.norm(row), "all-minilm-l6-v2@1")
    plain = await stub.EncodeQuery(query("pegasus", category=category))
    given = await stub.EncodeQuery(query("pegasus", category=category, session=session))
    said = await stub.EncodeQuery(query("pegasus", category=category, session_follows=True))
    (mixing,) = said.session_mixings
    base = vectors_from_proto(mixing.base, "base")[0]
    mixed = SessionMixing(base, mixing.weight).mixed(vectors_from_proto(session, "session")[0])
    np.testing.assert_array_equal(mixed, vectors_from_proto(given.vector, "vector")[0])
    assert said.vector == plain.vector
    assert not plain.session_mixings
    assert not given.session_mixings


async def test_session_of_another_model(stub: Stub) -> None:
    """A session vector of another model version is ignored, whatever its shape."""
    session = vectors_to_proto(np.ones((1, 3), dtype=np.float32), "other@1")
    plain, said = await stub.EncodeQuery(query("pegasus")), await stub.EncodeQuery(query("pegasus", session=session))
    np.testing.assert_array_equal(vector_of(said), vector_of(plain))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (query(""), "text"),
        (query(" \t　"), "text"),
        (query("a" * 513), "text"),
        (query("shoes " * 200_000), "text"),
        (query("shoes", tenant="No Such/Tenant"), "context.tenant"),
        (query("shoes", category="x" * 100_000), "query_context.category"),
        (
            query("shoes", session=vectors_to_proto(NAN, "all-minilm-l6-v2@1")),
            "query_context.session.values.data",
        ),
        (
            query("shoes", session=vectors_to_proto(np.ones((1, 3), np.float32), "all-minilm-l6-v2@1")),
            "query_context.session",
        ),
    ],
    ids=["empty", "blank", "long", "1 MB", "tenant", "category", "NaN", "dimensions"],
)
async def test_bad_query(stub: Stub, request_: encoder_pb2.EncodeQueryRequest, field: str) -> None:
    """INVALID_ARGUMENT that names the field."""
    assert await refusal(stub.EncodeQuery, request_) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


@pytest.mark.parametrize(
    ("products", "fields"),
    [
        ([], ["products"]),
        ([product_pb2.Product(id=str(number), title="mug") for number in range(513)], ["products"]),
        ([PRODUCTS[0], product_pb2.Product(id="x")], ["products[1].title"]),
        ([product_pb2.Product(id="x", title="x" * 1_000_000)], ["products[0].title"]),
    ],
    ids=["none", "too many", "no title", "1 MB"],
)
async def test_bad_products(stub: Stub, products: list[product_pb2.Product], fields: list[str]) -> None:
    """INVALID_ARGUMENT that names the product and its field; its words are not learned."""
    request = encoder_pb2.EncodeProductsRequest(context=common_pb2.RequestContext(tenant="bad"), products=products)
    assert await refusal(stub.EncodeProducts, request) == (grpc.StatusCode.INVALID_ARGUMENT, fields)
    assert not (await stub.EncodeQuery(query("sony", "bad"))).constraints


async def test_spent_budget(stub: Stub) -> None:
    """A request without time left is refused before any work."""
    request = query("shoes")
    request.context.budget.remaining.FromNanoseconds(0)
    assert (await refusal(stub.EncodeQuery, request))[0] == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_chinese_products_with_english_titles(stub: Stub) -> None:
    """A product with a Chinese title is embedded by its English one."""
    product = product_pb2.Product(id="1", title="跑步鞋", localized_titles={"en": "Running shoes"})
    encoded = await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(products=[product]))
    said = await stub.EncodeQuery(query("running shoes"))
    assert vectors_from_proto(encoded.vectors, "vectors")[0] @ vector_of(said) > 0.95


async def test_no_understanding_without_a_model(stub: Stub) -> None:
    """Without an understanding model the response has no understanding."""
    assert not (await stub.EncodeQuery(query("where is my order"))).HasField("understanding")


async def test_understanding(settings: QueryEncoderSettings, tmp_path: Path) -> None:
    """With a version the response has intent, category, tags and sentiment, with source and confidence; the category is
    one of this shop. Other tenants have none.
    """
    registry = ModelRegistry(tmp_path / "models" / "clothes" / "understanding")
    believes = network(DIMENSIONS, intent={"advice": 0.75}, category={"Home > Mugs": 0.9}, sentiment={"neutral": 0.9})
    about = {"encoder": settings.model_version}
    registry.publish(lambda folder: save_understanding(believes, LABELS, folder, about), {"created_s": 1.0})
    registry.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
    handler = build_handler(settings.model_copy(update={"data_dir": tmp_path, "registry_dir": tmp_path / "models"}))
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    shop = common_pb2.RequestContext(tenant="clothes")
    jeans = product_pb2.Product(id="1", title="Blue jeans", brand="Acme", category_path=["Clothing", "Jeans"])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)
        await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(context=shop, products=[jeans]))
        asked = (await stub.EncodeQuery(query("something for the weekend", "clothes"))).understanding
        named = (await stub.EncodeQuery(query("acme jeans", "clothes"))).understanding
        elsewhere = await stub.EncodeQuery(query("something for the weekend"))
        late = (await stub.EncodeQuery(query("订单太差了 我要退款", "clothes"))).understanding
    await server.stop(None)
    handler.close()
    assert asked.model_version.startswith("understanding@")
    assert not elsewhere.HasField("understanding")
    assert (asked.intent.value, asked.intent.source) == (encoder_pb2.INTENT_ADVICE, MODEL)
    assert asked.intent.confidence == pytest.approx(0.75, abs=1e-4)
    # The network predicts mugs, which this shop does not sell.
    assert not asked.HasField("category")
    assert (named.intent.value, named.intent.source) == (encoder_pb2.INTENT_FIND, RULE)
    assert (named.category.value, named.category.source) == ("Clothing > Jeans", RULE)
    assert [(tag.name, tag.value, tag.matched_text) for tag in named.tags] == [("brand", "Acme", "acme")]
    assert named.sentiment.value == encoder_pb2.SENTIMENT_NEUTRAL
    assert late.intent.value == encoder_pb2.INTENT_ORDER
    assert late.sentiment.value == encoder_pb2.SENTIMENT_NEGATIVE


async def test_deleted_products_leave_the_lexicon(stub: Stub) -> None:
    """A brand, word and suggestion go with the last product, and come back with it; a changed title takes its old words
    back.
    """
    shop = common_pb2.RequestContext(tenant="leaving")
    lamps = [product_pb2.Product(id=str(n), title="Zephyr reading lamp", brand="Zephyr") for n in range(3)]

    async def known() -> tuple[list[str], list[str]]:
        """(suggestions for "zep", brands that are read in a query), as soon as they have changed."""
        suggested = await stub.Suggest(encoder_pb2.SuggestRequest(context=shop, prefix="zep"))
        read = await stub.EncodeQuery(query("zephyr lamp", "leaving"))
        return [each.text for each in suggested.suggestions], [each.value for each in read.constraints]

    async def until(suggestions: list[str], brands: list[str]) -> None:
        for _ in range(200):
            if (found := await known()) == (suggestions, brands):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(found)

    await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(context=shop, products=lamps))
    await until(["Zephyr", "zephyr reading lamp"], ["Zephyr"])
    await stub.UpdateLexicon(encoder_pb2.UpdateLexiconRequest(context=shop, deleted_ids=["0", "1", "unknown"]))
    changed = product_pb2.Product(id="2", title="Reading lamp", brand="Other")
    await stub.UpdateLexicon(encoder_pb2.UpdateLexiconRequest(context=shop, products=[changed]))
    await until([], [])
    await stub.UpdateLexicon(encoder_pb2.UpdateLexiconRequest(context=shop, products=lamps))
    await until(["Zephyr", "zephyr reading lamp"], ["Zephyr"])


@pytest.mark.parametrize(
    ("products", "ids", "field"),
    [(["a"] * 513, [], "products"), ([], ["a"] * 1001, "deleted_ids"), ([], [""], "deleted_ids[0]"),
     (["a"], ["b", "a"], "deleted_ids"), ([" "], [], "products[0].id")],
)  # fmt: skip
async def test_bounds_of_a_lexicon_update(stub: Stub, products: list[str], ids: list[str], field: str) -> None:
    """A wrong product or id is refused by its name, and nothing is learned."""
    request = encoder_pb2.UpdateLexiconRequest(
        products=[product_pb2.Product(id=id, title="mug") for id in products], deleted_ids=ids
    )
    assert await refusal(stub.UpdateLexicon, request) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_texts(stub: encoder_pb2_grpc.QueryEncoderServiceAsyncStub) -> None:
    """Texts are encoded as they are, also as queries; a row is zero for a language that the model does not know. Beyond
    the bounds they are refused.
    """
    texts = ["How can I return an order?", "怎么退货"]
    answers = [
        await stub.EncodeTexts(encoder_pb2.EncodeTextsRequest(texts=texts, are_queries=are_queries))
        for are_queries in (False, True)
    ]
    rows = [vectors_from_proto(answer.vectors, "vectors") for answer in answers]
    assert list(answers[0].languages) == ["en", "zh"]
    assert rows[0][0] @ rows[1][0] == pytest.approx(1, abs=0.02)
    assert not rows[0][1].any()
    assert not rows[1][1].any()
    many = encoder_pb2.EncodeTextsRequest(texts=["x"] * 9, are_queries=True)
    for request in (many, *(encoder_pb2.EncodeTextsRequest(texts=texts) for texts in ([], ["x"] * 513, [""]))):
        call = stub.EncodeTexts(request)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
