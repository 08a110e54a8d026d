"""How a query was read, as the answer reports it."""

from __future__ import annotations

import pytest

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.domain.lookup_text import lookup_text
from services.gateway.flows.interpretation import (
    add_operators,
    asked_type,
    interpret,
    match_groups,
    report_also_searched,
    report_effects,
    report_type,
    soft_filter,
    spelling_alternatives,
    text_to_look_up,
    with_own_conditions,
)

FILTER = gateway_pb2.INTERPRETATION_EFFECT_FILTER
BOOST = gateway_pb2.INTERPRETATION_EFFECT_BOOST
OVERRIDDEN = gateway_pb2.INTERPRETATION_EFFECT_OVERRIDDEN


def understood() -> encoder_pb2.EncodeQueryResponse:
    """The encoder's answer to "耐克红色牛仔裤100元以下"."""
    answer = encoder_pb2.EncodeQueryResponse(
        language="zh", corrected_text="nike 红色牛仔裤100元以下", retrieval_text="nike 红色牛仔裤"
    )
    price = answer.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_PRICE, matched_text="100元以下")
    price.price.maximum.units = 100
    answer.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_BRAND, matched_text="nike", value="Nike")
    answer.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_COLOUR, matched_text="红色", value="Red")
    answer.concepts.add(id="red", matched_text="红色", english_label="red", expansions=["red"])
    answer.concepts.add(id="jeans", matched_text="牛仔裤", english_label="jeans", expansions=["denim", "jeans"])
    return answer


def chips(message: gateway_pb2.SearchRequest, applied: bool) -> list[tuple[str, str, int, str]]:
    interpretation = gateway_pb2.QueryInterpretation()
    interpret(interpretation, message, understood())
    report_effects(interpretation, applied)
    return [(c.matched_text, c.value, c.effect, c.query_without) for c in interpretation.interpreted_as]


def test_chips() -> None:
    """Each part of the text once, in its order, with its value, its effect and the query without it."""
    assert chips(gateway_pb2.SearchRequest(), applied=True) == [
        ("nike", "Nike", FILTER, "红色牛仔裤100元以下"),
        ("红色", "Red", FILTER, "nike 牛仔裤100元以下"),
        ("牛仔裤", "jeans", BOOST, "nike 红色 100元以下"),
        ("100元以下", "", FILTER, "nike 红色牛仔裤"),
    ]


@pytest.mark.parametrize(
    ("text", "matched_text", "concept", "found", "expected"),
    [
        ("red cases for ipad", "", "", "case", [("cases", "case", "red for ipad")]),
        ("leather ipad case", "", "ipad", "case", [("ipad", "", "leather case"), ("case", "case", "leather ipad")]),
        ("ipad case", "", "case", "case", [("case", "case", "ipad")]),
        ("手机壳", "手机壳", "手机壳", "case", [("手机壳", "case", "")]),
        ("tv", "tv", "", "hdtv", [("tv", "hdtv", "")]),
        ("showcase case", "", "", "case", [("case", "case", "showcase")]),
        ("ipad case", "", "case", "", [("case", "", "ipad")]),
    ],
)
def test_chip_of_the_type(
    text: str, matched_text: str, concept: str, found: str, expected: list[tuple[str, str, str]]
) -> None:
    """The type has one chip, that of its words: also if these name a concept."""
    answer = encoder_pb2.EncodeQueryResponse(corrected_text=text)
    answer.asked_type.matched_text = matched_text
    if concept:
        answer.concepts.add(id="c", matched_text=concept)
    interpretation = gateway_pb2.QueryInterpretation()
    interpret(interpretation, gateway_pb2.SearchRequest(), answer)
    report_type(interpretation, answer, found)
    assert [(c.matched_text, c.product_type, c.query_without) for c in interpretation.interpreted_as] == expected
    assert interpretation.product_type == found


@pytest.mark.parametrize(
    "message",
    [
        gateway_pb2.SearchRequest(literal_query=True),
        gateway_pb2.SearchRequest(ignore_product_type=True),
        gateway_pb2.SearchRequest(filter=product_pb2.ProductFilter(product_types=["case"])),
    ],
)
def test_no_type_is_read(message: gateway_pb2.SearchRequest) -> None:
    """If the request takes the text literally, wants all types, or says which types it wants."""
    answer = encoder_pb2.EncodeQueryResponse()
    answer.asked_type.words.append("case")
    assert asked_type(gateway_pb2.SearchRequest(), answer) is not None
    assert asked_type(message, answer) is None


