"""Normal form, language and tokens of what a shopper typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.limits import MAX_QUERY
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.text import detect_language, normal_form, normalise, tokens, words

STOP_WORDS = embedded_domain().stop_words


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  HDMI   Cable\t6ft ", "hdmi cable 6ft"),
        ("ＨＤＭＩ　线", "hdmi 线"),
        ("ﬁne\u200bprint", "fine print"),
        ("Café", "café"),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    """Full-width forms become plain, case and white space go, accents stay."""
    assert normalise(text) == normal


@given(st.text(max_size=MAX_QUERY))
def test_normal_form_is_stable_and_bounded(text: str) -> None:
    """Any text: at most MAX_QUERY characters, no space at the ends, and words and tokens without a crash."""
    normal = normal_form(text)
    assert len(normal) <= MAX_QUERY
    assert normal == normal.strip()
    assert all(word in normal for word in words(normal))
    assert len(tokens(normal, STOP_WORDS)) <= len(words(normal))


@pytest.mark.parametrize("text", ["", "   ", "\t\n", "\u200b\u0000", "a" * (MAX_QUERY + 1), "鞋" * 1_000_000])
def test_refused(text: str) -> None:
    """Empty, invisible and huge texts are refused, and the error names `text`."""
    with pytest.raises(InvalidArgument) as caught:
        normalise(text)
    assert [violation.field for violation in caught.value.violations] == ["text"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("noise cancelling headphones", "en"),
        ("红色跑步鞋", "zh"),
        ("nike 跑步鞋", "zh"),
        ("noise cancelling headphones 耳机", "en"),
        ("12345", "und"),
        ("!?", "und"),
        ("наушники", "und"),
        ("운동화", "und"),
        ("nike 운동화", "en"),
        ("ランニングシューズ", "und"),
        ("無線マウス", "und"),
        ("防水のヘッドホン", "und"),
        ("sony wh-1000xm4 ヘッドホン", "en"),
        ("سماعات بلوتوث", "und"),
        ("무선 마우스", "und"),
        ("無線耳機", "zh"),
    ],
)
def test_language(text: str, language: str) -> None:
    """The script that says more decides; a Han character counts as four Latin letters. Japanese is not Chinese."""
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the running shoes for women", ["run", "shoe", "women"]),
        ("sony wh-1000xm4", ["soni", "wh-1000xm4"]),
        ("红色跑步鞋", ["红色", "跑步", "鞋"]),
        ("我想要红色的手机", ["红色", "手机"]),
        ("of the", []),
        ("남성 운동화", ["남성", "운동화"]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    """Stop words go; English is stemmed, Chinese segmented; a Korean word and a model number stay whole."""
    assert tokens(text, STOP_WORDS) == expected
