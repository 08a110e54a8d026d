"""The ways in which the robustness benchmark types badly."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.robustness import full_width, other_number, sample_of, shuffled, typo
from services.query_encoder.domain.text import normal_form


@given(st.integers())
def test_one_slip(seed: int) -> None:
    """One edit in one word of four or more letters; the others stay."""
    words = typo("hdmi cable 6ft red", random.Random(seed)).split(" ")
    assert words[2:] == ["6ft", "red"]
    assert sum(word != meant for word, meant in zip(words, ("hdmi", "cable"), strict=False)) == 1


def test_nothing_to_slip_in() -> None:
    """A query of short words and numbers stays as it is."""
    assert typo("6ft red 12v", random.Random(0)) == "6ft red 12v"


@pytest.mark.parametrize(
    ("query", "turned"),
    [("red boxes", "red boxe"), ("paint box", "paints box"), ("glass dish", "glass dishes"), ("6ft", "6ft")],
)
def test_plural_and_singular(query: str, turned: str) -> None:
    """The last long word changes its number, as roughly as people do."""
    assert other_number(query, random.Random(0)) == turned


def test_words_and_letters_stay() -> None:
    """Shuffled words are the same words; full-width letters become plain ones in the normal form."""
    assert sorted(shuffled("a b c", random.Random(0)).split()) == ["a", "b", "c"]
    assert normal_form(full_width("HDMI cable 6ft", random.Random(0))) == "hdmi cable 6ft"


def test_the_sample() -> None:
    """Only queries with something to find, the same ones for the same seed."""
    judged = {"good": {"1": 3.0}, "fine": {"1": 2.0}, "hopeless": {"1": 1.0}}
    assert set(sample_of(judged, 0, 0)) == {"good", "fine"}
    assert list(sample_of(judged, 1, 5)) == list(sample_of(judged, 1, 5))