def test_no_product_meets_the_conditions() -> None:
    """Then only their words affect the order."""
    assert {effect for _, _, effect, _ in chips(gateway_pb2.SearchRequest(), applied=False)} == {BOOST}


def test_own_filter_wins() -> None:
    """A condition of a kind that the request's own filter has is neither filter nor boost."""
    own = product_pb2.ProductFilter(brands=["Adidas"])
    effects = {text: effect for text, _, effect, _ in chips(gateway_pb2.SearchRequest(filter=own), applied=True)}
    assert (effects["nike"], effects["红色"]) == (OVERRIDDEN, FILTER)
    soft = soft_filter(gateway_pb2.SearchRequest(filter=own), understood())
    assert soft is not None
    assert not soft.brands
    assert [(entry.name, list(entry.values)) for entry in soft.attributes] == [("colour", ["Red"])]


def test_own_conditions_take_the_place_of_those_of_the_text() -> None:
    """Of the same kind only; the words of the text still state a condition, and need not be contained."""
    own = product_pb2.ProductFilter(brands=["Adidas"], categories=["Shoes"], in_stock_only=True)
    own.attributes.add(name="Colour ", values=["Blue"])
    own.attributes.add(name="size", values=["42"])
    message = gateway_pb2.SearchRequest(filter=own)
    whole = with_own_conditions(soft_filter(message, understood()), message, understood())
    assert whole == product_pb2.ProductFilter(
        brands=["Adidas"], price=understood().constraints[0].price, attributes=own.attributes[:1]
    )
    groups = match_groups(message, understood())
    assert [(group.alternatives[0], group.is_condition) for group in groups] == [
        ("红色", True), ("牛仔裤", False), ("nike", True),
    ]  # fmt: skip
    plain = gateway_pb2.SearchRequest()
    assert with_own_conditions(soft_filter(plain, understood()), plain, understood()) == soft_filter(
        plain, understood()
    )
    literal = gateway_pb2.SearchRequest(filter=own, literal_query=True)
    assert with_own_conditions(None, literal, understood()) is None


def test_words_of_a_price_are_a_condition() -> None:
    """They are looked up if the query has nothing else, and no product must contain them."""
    answer = encoder_pb2.EncodeQueryResponse(retrieval_text="under $50")
    price = answer.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_PRICE, matched_text="under $50")
    price.price.maximum.units = 50
    groups = match_groups(gateway_pb2.SearchRequest(), answer)
    assert [group.is_condition for group in groups] == [True, True]


def test_chinese_stop_words() -> None:
    """Words that the encoder counts as stop words are no content words."""
    answer = encoder_pb2.EncodeQueryResponse(retrieval_text="的台灯 便宜的", tokens=["台灯", "便宜"])
    answer.concepts.add(id="lamp", matched_text="台灯", expansions=["desk lamp"])
    groups = match_groups(gateway_pb2.SearchRequest(), answer)
    assert [group.alternatives[0] for group in groups] == ["台灯", "便宜的"]


def test_literal_query() -> None:
    """A literal query has no chips, no filter and no added words."""
    message = gateway_pb2.SearchRequest(query=" nike 红色 ", literal_query=True)
    assert chips(message, applied=False) == []
    assert soft_filter(message, understood()) is None
    assert text_to_look_up(message, understood()) == "nike 红色"


def test_lookup_text() -> None:
    """The query's own words, then the words of the concepts."""
    message = gateway_pb2.SearchRequest(query="nike 红色牛仔裤100元以下")
    assert text_to_look_up(message, understood()) == "nike 红色牛仔裤 red denim jeans"


def test_other_spellings() -> None:
    """Retrieval gets each with its word, unless the query is literal or the encoder of an earlier version. What was
    looked up is reported with the query in which the word has no other spelling.
    """
    answer = encoder_pb2.EncodeQueryResponse(corrected_text="steal-grey steal lock", spelling_alternatives=["steel"])
    message = gateway_pb2.SearchRequest(query="steal-grey steal lock")
    assert not spelling_alternatives(message, answer)
    answer.doubtful_words.append("steal")
    (asked,) = spelling_alternatives(message, answer)
    assert (asked.typed, asked.meant) == ("steal", "steel")
    assert not spelling_alternatives(gateway_pb2.SearchRequest(literal_query=True), answer)
    interpretation = gateway_pb2.QueryInterpretation(corrected_text="stealth steal lock")
    report_also_searched(interpretation, [asked])
    (other,) = interpretation.also_searched
    assert (other.matched_text, other.alternative) == ("steal", "steel")
    assert other.query_without == 'stealth "steal" lock'


