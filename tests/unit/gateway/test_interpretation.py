"""How a query was read, as the caller gets it."""

from __future__ import annotations

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from services.gateway.interpretation import interpret, lookup_text, soft_filter, tell_effects

FILTER = gateway_pb2.INTERPRETATION_EFFECT_FILTER
BOOST = gateway_pb2.INTERPRETATION_EFFECT_BOOST
OVERRIDDEN = gateway_pb2.INTERPRETATION_EFFECT_OVERRIDDEN


def understood() -> encoder_pb2.EncodeQueryResponse:
    """ "耐克红色牛仔裤100元以下", as the encoder says it."""
    said = encoder_pb2.EncodeQueryResponse(
        language="zh", corrected_text="nike 红色牛仔裤100元以下", retrieval_text="nike 红色牛仔裤"
    )
    price = said.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_PRICE, matched_text="100元以下")
    price.price.maximum.units = 100
    said.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_BRAND, matched_text="nike", value="Nike")
    said.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_COLOUR, matched_text="红色", value="Red")
    said.concepts.add(id="red", matched_text="红色", english_label="red", expansions=["red"])
    said.concepts.add(id="jeans", matched_text="牛仔裤", english_label="jeans", expansions=["denim", "jeans"])
    return said


def chips(message: gateway_pb2.SearchRequest, applied: bool) -> list[tuple[str, str, int, str]]:
    interpretation = gateway_pb2.QueryInterpretation()
    interpret(interpretation, message, understood())
    tell_effects(interpretation, applied)
    return [(c.matched_text, c.value, c.effect, c.query_without) for c in interpretation.interpreted_as]


def test_chips() -> None:
    """Each stretch of the text once, in its order, with what it became and the query that does without it."""
    assert chips(gateway_pb2.SearchRequest(), applied=True) == [
        ("nike", "Nike", FILTER, "红色牛仔裤100元以下"),
        ("红色", "Red", FILTER, "nike 牛仔裤100元以下"),
        ("牛仔裤", "jeans", BOOST, "nike 红色 100元以下"),
        ("100元以下", "", FILTER, "nike 红色牛仔裤"),
    ]


def test_too_few() -> None:
    """Filters that would leave less than a page are boosts."""
    assert {effect for _, _, effect, _ in chips(gateway_pb2.SearchRequest(), applied=False)} == {BOOST}


def test_own_filter_wins() -> None:
    """A condition that the request's own filter already states is neither."""
    own = product_pb2.ProductFilter(brands=["Adidas"])
    effects = {text: effect for text, _, effect, _ in chips(gateway_pb2.SearchRequest(filter=own), applied=True)}
    assert (effects["nike"], effects["红色"]) == (OVERRIDDEN, FILTER)
    wish = soft_filter(gateway_pb2.SearchRequest(filter=own), understood())
    assert wish is not None
    assert not wish.brands
    assert [(entry.name, list(entry.values)) for entry in wish.attributes] == [("colour", ["Red"])]


def test_literal_query() -> None:
    """Taken as it is: no chip, no filter, no word added."""
    message = gateway_pb2.SearchRequest(query=" nike 红色 ", literal_query=True)
    assert chips(message, applied=False) == []
    assert soft_filter(message, understood()) is None
    assert lookup_text(message, understood()) == "nike 红色"


def test_lookup_text() -> None:
    """The shopper's own words, what they may have been, then those of the concepts; no longer than retrieval takes."""
    message = gateway_pb2.SearchRequest(query="nike 红色牛仔裤100元以下")
    assert lookup_text(message, understood()) == "nike 红色牛仔裤 red denim jeans"
    assert lookup_text(message, None) == message.query
    said = understood()
    said.spelling_alternatives.append("nice")
    assert lookup_text(message, said) == "nike 红色牛仔裤 nice red denim jeans"
    said.ClearField("spelling_alternatives")
    said.retrieval_text = "x" * 505
    assert lookup_text(message, said) == f"{'x' * 505} red"


def test_understanding() -> None:
    """What the query is about is told; a literal query is about nothing; without a model there is nothing to tell."""
    said = understood()
    said.understanding.intent.value = encoder_pb2.INTENT_ORDER
    for literal, told in ((False, True), (True, False)):
        interpretation = gateway_pb2.QueryInterpretation()
        interpret(interpretation, gateway_pb2.SearchRequest(literal_query=literal), said)
        assert interpretation.HasField("understanding") is told
    assert interpretation.corrected_text == said.corrected_text
    silent = gateway_pb2.QueryInterpretation()
    interpret(silent, gateway_pb2.SearchRequest(), understood())
    assert not silent.HasField("understanding")
