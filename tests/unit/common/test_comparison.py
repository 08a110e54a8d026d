"""How values of products are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.comparison import category_form, category_form_of, comparison_form, number_of


@pytest.mark.parametrize(
    ("text", "other"),
    [("Navy", "navy"), (" navy\tblue ", "Navy  Blue"), ("Straße", "STRASSE"), ("ＮＩＫＥ", "nike"), ("ﬁt", "fit")],
)
def test_case_width_and_blanks_do_not_count(text: str, other: str) -> None:
    """Texts that differ in case, width and blanks only are one value."""
    assert comparison_form(text) == comparison_form(other)


@given(st.text())
def test_a_form_is_its_own_form(text: str) -> None:
    """The form of a form is the same form."""
    form = comparison_form(text)
    assert comparison_form(form) == form


@pytest.mark.parametrize("text", ["Home & Garden>Mats", "home & garden > MATS", " Home &  Garden >Mats> "])
def test_paths_are_compared_by_level(text: str) -> None:
    """Blanks around the separator do not count."""
    assert category_form_of(text) == category_form(("Home & Garden", "Mats"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2.5", 2.5), (" 42 ", 42.0), ("-.5", -0.5), ("1e3", 1000.0), ("５", 5.0), ("2.", 2.0),
        ("2.5 kg", None), ("1_000", None), ("nan", None), ("inf", None), ("1e999", None), ("", None), ("1,5", None),
    ],
)  # fmt: skip
def test_numbers(text: str, number: float | None) -> None:
    """A text is a number if it is one as a whole, and finite."""
    assert number_of(text) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read(number: float) -> None:
    """What Python writes of a float is read as that float."""
    assert number_of(repr(number)) == number
