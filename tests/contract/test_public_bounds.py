"""Every text and every list of a public request has a bound that is checked before any work is done."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.assistant.v1 import assistant_pb2
from kairos.common.v1 import event_pb2, faq_pb2, offer_pb2, product_pb2
from kairos.control.v1 import merchandising_pb2
from kairos.gateway.v1 import gateway_pb2, product_reviews_pb2
from kairos.ranker.v1 import conversation_pb2 as stored_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2
from services.common.convert import vectors_to_proto
from services.common.product import PRICE_BOUNDS
from tests.contract.gateways import Running, running_gateway, violated_fields
from tests.fakes.stages import FakeStages

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods
METHODS_BY_NAME = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods_by_name
FILTER, PRODUCT, EVENT = "kairos.common.v1.ProductFilter", "kairos.common.v1.Product", "kairos.common.v1.Event"
GATEWAY = "kairos.gateway.v1."
ATTRIBUTE = "kairos.ranker.v1.UserAttribute"
CONTROL, ASSISTANT = "kairos.control.v1.", "kairos.assistant.v1."
FAQ = "kairos.common.v1.FaqEntry"

# Values beyond the documented bound of a field, by the field's full name, else by its name. For a repeated field of
# texts the first value is a list that is too long, the second one has an entry that is too long.
ID = ["x" * 129, "a\nb", "\0", "a\u2028b", "\x7f"]
PHRASE = ["x" * 129, "?", "x " * 17]
TAG = ["x" * 36, "en_US", "x", "é", "en-"]
BEYOND: dict[str, list[Any]] = {
    **dict.fromkeys(("user_id", "visitor_id", "session_id", "item_id", "event_id", "similar_to_id", "id"), ID),
    **dict.fromkeys(("order_id", "quote_id"), ID),
    "query": ["x" * 513],
    "prefix": ["x" * 513],
    "locale": [*TAG, "x" * 5_000],
    "page_token": ["x" * 4_097],
    **{f"{GATEWAY}{method}Request.page_token": ["x" * 4_097, "x"] for method in ("Search", "Recommend")},
    "model_version": ["x" * 257],
    "market": ["x" * 17, "DE", "-"],
    "currency_code": ["usd", "QQQ", "US", "x" * 1_000],
    "facets": [["brand"] * 9, ["x"], ["attributes." + "x" * 65]],
    "image": [b"x" * ((8 << 20) + 1)],
    "product_ids": [["x"] * 101, *([id] for id in ID)],
    "ids": [["x"] * 1_001, *([id] for id in ID)],
    f"{GATEWAY}StoreEmbeddingsRequest.ids": [["x"] * 501, *([id] for id in ID)],
    f"{GATEWAY}StoreItemVectorsRequest.ids": [["x"] * 501, *([id] for id in ID)],
    f"{GATEWAY}BeginItemVectorsRequest.dimensions": [-1, 0, 1_025],
    "log": [0, 99],
    "placement": ["x" * 65, "no-such-placement"],
    # The shop's own name.
    f"{GATEWAY}SearchRequest.placement": ["x" * 65],
    "item_ids": [["x"] * 21, *([id] for id in ID)],
    "cart_item_ids": [["x"] * 101, *([id] for id in ID)],
    "fingerprints": [[b"x" * 16] * 2, [b"x" * 17]],
    "attribution_token": ["x" * 1_025, "x"],
    "question": ["x" * 513, " "],
    "near_count": [-1],
    f"{FAQ}.alternative_questions": [["x"] * 51, ["x" * 513]],
    f"{FAQ}.answer": ["x" * 4_001, ""],
    f"{FAQ}.product_ids": [["x"] * 51, *([id] for id in ID)],
    f"{FAQ}.categories": [["x"] * 21, ["x" * 257]],
    f"{FAQ}.locale": TAG,
    f"{GATEWAY}ListFaqEntriesRequest.page_token": ID,
    f"{FILTER}.categories": [["x"] * 65, ["x"] * 100, ["x" * 1_046]],
    f"{FILTER}.brands": [["x"] * 65, ["x"] * 100, ["x" * 257]],
    **{f"{FILTER}.{name}": [["x"] * 65, ["x"] * 100, ["x" * 65]] for name in ("product_types", "compatible_with")},
    "kairos.common.v1.AttributeFilter.name": ["x" * 65],
    "kairos.common.v1.AttributeFilter.values": [["x"] * 65, ["x" * 129]],
    f"{PRODUCT}.title": ["x" * 1_001],
    f"{PRODUCT}.description": ["x" * 20_001],
    f"{PRODUCT}.brand": ["x" * 257],
    f"{PRODUCT}.category_path": [["x"] * 9, ["x" * 129]],
    f"{PRODUCT}.image_uri": ["x" * 2_049],
    f"{PRODUCT}.item_group_id": ["x" * 129, "a\nb"],
    f"{PRODUCT}.variant_attributes": [["x"] * 9, ["x" * 65], ["A"]],
    f"{PRODUCT}.sku": ["x" * 129],
    f"{PRODUCT}.gtin": ["x" * 129, "4006381333932"],
    f"{PRODUCT}.mpn": ["x" * 129],
    "kairos.common.v1.AttributeValues.values": [["x"] * 33, ["x" * 129]],
    "kairos.common.v1.Tensor.shape": [[1, 1, 1, 1]],
    "kairos.common.v1.Tensor.data": [b"x" * 9],
    **{name: [-1] for name in ("page_size", "limit", "sample_size", "quantity", "dwell_ms")},
    "sort": [99],
    f"{GATEWAY}SearchRequest.faq": [99],
    "feedback_id": ID,
    "kairos.common.v1.Feedback.rating": [-1, 6],
    "kairos.common.v1.Feedback.text": ["x" * 2_001],
    "turn_id": ["x" * 129],
    f"{GATEWAY}ProductReview.review_id": ["x" * 101, "", "a\nb"],
    f"{GATEWAY}ProductReview.rating": [0, 6],
    f"{GATEWAY}ProductReview.text": ["x" * 2_001],
    "kairos.common.v1.ReviewSummary.count": [-1],
    "kairos.common.v1.ReviewSummary.mean": [0.5, math.nan],
    "kairos.common.v1.ReviewSummary.rating": [5.5, math.inf],
    "kairos.common.v1.ReviewSummary.sentiment": [-1.5, math.nan],
    "collapse": [99],
    "fulfilment": [9],
    "best_facet_count": [-1, 9],
    **{name: ["x" * 65, "a\nb"] for name in ("price_list_id", "place_id")},
    "product_id": ID,
    "fulfilments": [[9], [1, 9]],
    "source": [9],
    "type": [0, 99],
    f"{ATTRIBUTE}.name": ["x" * 65, ""],
    f"{ATTRIBUTE}.texts": [["x"] * 17, ["x" * 65]],
    f"{ATTRIBUTE}.number": [math.inf, math.nan],
    "rules": [99],
    "queries": [["x"] * 1_001, ["x" * 513]],
    "query_count": [-1, 1_001],
    "description": ["x" * 513],
    f"{CONTROL}RuleTrigger.categories": [["x"] * 65, ["x" * 1_046]],
    **dict.fromkeys(("equals", "starts_with", "contains"), PHRASE),
    "attribute": ["x" * 65, ""],
    f"{CONTROL}AudienceCondition.values": [["x"] * 65, ["x" * 65]],
    "position": [0, 101],
    f"{CONTROL}RuleProducts.ids": [["x"] * 101, *([id] for id in ID)],
    "multiplier": [0.1, 1, 6, math.nan],
    "url": ["/" + "x" * 2_048, "javascript:x", "//x", "/a b"],
    **{name: [["x"] * 17, *([text] for text in PHRASE)] for name in ("terms", "alternatives", "words")},
    "text": ["x" * 513, "?"],
    "payload": ["x" * 8_193, ""],
    "time_zone": ["x" * 1_000, "../etc/passwd"],
    "starts_at": ["24:00", "x"],
    "ends_at": ["24:01", "x"],
    "days": [["monday"] * 2, ["x"]],
    **dict.fromkeys(("conversation_id", "chip_id"), ID),
    f"{GATEWAY}AppendTurnRequest.conversation_id": ["", "x" * 21, "x" * 129, "x" * 21 + "/"],
    **{f"{ASSISTANT}{name}.text": ["x" * 1_001, " "] for name in ("Utterance", "TranscriptAlternative")},
    "confidence": [-0.1, 1.1, math.nan],
    "utterance": ["x" * 1_001],
    "shown_item_ids": [["x"] * 21, *([id] for id in ID)],
    "state": [b"x" * 4_097],
    "turn_count": [-1],
}  # fmt: skip
# Lists of messages: one entry more than is allowed.
MANY = {
    f"{FILTER}.attributes": 17,
    f"{GATEWAY}RecordEventsRequest.events": 1_001,
    f"{GATEWAY}ImportProductsRequest.products": 501,
    f"{GATEWAY}UpdateOffersRequest.offers": 1_001,
    f"{GATEWAY}ImportProductReviewsRequest.reviews": 501,
    f"{GATEWAY}SetReviewSummariesRequest.products": 501,
    f"{GATEWAY}ImportFaqEntriesRequest.entries": 501,
    f"{GATEWAY}SetUserAttributesRequest.attributes": 33,
    f"{GATEWAY}PreviewRulesRequest.rules": 11,
    **{f"{of}.transcripts": 9 for of in (f"{ASSISTANT}Utterance", f"{GATEWAY}SearchRequest")},
    f"{CONTROL}RuleTrigger.queries": 33,
    f"{CONTROL}RuleTrigger.audience": 9,
    f"{CONTROL}MerchandisingRule.actions": 33,
    f"{CONTROL}RuleValidity.daily_windows": 17,
}
# Maps: more entries than are allowed, then a wrong key, then a wrong value.
LANGUAGES = [f"x{a}{b}" for a in "abcd" for b in "abcde"]
MAPS: dict[str, list[dict[str, Any]]] = {
    f"{PRODUCT}.localized_titles": [dict.fromkeys(LANGUAGES, "x"), {"en_US": "x"}, {"en": "x" * 1_001}],
    f"{PRODUCT}.localized_descriptions": [dict.fromkeys(LANGUAGES, "x"), {"x" * 36: "x"}, {"en": "x" * 20_001}],
    f"{PRODUCT}.attributes": [{f"a{n}": ["x"] for n in range(65)}, {"x" * 65: ["x"]}, {"A": ["x"]}],
}
# Lists of bytes that belong to the products of a message.
IMAGES = f"{GATEWAY}ImportProductsRequest.images"
STREAMS = ("ImportProducts", "UpdateOffers")
CONVERSE = "Converse"
# What is too long is cut.
CUT = ("turn.answer",)
# ExplainItem and PreviewRules do not read these of the request that they are about. Previews are of searches.
IGNORED = (
    "search.page_token", "search.facets", "search.best_facet_count", "recommend.page_token",
    "rules[0].trigger.placements",
)  # fmt: skip

Change = Callable[[Any], Any]


def whole(method: str) -> list[Any]:
    """Valid requests of the method; together they hold every message that it can have."""
    narrowing = product_pb2.ProductFilter(attributes=[product_pb2.AttributeFilter(name="a", values=["x"])])
    narrowing.price.minimum.currency_code = narrowing.price.maximum.currency_code = "USD"
    event = event_pb2.Event(event_id="e", user_id="u", item_id="p1", type=event_pb2.EVENT_TYPE_CLICK)
    product = product_pb2.Product(id="new", title="New")
    product.attributes["a"].values.append("x")
    for name in ("price", *PRICE_BOUNDS):
        getattr(product, name).currency_code = "USD"
    offer = offer_pb2.Offer(product_id="p1", source=offer_pb2.OFFER_SOURCE_PRICING)
    offer.updated_at.seconds = 1
    offer.price.currency_code = offer.base_price.currency_code = "USD"
    transcripts = [assistant_pb2.TranscriptAlternative(text="a")]
    search = gateway_pb2.SearchRequest(filter=narrowing, transcripts=transcripts)
    review = product_reviews_pb2.ProductReview(review_id="r", product_id="p1", visitor_id="v", rating=5)
    said = product_pb2.ReviewSummary(count=1, mean=5, rating=4, sentiment=0.1)
    summary = product_reviews_pb2.ProductReviewSummary(product_id="p1", summary=said)
    recommend = gateway_pb2.RecommendRequest(filter=narrowing)
    products = merchandising_pb2.RuleProducts(ids=["p1"], filter=narrowing)
    actions: list[dict[str, Any]] = [
        {"pin": merchandising_pb2.Pin(product_id="p1", position=1)},
        {"boost": merchandising_pb2.Boost(products=products, multiplier=2)},
        {"include": merchandising_pb2.Include(product_ids=["p1"])},
        {"exclude": merchandising_pb2.Exclude(products=products)},
        {"redirect": merchandising_pb2.Redirect(url="/a")},
        {"synonyms": merchandising_pb2.Synonyms(terms=["a"], alternatives=["b"])},
        {"ignore_words": merchandising_pb2.IgnoreWords(words=["a"])},
        {"replace_query": merchandising_pb2.ReplaceQuery(text="a")},
        {"banner": merchandising_pb2.Banner(payload="a")},
    ]
    rules = [
        merchandising_pb2.MerchandisingRule(
            id="r", actions=[merchandising_pb2.RuleAction(**action)],
            trigger=merchandising_pb2.RuleTrigger(
                queries=[merchandising_pb2.QueryCondition(equals="a")],
                audience=[merchandising_pb2.AudienceCondition(attribute="a", values=["b"])],
            ),
            validity=merchandising_pb2.RuleValidity(
                daily_windows=[merchandising_pb2.DailyWindow(starts_at="09:00", ends_at="10:00")], time_zone="UTC"
            ),
        )
        for action in actions
    ]  # fmt: skip
    vectors = vectors_to_proto(np.ones((1, 2), np.float32), "m@1")
    shopper = assistant_pb2.Shopper(visitor_id="v")
    heard = assistant_pb2.Utterance(transcripts=[assistant_pb2.TranscriptAlternative(text="a")])
    turn = stored_pb2.ConversationTurn(id="t", time=Timestamp(seconds=1))
    fields: dict[str, list[dict[str, Any]]] = {
        "Search": [{"filter": narrowing, "transcripts": transcripts}],
        "Recommend": [{"filter": narrowing}],
        "ExplainItem": [{"item_id": "p1", "search": search}, {"item_id": "p1", "recommend": recommend}],
        "QuotePrices": [{"product_ids": ["p1"]}],
        "RecordEvents": [{"events": [event]}],
        "RecordFeedback": [{"feedback_id": "f", "user_id": "u", "feedback": event_pb2.Feedback(rating=1)}],
        "GetProduct": [{"id": "p1"}],
        "ImportProducts": [{"products": [product]}],
        "UpdateOffers": [{"offers": [offer]}],
        "DeleteProducts": [{"ids": ["p1"]}],
        "AskFaq": [{"question": "a"}],
        "ImportFaqEntries": [{"entries": [faq_pb2.FaqEntry(id="f", question="a", answer="b")]}],
        "DeleteFaqEntries": [{"ids": ["f"]}],
        "ImportProductReviews": [{"reviews": [review]}],
        "SetReviewSummaries": [{"products": [summary]}],
        "StoreEmbeddings": [{"ids": ["p1"], "fingerprints": [b"x" * 16], "vectors": vectors}],
        "ReadLog": [{"log": ranker_pb2.LOG_KIND_EVENTS}],
        "BeginItemVectors": [{"model_version": "m@1", "dimensions": 2, "map": vectors}],
        "StoreItemVectors": [{"model_version": "m@1", "ids": ["p1"], "vectors": vectors}],
        "DropItemVectors": [{"model_version": "m@1"}],
        "SetUserAttributes": [{"user_id": "u", "attributes": [profile_pb2.UserAttribute(name="size", texts=["M"])]}],
        "PreviewRules": [{"rules": [rule], "search": search} for rule in rules],
        "MergeUsers": [{"user_id": "u", "visitor_id": "v"}],
        "Converse": [{"shopper": shopper, "utterance": heard}],
        "AppendTurn": [{"conversation_id": "c" * 22, "user_id": "u", "turn": turn, "state": b"x"}],
        "GetConversation": [{"conversation_id": "c" * 22, "user_id": "u"}],
        **{name: [{"user_id": "u"}] for name in ("GetProfile", "DeleteUser", "ExportUser")},
        **{
            name: [{"model_version": "m@1"}]
            for name in ("BeginReembedding", "ReembedProducts", "SwitchCollections", "DropCollection")
        },
    }
    request = message_factory.GetMessageClass(METHODS_BY_NAME[method].input_type)
    return [request(**each) for each in fields.get(method, [{}])]


def beyond(root: Any, get: Change = lambda root: root, path: str = "") -> Iterator[tuple[Change, list[str]]]:
    """(what to change in the request, the paths of which one must be named), for each field below `get` and its bounds.

    Fails for a text or a list without a bound in this file.
    """
    message = get(root)
    for field in message.DESCRIPTOR.fields:
        at, name = path + field.name, field.name
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if at in (*IGNORED, *CUT) or field.full_name == IMAGES:
            continue
        if is_map:
            for entries in MAPS[field.full_name]:
                yield _fill(get, name, entries), [at, *(f"{at}[{key[:most]}]" for key in entries for most in (35, 128))]
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in getattr(message, name):
                    yield from beyond(root, _entry(get, name, key), f"{at}[{key}].")
        elif field.is_repeated and field.message_type is not None:
            yield _repeat(get, name, MANY[field.full_name]), [at]
            yield from beyond(root, _entry(get, name, 0), f"{at}[0].")
        elif field.message_type is not None:
            if message.HasField(name):
                yield from beyond(root, _field(get, name), f"{at}.")
        else:
            values = BEYOND.get(field.full_name, BEYOND.get(name))
            is_text = field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
            assert values is not None or not (is_text or field.is_repeated), f"{field.full_name} has no bound here"
            for value in values or ():
                yield _set(get, name, value), [at, f"{at}[0]", f"{at}[1]"] if field.is_repeated else [at]


def _field(get: Change, name: str) -> Change:
    return lambda root: getattr(get(root), name)


def _entry(get: Change, name: str, key: Any) -> Change:
    return lambda root: getattr(get(root), name)[key]


def _set(get: Change, name: str, value: Any) -> Change:
    def change(root: Any) -> None:
        if isinstance(value, list):
            getattr(get(root), name)[:] = value
        else:
            setattr(get(root), name, value)

    return change


def _repeat(get: Change, name: str, count: int) -> Change:
    def change(root: Any) -> None:
        entries = getattr(get(root), name)
        entries.extend([entries[0]] * (count - 1))

    return change


def _fill(get: Change, name: str, entries: dict[str, Any]) -> Change:
    def change(root: Any) -> None:
        filled = getattr(get(root), name)
        for key, value in entries.items():
            if isinstance(value, list):
                filled[key].values.extend(value)
            else:
                filled[key] = value

    return change


CASES = [
    pytest.param(method.name, request_, change, paths, id=f"{method.name}-{paths[0]}-{number}")
    for method in METHODS
    for request_ in whole(method.name)
    for number, (change, paths) in enumerate(beyond(request_))
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Running]:
    stages = FakeStages()
    await stages.start()
    async with running_gateway(stages) as one:
        yield one
    await stages.stop()


@pytest.mark.parametrize(("method", "request_", "change", "paths"), CASES)
async def test_beyond_its_bound(gateway: Running, method: str, request_: Any, change: Change, paths: list[str]) -> None:
    """Beyond its bound a field is refused by its path before a stage is called; a product is rejected by its field."""
    sent = type(request_).FromString(request_.SerializeToString())
    change(sent)
    calls = asked(gateway)
    if method == "ImportProducts" and paths[0].startswith("products["):
        summary = await gateway.stub.ImportProducts(iter([sent]))
        assert f"products[0].{summary.rejected[0].field}" in paths
    elif method == "UpdateOffers" and paths[0].startswith("offers["):
        answer = await gateway.stub.UpdateOffers(iter([sent]))
        assert f"offers[0].{answer.rejected[0].field}" in paths
    elif method == "ImportFaqEntries" and paths[0].startswith("entries["):
        imported = await gateway.stub.ImportFaqEntries(sent)
        assert f"entries[0].{imported.rejected[0].field}" in paths
    elif method in STREAMS:
        assert await violated_fields(getattr(gateway.stub, method)(iter([sent]))) == paths
    else:
        call = getattr(gateway.stub, method)(sent)
        assert set(await violated_fields(call.read() if method == CONVERSE else call)) <= set(paths)
    assert asked(gateway) == calls


@pytest.mark.parametrize("method", [method.name for method in METHODS])
async def test_within_the_bounds(gateway: Running, method: str) -> None:
    """The requests that this file changes are valid as they are: a refusal is about the changed field."""
    for request_ in whole(method):
        if method == "ImportProducts":
            assert (await gateway.stub.ImportProducts(iter([request_]))).imported_count == 1
            continue
        call = getattr(gateway.stub, method)(iter([request_]) if method in STREAMS else request_)
        if method == CONVERSE:
            assert [event async for event in call]
            continue
        # The fakes do not serve every method: UNAVAILABLE says that the gateway found nothing wrong.
        assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE), await call.details()


def asked(gateway: Running) -> int:
    """The calls of stages so far, without those of the background."""
    stages = gateway.stages
    return sum(
        request.context.request_id not in ("popular", "impressions", "rankings")
        for stage in (stages.encoder, stages.retrieval, stages.ranker, stages.pricing, stages.assistant)
        for request in stage.requests
    )
