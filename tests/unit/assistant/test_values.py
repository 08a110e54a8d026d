"""Values of products in texts, questions, amounts and the state of a conversation."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.assistant.convert import state_from_proto, state_to_proto
from services.assistant.domain.clarification import best_question, expected_bits
from services.assistant.domain.conversation import Chip, Condition, Dialogue, Question
from services.assistant.domain.shop import FacetValue, FieldCounts
from services.assistant.domain.values import conditions_of, named_values
from services.assistant.flows.understanding import read_amount
from services.common.limits import MAX_STATE_BYTES
from tests.unit.assistant.conversations import language

VOCABULARY, _, TEXTS = language()


def facet(name: str, *values: str, count: int = 1) -> FieldCounts:
    return FieldCounts(name, tuple(FacetValue(value, count) for value in values))


FACETS = [
    facet("attributes.colour", "black", "light blue", "navy"),
    facet("attributes.material", "cotton", "organic cotton", "glazed ceramic", "terracotta"),
    facet("attributes.size", "S", "42", "150 g"),
    facet("brand", "Halden & Moor", "Northlane"),
]


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("black please", [("attributes.colour", ("black",), False)]),
        ("in blue", [("attributes.colour", ("light blue", "navy"), False)]),
        ("浅蓝色的", [("attributes.colour", ("light blue",), False)]),
        ("organic cotton", [("attributes.material", ("organic cotton",), False)]),
        ("陶瓷的更好", [("attributes.material", ("glazed ceramic",), False)]),
        ("not black", [("attributes.colour", ("black",), True)]),
        ("不要黑色", [("attributes.colour", ("black",), True)]),
        ("150 克的", [("attributes.size", ("150 g",), False)]),
        ("size 42", [("attributes.size", ("42",), False)]),
        ("it's nice", []),
        ("size s", [("attributes.size", ("S",), False)]),
        ("from northlane", [("brand", ("Northlane",), False)]),
    ],
)
def test_values_that_products_have(text: str, conditions: list[tuple[str, tuple[str, ...], bool]]) -> None:
    """Whole values before parts of values, the longest first, excluded ones as such, in both languages."""
    found = conditions_of(named_values(text, FACETS, VOCABULARY))
    assert [(one.field, one.values, one.is_excluded) for one in found] == conditions


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("80", (None, "80")),
        ("around 80 dollars", ("60", "100")),
        ("at least 50", ("50", None)),
        ("100到200元", ("100", "200")),
        ("$49.99 max", (None, "49.99")),
        ("750 ml", None),
        ("1 kg please", None),
        ("120厘米宽", None),
        ("blue", None),
    ],
)
def test_amounts(text: str, bounds: tuple[str | None, str | None] | None) -> None:
    """Amounts of money, and no weights or lengths."""
    found = read_amount(text)
    expected = bounds and tuple(None if one is None else Decimal(one) for one in bounds)
    assert (found and found.bounds) == expected


def test_a_value_that_all_have_narrows_nothing() -> None:
    """A size that every product has is worth no question; an even division in two is worth a bit."""
    assert expected_bits(facet("attributes.size", "S", "M", count=8), 8) == 0
    assert expected_bits(facet("attributes.colour", "red", "blue", count=4), 8) == 1


def test_the_question_that_narrows_most_is_asked_once() -> None:
    """Of several fields the one with most bits; none if all products are shown anyway."""
    facets = [facet("attributes.colour", "red", "blue", count=4), facet("attributes.size", *"abcd", count=2)]
    best = best_question(facets, 8, 3, ())
    assert best is not None
    assert best.facet.field == "attributes.size"
    second = best_question(facets, 8, 3, ("attributes.size",))
    assert second is not None
    assert second.facet.field == "attributes.colour"
    assert best_question(facets, 3, 3, ()) is None


def test_values_are_shown_in_chinese() -> None:
    """Names of describing concepts, plain names of categories, and the shop's own word if there is none."""
    assert TEXTS["zh"].value("light blue") == "浅蓝"
    assert TEXTS["zh"].value("Clothing > Jeans", "category") == "牛仔裤"
    assert TEXTS["zh"].value("percale") == "percale"
    assert TEXTS["zh"].value("150 g") == "150 克"
    assert TEXTS["zh"].value("Apple", "brand") == "Apple"


_texts = st.text(max_size=200)
_conditions = st.lists(
    st.builds(
        Condition, st.sampled_from(["brand", "attributes.colour", "price"]), st.lists(_texts, max_size=20).map(tuple)
    ),
    max_size=16,
)
_questions = st.builds(Question, _texts, _texts, st.lists(st.builds(Chip, _texts, _texts), max_size=8).map(tuple))


@given(
    st.text(max_size=512), _conditions, st.lists(st.text(min_size=1, max_size=128), max_size=40), st.none() | _questions
)
def test_a_state_fits_and_is_read_again(
    query: str, conditions: list[Condition], ids: list[str], question: Question | None
) -> None:
    """Any state has at most 4 KiB and is read again; a small one is the same as before."""
    dialogue = Dialogue(query).with_conditions(conditions).showing(ids).asking(question)
    state = state_to_proto(dialogue)
    assert state.ByteSize() <= MAX_STATE_BYTES
    read = state_from_proto(state.SerializeToString())
    if state.ByteSize() < MAX_STATE_BYTES // 4 and dialogue.has_search:
        assert read == dialogue


def test_an_unreadable_state_begins_again() -> None:
    """Bytes that are no state are an empty one."""
    assert state_from_proto(b"\xff\xff\xff") == Dialogue()
