"""Words of queries as merchandising rules compare them."""

from __future__ import annotations

import pytest

from services.common.query_words import query_words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Running Shoes", "running   shoe"),
        ("Women’s T-Shirts", "women's t shirt"),
        ("Café Crème", "cafe creme"),
        ("ＡＢＣ１２", "abc12"),
        ("運動鞋", "运动鞋"),
        ("Black &amp; Decker", "black decker"),
    ],
)
def test_equal_words(one: str, other: str) -> None:
    """Case, width, accents, signs, plural and traditional characters make no difference."""
    assert query_words(one) == query_words(other)


def test_chinese_by_characters() -> None:
    """Each Chinese character is a word; Latin words beside it stay whole."""
    assert query_words("nike跑步鞋") == ("nike", "跑", "步", "鞋")


def test_without_words() -> None:
    """Signs alone have no words."""
    assert query_words(" ?! ") == ()
