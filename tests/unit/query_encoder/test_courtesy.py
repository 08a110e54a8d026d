"""Courtesy words are not looked up, unless they belong to a name, stand in quotes, or are all of a query."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.limits import MAX_QUERY
from services.common.product import Product
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.courtesy import CourtesyReader
from services.query_encoder.domain.expansion import Expander
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.text import normal_form

TITLES = (
    "What Women Want DVD", "Please Please Me CD", "Looking for Alaska DVD", "Case for Laptop", "Laptop sleeve",
    "Gift card Best Buy", "Best of Bach CD", "Red dress", "牛仔裤 女士", "好想你 红枣", "Running shoes", "Laptop",
)  # fmt: skip
DOMAIN = embedded_domain()
PRODUCTS = [Product(str(number), title) for number, title in enumerate(TITLES)]
SHOP = Lexicon.of([*PRODUCTS, *(replace(product, id=f"again {product.id}") for product in PRODUCTS)])


def read(text: str) -> QueryReading:
    expander = Expander(DOMAIN.graph, frozenset(SHOP.words))
    return QueryReader(DOMAIN, "USD").read(normal_form(text), SHOP, SpellCorrector(SHOP.words), expander)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Can you recommend a red dress, please?", "red dress"),
        ("I am looking for a laptop", "laptop"),
        ("i want to buy running shoes under $50 please", "running shoes"),
        ("what is the best laptop", "laptop"),
        ("which running shoes are best", "which running shoes"),
        ("hello, do you sell laptops?", "laptops"),
        ("有什么推荐的鞋子吗？", "鞋子"),
        ("我想买一条牛仔裤，有什么推荐吗？", "牛仔裤"),
        ("请问笔记本电脑哪个好", "笔记本电脑"),
        ("什么牌子的耳机好", "耳机"),
    ],
)
def test_courtesy_words_are_not_looked_up(text: str, rest: str) -> None:
    """What remains of a sentence is what it asks for."""
    assert read(text).retrieval_text == rest


@pytest.mark.parametrize(
    "text",
    ["what women want", "please please me", "looking for alaska", "best of bach", "best buy gift card", "好想你红枣"],
)
def test_names_stay(text: str) -> None:
    """Courtesy words that titles have beside the next word belong to a name."""
    assert read(text).retrieval_text == text


@pytest.mark.parametrize(
    "text", ["please", "推荐", "what do you recommend?", "有什么推荐吗？", "organic 有机茶", "laptop 请问机"]
)
def test_what_is_no_courtesy(text: str) -> None:
    """A query of courtesy words alone is looked up as it is, and so are words that only begin with one."""
    assert read(text).retrieval_text == normal_form(text)


def test_quotes() -> None:
    """What stands in quotes is looked up."""
    reading = read('please show me "please" cd')
    assert reading.retrieval_text == "please cd"
    assert [one.value for one in reading.constraints] == ["please"]


def test_conditions_beside_courtesy_words() -> None:
    """Exclusions and prices keep their words, and what the shopper wrote is reported as it was."""
    reading = read("please recommend a red dress without sleeves under $30, thanks")
    assert [one.matched_text for one in reading.constraints] == ["under $30", "without sleeves"]
    assert reading.retrieval_text == "red dress"
    assert reading.corrected == "please recommend a red dress without sleeves under $30, thanks"


@given(
    st.lists(
        st.sampled_from([
            "please", "looking for", "best", "of", "red dress", "laptop", "推荐", "吗", "一条", "牛仔裤", '"', ",", ".",
            "？", "\n", " ", "women", "want",
        ])
        | st.text(max_size=3),
        max_size=12,
    ).map("".join)
)  # fmt: skip
def test_any_text(text: str) -> None:
    """Of any text the words that remain keep their places, and one remains if there was one."""
    normal = normal_form(text)[:MAX_QUERY]
    blanked = CourtesyReader(DOMAIN.courtesy_words, DOMAIN.stop_words, DOMAIN.graph).blanked(normal, SHOP)
    assert len(blanked) <= len(normal)
    assert all(one in (other, " ") for one, other in zip(blanked, normal, strict=False))
    assert any(map(str.isalnum, blanked)) == any(map(str.isalnum, normal))
