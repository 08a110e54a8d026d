"""Spelling correction towards the words of the shop."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.limits import MAX_QUERY
from services.common.product import Product
from services.query_encoder.domain.correction import SpellCorrector, Spelling
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.text import normal_form

# Two consecutive words, and the number of titles that contain them.
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
        # The shop has it once, and no other word is similar.
        ("rarewort", "rareword"),
        # A wrong first letter, in a word that is not English either.
        ("xdmi", "hdmi"),
    ],
)
def test_corrected(text: str, corrected: str) -> None:
    """A word that is neither the shop's nor English is replaced by the most similar word of the shop."""
    assert CORRECTOR.correct(text) == corrected


def test_a_word_that_the_shop_writes_with_a_hyphen() -> None:
    """It is that word, and no typo of a word that is nearer by letters."""
    corrector = SpellCorrector({"wi-fi": 9, "wife": 90, "camera": 50, "x-y": 1})
    assert corrector.correct("camera with wifi") == "camera with wi-fi"
    assert corrector.correct("xy") == "xy"


@pytest.mark.parametrize(
    "text",
    [
        "hdmi cable", "cabel", "table", "wh-1000xm4", "6ft", "1080p", "sny", "跑步鞋", "xyzzyqwerty", "iphnoe",
        "tony",
    ],
)  # fmt: skip
def test_untouched(text: str) -> None:
    """Correct, short, Chinese and numbered words stay, words without a similar word, and common English words."""
    assert CORRECTOR.correct(text) == text


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        # "dove" is more frequent, but next to "french" "door" is more probable.
        ("french dooe", "french door"),
        ("dove", "dove"),
        # An English word, but not next to "door".
        ("class door", "glass door"),
        ("class", "class"),
        # Three letters, of which the first is wrong.
        ("steel oor", "steel door"),
        ("oor", "door"),
        ("hdmi zable", "hdmi cable"),
        # Two words written as one, the last two also with a typo.
        ("toprail", "top rail"),
        ("hdmicble", "hdmi cable"),
        ("hdmjcable", "hdmi cable"),
    ],
)
def test_neighbouring_words_decide(text: str, corrected: str) -> None:
    """The words next to a word decide whether it is wrong, and what was meant."""
    assert PAIRED.correct(text) == corrected


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        ("steal", (("steal", "steel"),)),
        ("steal steel", ()),
        # A word of this shop, though it never stands next to "sealant".
        ("pant sealant", ()),
        # Correct next to its neighbour; and a typo that is surely corrected.
        ("steel door", ()),
        ("hdmi zable", ()),
    ],
)
def test_doubtful(text: str, alternatives: tuple[tuple[str, str], ...]) -> None:
    """A word that no title has stays; the word that may have been meant is an alternative, unless the text has it."""
    spelling = PAIRED.read(text)
    assert spelling.alternatives == alternatives
    assert bool(alternatives) <= (spelling.text == text)


# Similar to each other: each would be a typo of another one.
SIMILAR = (
    "char-broil", "broil", "boil", "bril", "x-acto", "x-auto", "stair", "stairs", "steer", "sour", "soul", "dust/dusk",
)  # fmt: skip
titles = st.lists(st.sampled_from(SIMILAR), min_size=2, max_size=6).map(" ".join)


@given(st.lists(titles, min_size=1, max_size=8), st.data())
def test_clean_queries(shop: list[str], data: st.DataObject) -> None:
    """A query whose neighbours stand side by side in titles, also of one product, is read as it is typed."""
    lexicon = Lexicon.of([Product(id=str(number), title=title) for number, title in enumerate(shop)])
    parts = [re.findall(r"\w+", title) for title in data.draw(st.sampled_from([shop, shop * 5]))]
    walk = [data.draw(st.sampled_from(sorted({left for title in parts for left in title[:-1]})))]
    for _ in range(3):
        following = {right for title in parts for left, right in pairwise(title) if left == walk[-1]}
        walk += [data.draw(st.sampled_from(sorted(following)))] if following else []
    query = " ".join(walk)
    assert QueryDomain().corrector(lexicon).read(query) == Spelling(query)
    whole = data.draw(st.sampled_from(shop))
    assert QueryDomain().corrector(lexicon).read(whole) == Spelling(whole)


def test_a_word_of_one_title_is_replaced_only_beside_other_words() -> None:
    """The shop's own typo stays where a title has it, and is a typo elsewhere."""
    titles = ["Hdmi cabel 2 m", *["Hdmi cable black"] * 9, *["Usb cable"] * 9]
    lexicon = Lexicon.of([Product(id=str(number), title=title) for number, title in enumerate(titles)])
    corrector = QueryDomain().corrector(lexicon)
    assert corrector.correct("hdmi cabel") == "hdmi cabel"
    assert corrector.correct("usb cabel") == "usb cable"


@given(st.text(max_size=MAX_QUERY))
def test_any_text(text: str) -> None:
    """Any text is corrected without a crash, within the bound, and correcting it again changes nothing."""
    normal = normal_form(text)
    corrected = CORRECTOR.correct(normal)
    assert len(corrected) <= MAX_QUERY
    assert CORRECTOR.correct(corrected) == corrected


@given(st.lists(st.sampled_from(sorted(SHOP_WORDS)), max_size=10))
def test_known_words(known: list[str]) -> None:
    """Words that the shop knows are never changed."""
    assert CORRECTOR.correct(" ".join(known)) == " ".join(known)
