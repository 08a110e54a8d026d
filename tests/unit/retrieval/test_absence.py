"""What texts state that a product does without."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.convert import product_to_proto
from services.common.product import Product
from services.retrieval.adapters.records import with_phrases
from services.retrieval.domain.absence import absence_word, absences
from services.retrieval.domain.lexical import absent, heading


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("sugar free cola", {"sugar"}),
        ("sugar-free", {"sugar"}),
        ("wireless headset, no mic", {"mic"}),
        ("dress without any sleeves", {"sleeves"}),
        ("cream without parabens, sulfate or alcohol", {"parabens", "sulfate", "alcohol"}),
        ("non-alcoholic beer", {"alcoholic"}),
        ("free of gluten", {"gluten"}),
        ("batteries not included", {"batteries", "included"}),
        ("无糖可乐", {"糖", "糖可", "糖可乐"}),
        ("wired, free shipping", set()),
        ("wired free shipping", set()),
        ("wood screw no. 8", set()),
        ("notebook and nonfiction", set()),
        ("headset with microphone", set()),
    ],
)
def test_absences(text: str, stated: set[str]) -> None:
    """The words after "no" and "without" and before "free"; of Chinese each beginning."""
    assert set(absences(text)) == stated


def test_the_words_of_absences() -> None:
    """It is written in letters alone, which the tokenizer keeps together, and it makes no text longer."""
    cola = Product(id="1", title="Cola, no SUGAR", description="Without caffeine")
    assert absent(cola).split() == [absence_word("sugar"), absence_word("caffeine")]
    assert absence_word("sugar") not in heading(cola)
    assert absence_word("糖").isascii()
    assert absence_word("糖").isalpha()


@given(st.text())
def test_any_text(text: str) -> None:
    """A word of an absence occurs in the text."""
    assert all(word and word in text.lower() for word in absences(text.lower()))


@pytest.mark.parametrize(
    ("title", "description", "has"),
    [
        ("Rapid Night-Charger", "", True),
        ("Lamp", "A rapid, night charger.", True),
        ("Night rapid charger", "", False),
        ("Trapid night charger", "", False),
        ("Rapid night chargers", "", False),
        ("Rapid night", "charger", False),
    ],
)
def test_phrases(title: str, description: str, has: bool) -> None:
    """The words side by side, in one text of the product, whatever their case and the signs between them."""
    product = product_to_proto(Product(id="1", title=title, description=description)).SerializeToString()
    assert with_phrases([product], ["rapid night charger"]).tolist() == [has]


def test_chinese_phrases() -> None:
    """A Chinese phrase may stand inside other text, with or without blanks."""
    product = product_to_proto(Product(id="1", title="索尼 无线 耳机 黑色")).SerializeToString()
    assert [with_phrases([product], [phrase]).item() for phrase in ("无线 耳机", "耳机无线")] == [True, False]