def test_values_of_other_attributes() -> None:
    """Values of an attribute are alternatives in the filter; the request's own filter on it overrides them."""
    answer = encoder_pb2.EncodeQueryResponse(retrieval_text="python evening")
    for value, words in (("Evening", "after work"), ("Weekend", "on saturday")):
        answer.constraints.add(
            type=encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE, attribute="time", value=value, matched_text=words
        )
    soft = soft_filter(gateway_pb2.SearchRequest(), answer)
    assert soft is not None
    assert [(entry.name, list(entry.values)) for entry in soft.attributes] == [("time", ["Evening", "Weekend"])]
    own = product_pb2.ProductFilter(attributes=[product_pb2.AttributeFilter(name="Time ", values=["Morning"])])
    assert soft_filter(gateway_pb2.SearchRequest(filter=own), answer) is None


def test_a_value_that_is_looked_up_is_a_condition() -> None:
    """The group of a value is a condition also if the value stands for other words of the query."""
    answer = encoder_pb2.EncodeQueryResponse(retrieval_text="python evening")
    answer.constraints.add(
        type=encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE, attribute="time", value="Evening", matched_text="after work"
    )
    groups = match_groups(gateway_pb2.SearchRequest(query="python after work"), answer)
    assert [(group.alternatives[0], group.is_condition) for group in groups] == [("python", False), ("evening", True)]


def understood_operators() -> encoder_pb2.EncodeQueryResponse:
    """The encoder's answer to 'nikon or canon camera "full frame" without lens'."""
    answer = encoder_pb2.EncodeQueryResponse(
        corrected_text='nikon or canon camera "full frame" without lens',
        retrieval_text="nikon canon camera full frame",
    )
    for brand in ("nikon", "canon"):
        answer.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_BRAND, matched_text=brand, value=brand.title())
    answer.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_EXCLUSION, matched_text="without lens", value="lens")
    answer.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_PHRASE, matched_text='"full frame"', value="full frame")
    answer.constraints.add(
        type=encoder_pb2.CONSTRAINT_TYPE_ALTERNATIVES, matched_text="nikon or canon", alternatives=["nikon", "canon"]
    )
    return answer


def test_chips_of_operators() -> None:
    """Exclusions, phrases and alternatives are chips that change the order; brands among alternatives have none."""
    interpretation = gateway_pb2.QueryInterpretation()
    interpret(interpretation, gateway_pb2.SearchRequest(), understood_operators())
    assert [(c.matched_text, c.value, c.effect, c.query_without) for c in interpretation.interpreted_as] == [
        ("nikon or canon", "nikon, canon", BOOST, 'camera "full frame" without lens'),
        ('"full frame"', "full frame", BOOST, "nikon or canon camera without lens"),
        ("without lens", "lens", BOOST, 'nikon or canon camera "full frame"'),
    ]


def test_operators_for_retrieval() -> None:
    """Retrieval gets what is excluded and the phrases; a product needs one of the alternatives. Not if literal."""
    query, answer = retrieval_pb2.RetrieveCandidatesRequest(), understood_operators()
    add_operators(query, gateway_pb2.SearchRequest(), answer)
    assert (list(query.excluded_words), list(query.phrases)) == (["lens"], ["full frame"])
    group = match_groups(gateway_pb2.SearchRequest(), answer)[0]
    assert (list(group.alternatives), group.is_condition) == (["nikon canon", "nikon", "canon"], True)
    literal = retrieval_pb2.RetrieveCandidatesRequest()
    add_operators(literal, gateway_pb2.SearchRequest(literal_query=True), answer)
    assert not literal.ByteSize()


def test_lookup_text_is_bounded() -> None:
    """The last words are left out where the text would be longer than retrieval accepts."""
    assert lookup_text("x" * 505, ["red", "denim"]) == f"{'x' * 505} red"
    assert lookup_text("x" * 600, ["red"]) == "x" * 600


def test_understanding() -> None:
    """What the query is about is reported, but not for a literal query and not without a model."""
    answer = understood()
    answer.understanding.intent.value = encoder_pb2.INTENT_ORDER
    for literal, reported in ((False, True), (True, False)):
        interpretation = gateway_pb2.QueryInterpretation()
        interpret(interpretation, gateway_pb2.SearchRequest(literal_query=literal), answer)
        assert interpretation.HasField("understanding") is reported
    assert interpretation.corrected_text == answer.corrected_text
    silent = gateway_pb2.QueryInterpretation()
    interpret(silent, gateway_pb2.SearchRequest(), understood())
    assert not silent.HasField("understanding")
