"""Numbers are words and units have one spelling, alike in products and in queries."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.product import Product
from services.retrieval.domain.lexical import also_written, body, heading, lexical_query, lexical_text

SPELLINGS = {
    "inch": ['"', "''", "in", "in.", "IN", "inch", "inches"],
    "ft": ["'", "ft", "ft.", "foot", "feet", "Feet"],
    "lb": ["lb", "lb.", "lbs", "pound", "pounds"],
    "gal": ["gal", "gal.", "gallon", "gallons"],
    "oz": ["oz", "oz.", "ounce", "ounces"],
    "watt": ["w", "W", "watt", "watts"],
    "volt": ["v", "volt", "volts"],
    "gb": ["gb", "GB", "g", "gigabytes"],
    "mm": ["mm", "millimeter", "millimetres"],
}
spelt_units = st.sampled_from([(unit, spelling) for unit, all in SPELLINGS.items() for spelling in all])
numbers = st.from_regex(r"[0-9]{1,5}([./][0-9]{1,3})?", fullmatch=True)
plain_words = st.from_regex(r"[b-z]{3,8}", fullmatch=True).filter(lambda word: lexical_text(word) == word)
# No units: "lbs" after a number is "lb".
other_words = plain_words.filter(lambda word: tokens(f"1 {word}")[-1] == word)


def tokens(text: str) -> list[str]:
    return re.findall(r"\w+", lexical_text(text))


def number_word(number: str) -> str:
    return "n" + number.replace(".", "p").replace("/", "s")


@given(st.text())
def test_no_number_is_left(text: str) -> None:
    """Whatever the text, no token is made of digits only: the engine would drop it."""
    assert not [token for token in tokens(text) if token.isdigit()]


@given(st.text())
def test_case_and_width_make_no_difference(text: str) -> None:
    """A text and its compatibility form (full-width letters, ligatures) read the same, in any case. Trademark signs
    are no letters.
    """
    text = "".join(letter for letter in text if not re.match("[¼-¾⅐-⅞™℠]", letter))
    assert lexical_text(unicodedata.normalize("NFKC", text)) == lexical_text(text)
    assert lexical_text(text) == lexical_text(text).lower()


@given(plain_words, numbers, other_words)
def test_a_number_is_one_word(before: str, number: str, after: str) -> None:
    """A number, also a decimal or a fraction, is one word of its own between its neighbours."""
    assert tokens(f"{before} {number} {after}") == [before, number_word(number), after]


@given(numbers, st.sampled_from(["", " ", "-", " - "]), spelt_units, plain_words)
def test_a_unit_has_one_spelling(number: str, between: str, spelt: tuple[str, str], after: str) -> None:
    """A measure is the same two words however its unit is spelt and joined to the number."""
    unit, spelling = spelt
    assert tokens(f"{number}{between}{spelling} {after}") == [number_word(number), unit, after]


@given(numbers, numbers, st.sampled_from(["x", " x ", "X", "*", " × ", "×", " by "]))
def test_a_size(width: str, height: str, times: str) -> None:
    """Two numbers are the same size however "times" is written."""
    assert tokens(f"{width}{times}{height}") == [number_word(width), "x", number_word(height)]


@given(st.lists(plain_words, max_size=8))
def test_words_stay_as_they_are(words: list[str]) -> None:
    """Text without numbers and units is only made lower-case."""
    assert lexical_text(" ".join(words).upper()) == " ".join(words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3/4 in. plywood", ["n3s4", "inch", "plywood"]),
        ("5 ft. x 8 ft. rug", ["n5", "ft", "x", "n8", "ft", "rug"]),
        ("12-gauge wire", ["n12", "gauge", "wire"]),
        ("wh1000xm5", ["wh", "n1000", "xm", "n5"]),
        ("a shirt in red", ["a", "shirt", "in", "red"]),
        ("60's lamp", ["n60", "s", "lamp"]),
        ("1½ inch pipe", ["n1", "n1s2", "inch", "pipe"]),
        ('¾" bolt', ["n3s4", "inch", "bolt"]),
        ("３００元手机", ["n300", "元手机"]),
        ("18 square feet", ["n18", "sq", "ft"]),
        ("Quorra Lifestyle™ speaker", ["quorra", "lifestyle", "speaker"]),
        ("Touch®Pad&trade; 1&frac12;&quot;", ["touch", "pad", "n1", "n1s2", "inch"]),
    ],
)
def test_as_shoppers_write(text: str, expected: list[str]) -> None:
    """What is found in shops' titles and queries."""
    assert tokens(text) == expected


def test_a_mixed_number_is_written_in_two_ways() -> None:
    """1½ and 1 1/2 are the same number, and neither is 11/2."""
    assert tokens("1½") == tokens("1 1/2") != tokens("11/2")


@given(st.text())
def test_a_query_reads_like_a_product(text: str) -> None:
    """A query holds all that a product with the same text holds, and only joined words beside it."""
    assert lexical_query(text).startswith(lexical_text(text))


def test_a_sign_joins_no_words() -> None:
    """The joined words of a query have no letters of a trademark sign."""
    assert lexical_query("Lifestyle™ speaker").split() == ["lifestyle", "speaker", "lifestylespeaker"]


def test_neighbours_are_joined() -> None:
    """Neighbouring words of a query are looked for as one as well: "deck over" finds DeckOver."""
    assert lexical_query("deck over paint").split() == ["deck", "over", "paint", "deckover", "overpaint"]


@pytest.mark.parametrize(
    ("word", "behind", "other"),
    [
        ("tv", "", "tvs"),
        ("pcs", "", "pc"),
        ("tvs", "inch", "tv"),
        ("lens", "", ""),
        ("xs", "", ""),
        ("4", "", ""),
        ("15", "gb", ""),
    ],
)
def test_plurals_without_a_vowel(word: str, behind: str, other: str) -> None:
    """The stemmer knows no plural of a word without a vowel; others it knows."""
    assert also_written(word, behind) == ([other] if other else [])


def test_inches() -> None:
    """A screen of 15 inches may have some tenths more."""
    assert "15.6" in also_written("15", "inch")
    assert not also_written("15.6", "inch")


def test_heading_and_body() -> None:
    """What names a product is kept apart from what describes it, and neither is lost."""
    product = Product(
        id="1", title="Pegasus 41", localized_titles={"zh": "飞马"}, brand="Nike", category_path=("Shoes", "Running"),
        attributes={"colour": ("red", "white")}, description="Light", localized_descriptions={"zh": "轻"},
    )  # fmt: skip
    assert heading(product).split() == ["pegasus", "n41", "飞马", "nike"]
    assert body(product).split() == ["shoes", "running", "red", "white", "light", "轻"]
    assert heading(Product(id="1", title="x")) == "x"
