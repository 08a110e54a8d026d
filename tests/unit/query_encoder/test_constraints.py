"""Conditions of a query: prices, brands, colours and categories."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.limits import MAX_QUERY
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.constraints import (
    Constraint,
    ConstraintFinder,
    ConstraintType,
    find_price,
    without_price,
)
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.text import normal_form

SHOP = Lexicon(
    brands={"nike": "Nike", "sony": "Sony", "new balance": "New Balance", "华为": "华为"},
    categories={"shoes": "Shoes", "running shoes": "Shoes > Running Shoes"},
    values={
        "colour": {
            "red": "Red", "blue": "Blue", "dark blue": "Dark Blue", "navy": "Navy", "pink": "Pink", "gray": "Gray",
        }
    },
)  # fmt: skip
DOMAIN = embedded_domain()
FINDER = ConstraintFinder(DOMAIN.conditions, DOMAIN.graph, "USD")


def find_constraints(text: str) -> list[Constraint]:
    price = FINDER.price(text, SHOP)
    rest = text.replace(price.matched_text, " ", 1) if price else text
    return [*([price] if price else []), *FINDER.names(rest, SHOP)]


@pytest.mark.parametrize(
    ("text", "matched", "low", "high", "currency"),
    [
        ("shoes under $100", "under $100", None, "100", "USD"),
        ("below 50 dollars", "below 50 dollars", None, "50", "USD"),
        ("under 50 dollars in black", "under 50 dollars", None, "50", "USD"),
        ("under $50 in blue", "under $50", None, "50", "USD"),
        ("less than 30", "less than 30", None, "30", "USD"),
        ("below $99.99.", "below $99.99", None, "99.99", "USD"),
        ("under 1,000 euros", "under 1,000 euros", None, "1000", "EUR"),
        ("max $20 mug", "max $20", None, "20", "USD"),
        ("$20-$40 mug", "$20-$40", "20", "40", "USD"),
        ("between 20 and 40 usd", "between 20 and 40 usd", "20", "40", "USD"),
        ("2-3 people tent $100 to $200", "$100 to $200", "100", "200", "USD"),
        ("over 200", "over 200", "200", None, "USD"),
        ("100 or less", "100 or less", None, "100", "USD"),
        ("手机300元以下", "300元以下", None, "300", "CNY"),
        ("100到200块", "100到200块", "100", "200", "CNY"),
        ("不超过500的耳机", "不超过500", None, "500", "USD"),
        ("¥200以下", "¥200以下", None, "200", "CNY"),
        ("500元以上的手机", "500元以上", "500", None, "CNY"),
    ],
)
def test_price(text: str, matched: str, low: str | None, high: str | None, currency: str) -> None:
    """A price limit or range is found with its words; without a currency it is in the default currency."""
    price = find_price(text, "USD")
    assert price is not None
    assert price.matched_text == matched
    ends = [(low, price.minimum), (high, price.maximum)]
    for expected, money in ends:
        assert (money is None) == (expected is None)
        if money is not None and expected is not None:
            assert (money.amount, money.currency) == (Decimal(expected), currency)


@pytest.mark.parametrize(
    "text",
    [
        "hdmi cable 6ft", "50 inch tv", "size 10", "cheap shoes", "iphone 12", "2-3 people tent", "under 6 ft",
        "less than 5 years", "at least 16 gb", "over 40-piece set", "cover 10", "thunder 30", "airpods max 2",
        "wh-1000 headphones", "under", "$", "under 100%", "不超过5米", "5岁以下", "$40-$20",
    ],
)  # fmt: skip
def test_no_price(text: str) -> None:
    """Sizes, ages, counts, model numbers and plain numbers are not prices."""
    assert find_price(text, "USD") is None


@pytest.mark.parametrize(
    ("text", "kind", "matched", "value"),
    [
        ("nike, black", ConstraintType.BRAND, "nike", "Nike"),
        ("new balance 574", ConstraintType.BRAND, "new balance", "New Balance"),
        ("nike跑步鞋", ConstraintType.BRAND, "nike", "Nike"),
        ("便宜的华为手机", ConstraintType.BRAND, "华为", "华为"),
        ("dark blue cup", ConstraintType.ATTRIBUTE, "dark blue", "Dark Blue"),
        ("粉红色鞋", ConstraintType.ATTRIBUTE, "粉红色", "Pink"),
        ("深蓝色", ConstraintType.ATTRIBUTE, "深蓝色", "Navy"),
        ("灰色", ConstraintType.ATTRIBUTE, "灰色", "Gray"),
        ("red running shoes", ConstraintType.CATEGORY, "running shoes", "Shoes > Running Shoes"),
    ],
)
def test_name(text: str, kind: ConstraintType, matched: str, value: str) -> None:
    """The longest name of the shop is found, and each word is used once."""
    found = [c for c in find_constraints(text) if c.type is kind]
    assert [(c.matched_text, c.value) for c in found] == [(matched, value)]


def test_unknown_names() -> None:
    """A brand, colour or category that the shop does not have is not a condition."""
    assert find_constraints("adidas green hats 紫色") == []


@pytest.mark.parametrize(
    ("text", "left"),
    [("shoes under $100 red", "shoes red"), ("手机300元以下", "手机"), ("under $100", "under $100"), ("mug", "mug")],
)
def test_without_price(text: str, left: str) -> None:
    """The words of the price are removed, unless nothing would remain."""
    assert without_price(text, find_constraints(text)) == left


_QUERY_PARTS = st.sampled_from(
    [
        "under ",
        "over ",
        "$",
        "¥",
        "元",
        "以下",
        "between ",
        " to ",
        "-",
        "100",
        "0",
        "1,000",
        ".5",
        " nike",
        "红色",
        " red ",
    ]
)


@given(st.one_of(st.text(max_size=MAX_QUERY), st.lists(_QUERY_PARTS, max_size=40).map("".join)))
def test_any_text(text: str) -> None:
    """In any text, the matched words occur, the ends of a price are in order, and something remains to look up."""
    normal = normal_form(text)
    found = find_constraints(normal)
    for constraint in found:
        assert constraint.matched_text in normal
        if constraint.minimum and constraint.maximum:
            assert constraint.minimum.amount <= constraint.maximum.amount
    assert bool(without_price(normal, found)) == bool(normal)
