"""Rules for intent, sentiment and sizes."""

from __future__ import annotations

import pytest

from services.query_encoder.adapters.domain_files import embedded_domain
from tests.fakes.understanding import read

RULES = embedded_domain().rules


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("where is my order", "order"), ("Track my package!", "order"), ("I want a refund", "order"),
        ("do you ship to Norway?", "order"), ("return policy", "order"),
        ("我的订单到哪了", "order"), ("怎么退货", "order"), ("运费多少", "order"), ("转人工", "order"),
        ("which tent is best for winter", "advice"), ("what should I give my dad", "advice"),
        ("电饭煲怎么选", "advice"),
        ("new arrivals", "browse"), ("what do you sell?", "browse"), ("新品", "browse"), ("随便看看", "browse"),
        ("hello there", "chat"), ("thanks a lot", "chat"), ("你好", "chat"), ("谢谢你", "chat"),
        ("red leather jeans", "find"), ("acme mug", "find"), ("红色牛仔裤", "find"),
    ],
)  # fmt: skip
def test_sure(text: str, intent: str) -> None:
    """A phrase that belongs to one intent decides, in both languages."""
    assert RULES.intent(read(text)) == intent


@pytest.mark.parametrize(
    "text",
    [
        "return air grille",
        "return address labels",
        "shipping address stamp",
        "track lighting",
        "password notebook",
        "shipping boxes",
        "thank you cards",
        "best seller novel",
    ],
)
def test_products_with_words_of_orders(text: str) -> None:
    """The name of a product is not a question, even if it has a word of one."""
    assert RULES.intent(read(text)) in ("", "find")


@pytest.mark.parametrize("text", ["密码锁", "快递盒", "发票夹"])
def test_chinese_products_with_words_of_orders(text: str) -> None:
    """The same holds in Chinese."""
    assert RULES.intent(read(text)) in ("", "find")


@pytest.mark.parametrize("text", ["something for the weekend", "stationery", "jeans or dress", "new jeans"])
def test_silent(text: str) -> None:
    """A text that may have several intents is left to the network."""
    assert RULES.intent(read(text)) == ""


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("i love this shop", "positive"), ("the mug is great", "positive"), ("超喜欢", "positive"),
        ("this is terrible", "negative"), ("i am not happy with it", "negative"), ("不喜欢", "negative"),
        ("太差了", "negative"),
        ("red mug", ""), ("大容量垃圾桶", ""), ("这个好不好用", ""),
    ],
)  # fmt: skip
def test_sentiment(text: str, sentiment: str) -> None:
    """Feelings and negated feelings are found; a bin (垃圾桶) and a question (好不好用) are not complaints."""
    assert RULES.sentiment(text) == sentiment


def test_sizes() -> None:
    """A number is a size if the text marks it as one."""
    assert list(RULES.values("boots size 42")) == [("size 42", "42")]
    assert list(RULES.values("42码靴子")) == [("42码", "42")]
    assert not list(RULES.values("iphone 13 case"))
