"""What a query excludes, its phrases in quotes, and alternatives; and the names that only look like these."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.limits import MAX_QUERY
from services.common.product import Product
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.constraints import OPERATORS, ConstraintType
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.operators import OperatorReader
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.text import normal_form

TITLES = (
    "Summer dress with long sleeves", "Dress without sleeves", "Headphones with microphone",
    "Headphones without microphone", "Wireless headset, no mic", "Noise cancelling headphones",
    "Noise cancelling earbuds", "No Country for Old Men DVD", "Friends Without Benefits DVD", "Now or Never DVD",
    "True or False board game", "A Day Without Rain CD", "Rain jacket", "No drill curtain rod", "Sugar free cola",
    "Cane sugar", "Free weights", "Hands free kit", "Free standing towel rack", "Case for Nikon or Canon cameras",
    "T-shirt white", "Shower faucet", "Tub faucet", "Wood screw no. 8", "无糖可乐", "有线耳机",
)  # fmt: skip
DOMAIN = embedded_domain()
READER = OperatorReader(DOMAIN.graph)


def shop() -> Lexicon:
    products = [Product(id=str(number), title=title) for number, title in enumerate(TITLES)]
    colours = {"Nikon": "red", "Canon": "dark blue", "New Balance": "navy", "Leica": "gold"}
    cameras = [
        Product(brand, f"{brand} camera", brand=brand, category_path=("Cameras",), attributes={"colour": (colour,)})
        for brand, colour in colours.items()
    ]
    # Phrases of one title alone are not learned.
    return Lexicon.of([*products, *cameras, *(replace(product, id=f"again {product.id}") for product in products)])


SHOP = shop()


def read(text: str) -> QueryReading:
    expander = Expander(DOMAIN.graph, frozenset(SHOP.words))
    return QueryReader(DOMAIN, "USD").read(normal_form(text), SHOP, SpellCorrector(SHOP.words), expander)


@pytest.mark.parametrize(
    ("text", "excluded", "rest"),
    [
        ("dress without sleeves", ["sleeves"], "dress"),
        ("headphones without a microphone", ["microphone"], "headphones"),
        ("headset no mic", ["mic"], "headset"),
        ("headset -wired", ["wired"], "headset"),
        ("headset - wired", [], "headset - wired"),
        ("headphones without noise cancelling", ["noise cancelling"], "headphones"),
        ('headphones -"noise cancelling"', ["noise cancelling"], "headphones"),
        ("sugar free cola", ["sugar"], "cola"),
        ("sugar-free cola", ["sugar"], "cola"),
        ("gluten and sugar free cola", ["gluten", "sugar"], "cola"),
        ("shirt not white", ["white"], "shirt"),
        ("camera except nikon", ["nikon"], "camera"),
        ("dress with no sleeves or sugar", ["sleeves", "sugar"], "dress"),
        ("jacket without rain under $50", ["rain"], "jacket"),
        ("sugar free", ["sugar"], "sugar free"),
        ("无糖可乐", ["糖"], "可乐"),
        ("耳机 不要有线", ["有线"], "耳机"),
        ("不含酒精的洗手液", ["酒精"], "洗手液"),
        ("无香料的洗发水", ["香料"], "洗发水"),
        ("没有帽子的卫衣", ["帽子"], "卫衣"),
        ("耳机 -有线", ["有线"], "耳机"),
        ("除了尼康以外的相机", ["尼康"], "相机"),
    ],
)
def test_exclusions(text: str, excluded: list[str], rest: str) -> None:
    """What is excluded is a condition, and neither it nor the operator is looked up, unless nothing else remains."""
    reading = read(text)
    found = [one for one in reading.constraints if one.type is ConstraintType.EXCLUSION]
    assert [one.value for one in found] == excluded
    assert all(one.matched_text in reading.corrected for one in found)
    assert reading.retrieval_text == rest


@pytest.mark.parametrize(
    "text",
    [
        "no country for old men", "friends without benefits", "friends without benefits poster", "a day without rain",
        "no drill curtain rod", "hands free", "hands-free kit", "free weights", "free standing towel rack",
        "free shipping", "no. 8 screw", "no 8 screw", "non stick pan", "not more than $50", "does not fit",
        "wh-1000xm4", "t-shirt", "t -shirt", "-40 thermometer", "usb -c cable", "dress without", "why not",
        "buy 2 get 1 free", "无线耳机", "无人机", "无花果", "除湿机", "不锈钢锅", "不粘锅", "no problem",
        "duty free perfume",
    ],
)  # fmt: skip
def test_no_exclusions(text: str) -> None:
    """Names of the shop, numbers, prices, typos with a hyphen and fixed expressions exclude nothing."""
    assert not [one for one in read(text).constraints if one.type is ConstraintType.EXCLUSION]


@pytest.mark.parametrize(
    ("text", "phrases", "rest"),
    [
        ('"rapid night charger"', ["rapid night charger"], "rapid night charger"),
        ('sony "noise cancelling" headset', ["noise cancelling"], "sony noise cancelling headset"),
        ("“red bull” cola", ["red bull"], "red bull cola"),
        ("「无线耳机」", ["无线耳机"], "无线耳机"),
        ('10" x 12" frame', [], '10" x 12" frame'),
        ('55" tv', [], '55" tv'),
        ('"dress without sleeves"', ["dress without sleeves"], "dress without sleeves"),
    ],
)
def test_phrases(text: str, phrases: list[str], rest: str) -> None:
    """Words in quotes are a phrase, in which nothing else is read; a sign for inches is no quote."""
    reading = read(text)
    assert [one.value for one in reading.constraints if one.type is ConstraintType.PHRASE] == phrases
    assert reading.retrieval_text == rest


def test_the_words_of_a_phrase_are_not_corrected() -> None:
    """A phrase is looked up as it was typed."""
    assert read('hedphones "hedphones"').corrected == 'headphones "hedphones"'


@pytest.mark.parametrize(
    ("text", "alternatives", "rest"),
    [
        ("nikon or canon camera", [("nikon", "canon")], "nikon canon camera"),
        ("nikon | canon", [("nikon", "canon")], "nikon canon"),
        ("nikon, canon or new balance", [("nikon", "canon", "new balance")], "nikon canon new balance"),
        ("iphone 13 or iphone 14 case", [("iphone 13", "iphone 14")], "iphone 13 iphone 14 case"),
        ("tub or shower faucet", [("tub", "shower")], "tub shower faucet"),
        ("either red or blue dress", [("red", "blue")], "red blue dress"),
        ("尼康或佳能相机", [("尼康", "佳能")], "尼康 佳能 相机"),
        ("now or never", [], "now or never"),
        ("now or never dvd", [], "now or never dvd"),
        ("true or false", [], "true or false"),
        ("size 8 or less", [], "size 8 or less"),
        ("shoes $100 or less", [], "shoes"),
    ],
)
def test_alternatives(text: str, alternatives: list[tuple[str, ...]], rest: str) -> None:
    """Words beside "or" are alternatives, unless a title has the three words and they name nothing."""
    reading = read(text)
    found = [one for one in reading.constraints if one.type is ConstraintType.ALTERNATIVES]
    assert [one.alternatives for one in found] == alternatives
    assert reading.retrieval_text == rest


def test_alternative_brands() -> None:
    """Each of two alternative brands is a condition; of "nikon or dress" none is."""
    brands = [one.value for one in read("nikon or canon").constraints if one.type is ConstraintType.BRAND]
    assert brands == ["Nikon", "Canon"]
    assert not [one for one in read("nikon or dress").constraints if one.type is ConstraintType.BRAND]


_PARTS = st.sampled_from(
    [" no ", " not ", " without ", " -", '"', "“", "”", " or ", " free", "|", ",", " and ", " except ", " with no ",
     "w/o ", "不要", "无", "的", "或", "没有", "除了", "糖", "耳机", "sleeves", "dress", "nikon", "8", " a ", "$50",
     "either ", "-free"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=MAX_QUERY), st.lists(_PARTS, max_size=40).map("".join)))
def test_any_text(text: str) -> None:
    """Operations do not overlap, their words occur in them, and what is excluded does not remain by their places."""
    normal = normal_form(text)
    found = READER.read(normal, SHOP)
    operations = sorted((*found.exclusions, *found.phrases, *found.alternatives), key=lambda one: one.start)
    end = 0
    for one in operations:
        assert end <= one.start < one.end <= len(normal)
        assert all(value and value in normal[one.start : one.end] for value in one.values)
        end = one.end
    if not operations:
        assert found.plain.strip(" ,;-") == normal.strip(" ,;-")
    if normal:
        assert read(text).retrieval_text


_NAMED = st.sampled_from(
    ["nikon", "canon", "new balance", "red", "dark blue", "红色", "红", "鞋子", "dress", "cameras", "under $50", " or ",
     " no ", " without ", "sleeves", '"', " ", " ", "耐克", "100元以下", "navy blue", "rose gold", " -"]
)  # fmt: skip


@given(st.lists(_NAMED, max_size=16).map("".join))
def test_no_words_are_read_twice(text: str) -> None:
    """The words of prices, brands, values, categories, exclusions and phrases do not overlap. Alternatives may be
    brands.
    """
    reading = read(text)
    rest = reading.corrected
    excluding = [one for one in reading.constraints if one.type is ConstraintType.EXCLUSION]
    others = [one for one in reading.constraints if one.type not in OPERATORS]
    matched = [*dict.fromkeys(one.matched_text for one in excluding), *(one.matched_text for one in others)]
    quoted = [one.matched_text for one in reading.constraints if one.type is ConstraintType.PHRASE]
    for words in sorted([*matched, *quoted], key=len, reverse=True):
        assert words in rest
        rest = rest.replace(words, "\0", 1)


def test_a_phrase_that_states_a_value_excludes_nothing() -> None:
    """ "Without an appointment" is a walk-in, in a domain that says so."""
    reader = OperatorReader(DOMAIN.graph, ["without an appointment", "walk in"])
    assert not reader.read("headphones without an appointment", SHOP).exclusions
    assert [one.values for one in reader.read("headphones without pain", SHOP).exclusions] == [("pain",)]
