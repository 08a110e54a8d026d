"""Spelling, corrected towards the shop's own words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.text import MAX_TEXT, normal_form

# Two words in titles, with how many titles.
PAIRS = {
    "hdmi cable": 20, "steel door": 9, "french door": 30, "glass door": 12, "top rail": 5, "paint sealant": 9,
}  # fmt: skip
PAIRED = SpellCorrector(
    {
        "cable": 40, "hdmi": 30, "steel": 9, "door": 50, "dove": 80, "glass": 12, "top": 9, "rail": 9,
        "paint": 99, "pant": 8, "sealant": 20,
    },
    PAIRS,
)  # fmt: skip
SHOP_WORDS = {"headphones": 50, "cable": 40, "hdmi": 30, "wireless": 20, "sony": 10, "cabel": 1, "rareword": 1}
CORRECTOR = SpellCorrector(SHOP_WORDS)


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        ("sony hedphones", "sony headphones"),
        ("wirelss hdmi", "wireless hdmi"),
        ("headfones, wirless", "headphones, wireless"),
        ("bheadphones", "headphones"),
        ("hdmi/wirless", "hdmi/wireless"),
        # The shop has it once, and nothing else comes near.
        ("rarewort", "rareword"),
        # A wrong first letter, in a word that is no English one either.
        ("xdmi", "hdmi"),
    ],
)
def test_corrected(text: str, corrected: str) -> None:
    """A word that neither the shop nor English knows goes to the shop's nearest."""
    assert CORRECTOR.correct(text) == corrected


@pytest.mark.parametrize(
    "text",
    [
        "hdmi cable", "cabel", "table", "wh-1000xm4", "6ft", "1080p", "sny", "跑步鞋", "xyzzyqwerty", "iphnoe",
        "tony",
    ],
)  # fmt: skip
def test_untouched(text: str) -> None:
    """Right, short, foreign, numbered and hopeless words stay; so do common English ones."""
    assert CORRECTOR.correct(text) == text


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        # "dove" is the likelier word, "door" the likelier one there.
        ("french dooe", "french door"),
        ("dove", "dove"),
        # English, but not beside "door".
        ("class door", "glass door"),
        ("class", "class"),
        # Three letters, and a wrong first one.
        ("steel oor", "steel door"),
        ("oor", "door"),
        ("hdmi zable", "hdmi cable"),
        # Written as one, and with a slip on top.
        ("toprail", "top rail"),
        ("hdmicble", "hdmi cable"),
        ("hdmjcable", "hdmi cable"),
    ],
)
def test_neighbours_speak(text: str, corrected: str) -> None:
    """The words beside it decide what a word is, and whether it is wrong at all."""
    assert PAIRED.correct(text) == corrected


@pytest.mark.parametrize(
    ("text", "guesses"),
    [
        # "pant" is a word of this shop, though never beside "sealant"; "steal" is one that it does not have.
        ("pant sealant", ("paint",)),
        ("pant", ()),
        ("paint pant sealant", ()),
        ("steal", ("steel",)),
        # Right beside its neighbour, and a slip mended for sure.
        ("steel door", ()),
        ("hdmi zable", ()),
    ],
)
def test_doubtful(text: str, guesses: tuple[str, ...]) -> None:
    """A word that stays although another may have been meant brings that one along, unless the text has it."""
    spelling = PAIRED.read(text)
    assert spelling.guesses == guesses
    assert bool(guesses) <= (spelling.text == text)


@given(st.text(max_size=MAX_TEXT))
def test_any_text(text: str) -> None:
    """Any text: no crash, within the bound, and correcting twice changes no more."""
    normal = normal_form(text)
    corrected = CORRECTOR.correct(normal)
    assert len(corrected) <= MAX_TEXT
    assert CORRECTOR.correct(corrected) == corrected


@given(st.lists(st.sampled_from(sorted(SHOP_WORDS)), max_size=10))
def test_known_words(known: list[str]) -> None:
    """Words that the shop knows are never touched."""
    assert CORRECTOR.correct(" ".join(known)) == " ".join(known)
