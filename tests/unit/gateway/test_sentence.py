"""A sentence holds what the numbers say, and nothing else."""

from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from services.gateway.adapters.text_files import load_texts
from services.gateway.domain.sentence import (
    LEAST,
    LEAST_SHARE,
    Mixing,
    absent,
    named_groups,
    placed,
    unexplained,
)
from services.gateway.domain.texts import GROUPS, LANGUAGES

RETAIL = load_texts(None)
PARTS = {"en": ("Raised by: ", "Lowered by: ", "."), "zh": ("加分：", "减分：", "。")}
contribution = st.one_of(st.just(0.0), st.floats(-0.02, 0.02), st.floats(-3, 3))
contributions = st.fixed_dictionaries({}, optional=dict.fromkeys(GROUPS, contribution))


def claims(text: str, language: str, which: int) -> dict[str, str]:
    """Group -> number as printed, of the groups that raise (0) or lower (1) the score."""
    opening, end = PARTS[language][which], PARTS[language][2]
    if opening not in text:
        return {}
    part = re.split(rf"{re.escape(end)}(?=\D|$)", text.split(opening, 1)[1])[0]
    names = {text: group for group, text in RETAIL.of(language).groups.items()}
    separator = ", " if language == "en" else "，"
    pairs = (claim.rsplit(" ", 1) for claim in part.split(separator))
    return {names[name]: number for name, number in pairs}


def sentence(language: str, values: dict[str, float], **more: object) -> str:
    return placed(RETAIL.of(language), 3, 40, 1.5, 0.0, values, **more)  # type: ignore[arg-type]


@given(contributions, st.sampled_from(LANGUAGES))
def test_nothing_is_named_that_does_not_count(values: dict[str, float], language: str) -> None:
    """Only groups that add are named as raising, only groups that take as lowering, and negligible ones not at all."""
    text = sentence(language, values)
    least = max(LEAST, LEAST_SHARE * sum(map(abs, values.values())))
    pro, contra = claims(text, language, 0), claims(text, language, 1)
    assert all(values[group] >= least for group in pro)
    assert all(values[group] <= -least for group in contra)
    # And every group that counts is named.
    assert {*pro, *contra} == {group for group, value in values.items() if abs(value) >= least}


@given(contributions, st.sampled_from(LANGUAGES))
def test_numbers_are_those_of_the_explanation(values: dict[str, float], language: str) -> None:
    """The number after a group is its contribution to two decimals, and never 0."""
    text = sentence(language, values)
    for group, number in (claims(text, language, 0) | claims(text, language, 1)).items():
        assert number == f"{values[group]:+.2f}"
        assert float(number) != 0


@given(contributions, st.floats(-9, 9), st.floats(-2, 2), st.integers(1, 99), st.sampled_from(LANGUAGES))
def test_no_other_numbers(
    values: dict[str, float], score: float, baseline: float, position: int, language: str
) -> None:
    """Besides contributions a sentence holds the position, the count, the score and, unless it is 0, the baseline."""
    text = placed(RETAIL.of(language), position, 120, score, baseline, values)
    found = re.findall(r"[-+]?\d+(?:\.\d+)?", text)
    expected = [str(position), "120", f"{score:.2f}", *([f"{baseline:.2f}"] if abs(baseline) >= LEAST else [])]
    assert found[: len(expected)] == expected
    assert len(found) == len(expected) + sum(map(len, named_groups(values)))


@given(contributions)
def test_both_languages_say_the_same(values: dict[str, float]) -> None:
    """English and Chinese name the same groups with the same numbers."""
    english, chinese = sentence("en", values), sentence("zh", values)
    assert [claims(english, "en", part) for part in (0, 1)] == [claims(chinese, "zh", part) for part in (0, 1)]


@given(st.dictionaries(st.sampled_from(sorted(GROUPS)), st.floats(0.5, 2), min_size=2))
def test_the_largest_first(values: dict[str, float]) -> None:
    """Groups are named in the order of their contributions."""
    named = list(claims(sentence("en", values), "en", 0))
    assume(named)
    assert [values[group] for group in named] == sorted((values[g] for g in named), reverse=True)


def test_nothing_sponsored_is_left_out() -> None:
    """A group that contributes exactly 0 is in no sentence."""
    assert "sponsored" not in sentence("en", {"query_match": 1.0, "sponsored": 0.0})


def test_an_item_without_a_reason() -> None:
    """If no group counts, the sentence says so."""
    assert "No single reason raises or lowers the score." in sentence("en", {"popularity": 0.004})


def test_steps_of_a_slate() -> None:
    """Only the steps that had an effect are named, in words that a shopper understands."""
    text = sentence("en", {}, mixing=Mixing(similarity_cost=0.123, brand_capped_places=2))
    assert text.endswith(
        "Its position then changed: ranked lower because similar products are above it (-0.12), "
        "moved down 2 positions because many products of its brand are above it."
    )
    assert "changed" not in sentence("en", {}, mixing=Mixing())
    fatigue = Mixing(fatigue_cost=0.2)
    assert "because you have seen it several times without clicking (-0.20)" in sentence("en", {}, mixing=fatigue)
    assert "随机" in sentence("zh", {}, mixing=Mixing(is_explored=True))


def test_what_was_read() -> None:
    """A concept's words are repeated as typed and as understood."""
    assert sentence("en", {}, read=[("trainers", "running shoes")]).endswith(
        "“trainers” was understood as “running shoes”."
    )


def test_scores_without_reasons() -> None:
    """Without the ranker the sentence names no group and no score."""
    for language in LANGUAGES:
        for order in ("retrieval-order", "popular-memory", "some-ranker@1"):
            text = unexplained(RETAIL.of(language), order, 3, 40, 0.7)
            assert not any(name in text for name in RETAIL.of(language).groups.values())
    assert "0.70" not in unexplained(RETAIL.of("en"), "retrieval-order", 3, 40, 0.7)


def test_absences() -> None:
    """Each reason has its words in both languages."""
    for language in LANGUAGES:
        texts = {
            absent(RETAIL.of(language), why, "under $5", 200)
            for why in ("filter", "constraint", "recently_purchased", "not_retrieved")
        }
        assert len(texts) == 4
    assert "under $5" in absent(RETAIL.of("en"), "constraint", "under $5")


def test_language() -> None:
    """Sentences are Chinese for Chinese locales, and English for all others."""
    assert [RETAIL.of(locale).language for locale in ("zh", "zh-Hant-TW", "en-GB", "de", "")] == [
        "zh",
        "zh",
        "en",
        "en",
        "en",
    ]
