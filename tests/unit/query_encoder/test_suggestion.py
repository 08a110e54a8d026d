"""Completions of what a shopper has typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.product import Product
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.lexicon import Lexicon, terms_of
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
    return suggester_of(PRODUCTS)


def suggester_of(products: Sequence[Product]) -> Suggester:
    lexicon = Lexicon.of(products)
    of_products = ([text for kind, text in terms_of(product) if kind == "words"] for product in products)
    return Suggester(lexicon, SpellCorrector(lexicon.words, lexicon.pairs), STOP_WORDS, of_products)


def titled(*titles: str, count: int = 3) -> Suggester:
    return suggester_of([Product(id=f"{number} {title}", title=title) for title in titles for number in range(count)])


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


@pytest.mark.parametrize(
    ("title", "prefix", "text"),
    [
        ("Case for Apple iPad - Black", "ipad ca", "ipad case"),
        ("Microsoft - Xbox One console", "xbox o", "xbox one"),
        ("Sony - Stereo Headphones", "sony he", "sony headphones"),
        ("DLP 3D TV, 42 inch", "tv 4", "tv 42"),
        ("Blu-ray Player", "blu ray pl", "blu-ray player"),
        ("All-in-One Printer", "all in one", "all-in-one printer"),
        ("Case for iPad", "ipda ca", "ipad case"),
        ("手机壳 保护 红色", "手机壳 红", "手机壳 红色"),
        ("Quorra Lifestyle™ Speaker", "lifest", "lifestyle speaker"),
        ("Tools &amp; Toys &quot;Star&quot; Drill", "tools", "tools toys"),
    ],
)
def test_inside_a_phrase(title: str, prefix: str, text: str) -> None:
    """Words are completed that products have beside the words before, in any order; hyphens are as spaces; signs and
    entities are not seen.
    """
    assert text in texts(titled(title, "Wireless Mouse"), prefix)


def test_no_noise() -> None:
    """No suggestion ends in another part of the title, repeats a word, or goes on with a brand or a stop word."""
    products = [
        Product(id=str(number), title="Washer - White - iPad and iPad with the Zagg", brand="Zagg")
        for number in range(3)
    ]
    found = texts(suggester_of(products), "washer", 20) + texts(suggester_of(products), "ipad ", 20)
    assert found == ["washer", "washer ipad", "washer white", "ipad washer", "ipad white"]


def test_every_suggestion_has_a_product() -> None:
    """Words that no product has together are not suggested together, if there is another suggestion."""
    assert texts(titled("Red lamp shade", "Blue chair cushion"), "red c") == []
    known = ["red cotton cushion", "red cotton", "red cushion"]
    assert texts(titled("Red lamp shade", "Red cotton cushion"), "red c") == known


def test_fragments_stay_within_their_phrase() -> None:
    """A word that titles always continue with the same word completes only the words that it stands behind."""
    shop = titled("Sony noise cancelling headphones")
    assert "noise cancelling" in texts(shop, "noise c")
    assert "sony cancelling" not in texts(shop, "sony c", 20)


def test_languages_are_not_mixed() -> None:
    """Words of a title's translation do not complete the title's own words; those of a mixed title do."""
    translated = Product(id="1", title="Denim jeans", localized_titles={"zh": "牛仔裤 靛蓝"})
    found = texts(suggester_of([replace(translated, id=str(number)) for number in range(3)]), "denim ", 20)
    assert "denim jeans" in found
    assert not any("牛仔裤" in text or "靛蓝" in text for text in found)
    assert "iphone 手机壳" in texts(titled("iPhone 手机壳"), "iphone 手")


def test_names_of_brands() -> None:
    """A brand is suggested without signs, and weighs as much as it has products."""
    brands = ["Bose®"] * 4 + ["Bosch"] * 5
    shop = suggester_of([Product(id=str(n), title=f"Radio {n}", brand=brand) for n, brand in enumerate(brands)])
    assert texts(shop, "bos")[:2] == ["Bosch", "Bose"]


def test_forget() -> None:
    """Words, phrases and brands that a later lexicon lacks are not suggested, alone or within others."""
    before = [Product(id=str(n), title="Desk lamp" if n < 3 else "Desk chair", brand="Acme") for n in range(6)]
    shop = suggester_of(before)
    assert texts(shop, "desk") == ["desk", "desk chair", "desk lamp"]
    shop.forget(Lexicon.of([replace(product, title="Desk chair", brand="Other") for product in before]))
    assert texts(shop, "desk") == ["desk", "desk chair"]
    assert texts(shop, "ac") == texts(shop, "desk l") == []


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
