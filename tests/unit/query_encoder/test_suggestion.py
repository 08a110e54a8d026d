"""Completions of what a shopper has typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.product import Product
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.lexicon import Lexicon, learn
from services.query_encoder.domain.suggestion import Suggester, SuggestionKind

STOP_WORDS = embedded_domain().stop_words

PRODUCTS = [
    Product(id=f"{number}-{title}", title=title, brand=brand, category_path=category)
    for title, brand, category, count in (
        ("Wireless Headphones with Case", "Sony", ("Audio", "Headphones"), 5),
        ("HDMI Cable 6ft", "Anker", ("Cables",), 4),
        ("Wireless Mouse", "Logitech", (), 3),
        ("Rare Gadget", "", (), 1),
        ("红色跑步鞋", "", (), 3),
    )
    for number in range(count)
]


@pytest.fixture(scope="module")
def suggester() -> Suggester:
    lexicon = Lexicon()
    lexicon.add(learn(PRODUCTS), 1)
    return Suggester(lexicon, SpellCorrector(lexicon.words, lexicon.phrases), STOP_WORDS)


def texts(suggester: Suggester, prefix: str, limit: int = 8, locale: str = "") -> list[str]:
    return [suggestion.text for suggestion in suggester.suggest(prefix, limit, locale)]


@pytest.mark.parametrize(
    ("prefix", "text", "kind"),
    [
        ("wirel", "wireless headphones", SuggestionKind.PRODUCT),
        ("Wireless ", "wireless mouse", SuggestionKind.PRODUCT),
        ("so", "Sony", SuggestionKind.BRAND),
        ("CABLES", "cables", SuggestionKind.CATEGORY),
        ("红", "红色跑步鞋", SuggestionKind.PRODUCT),
        ("跑步", "红色跑步鞋", SuggestionKind.PRODUCT),
        ("headph", "wireless headphones", SuggestionKind.PRODUCT),
    ],
)
def test_completions(suggester: Suggester, prefix: str, text: str, kind: SuggestionKind) -> None:
    """Brands, categories and phrases of titles, in English and Chinese, by their beginning or that of a later word."""
    found = suggester.suggest(prefix, 8)
    assert (text, kind, False) in [(each.text, each.kind, each.is_corrected) for each in found]


@pytest.mark.parametrize("prefix", ["wirless hea", "wierless", "hdni cab", "wireless headphnoe", "headpj"])
def test_typos_are_corrected(suggester: Suggester, prefix: str) -> None:
    """With a typo in an earlier or in the last word there are suggestions, marked as corrected."""
    found = suggester.suggest(prefix, 8)
    assert found
    assert all(suggestion.is_corrected for suggestion in found)


def test_longer_than_any_entry(suggester: Suggester) -> None:
    """If no entry begins with the whole text, its last words are completed."""
    assert texts(suggester, "wireless mouse hdmi c") == ["wireless mouse hdmi cable"]
    assert texts(suggester, "qqqqq hdmi c") == []


def test_bounds(suggester: Suggester) -> None:
    """At most `limit` suggestions, each text once; none for an empty prefix and for one without matches."""
    assert len(texts(suggester, "w", limit=2)) == 2
    assert len(set(texts(suggester, "wireless"))) == len(texts(suggester, "wireless"))
    assert texts(suggester, "  ") == texts(suggester, "qqqqq") == []


def test_rare_words_and_stop_words(suggester: Suggester) -> None:
    """A word of a single title, and a phrase that ends with "with", is not suggested."""
    assert texts(suggester, "gad") == []
    assert not any(text.endswith("with") for text in texts(suggester, "headphones", limit=20))


def test_locale(suggester: Suggester) -> None:
    """Suggestions in the language of the locale come first."""
    lexicon = Lexicon(words={"iphone": 9}, phrases={"iphone 手机": 4, "iphone case": 3})
    both = Suggester(lexicon, SpellCorrector(lexicon.words), STOP_WORDS)
    assert texts(both, "iph", locale="zh-CN")[0] == "iphone 手机"
    assert texts(both, "iph", locale="en")[0] == "iphone"


def test_past_queries(suggester: Suggester) -> None:
    """A query that was sent several times comes first; one sent once, and one with unknown words, is left out."""
    past = {"wireless mouse case": 3, "wireless once": 1, "wireless jane doe": 9}
    found = suggester.suggest("wirel", 8, "", past)
    assert (found[0].text, found[0].kind) == ("wireless mouse case", SuggestionKind.QUERY)
    assert not {"wireless once", "wireless jane doe"}.intersection(suggestion.text for suggestion in found)


@given(st.text(max_size=600))
def test_any_prefix(suggester: Suggester, prefix: str) -> None:
    """Any text gets at most `limit` suggestions."""
    assert len(suggester.suggest(prefix, 5)) <= 5
