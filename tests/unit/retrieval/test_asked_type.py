"""Products of the type that a query asks for come first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.common.noun_phrases import singular
from services.common.product import Product
from services.common.product_type import read_title
from services.retrieval.domain.asked_type import ContentWord, TypedRows
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.legs import ScoredKeys
from services.retrieval.domain.query import AskedType

TITLES = (
    "Acme Slate 2 with Wi-Fi",
    "Case for Acme Slate",
    "Leather Case for Acme Slate",
    "Case for Fabrikam Phone",
    "Battery for Fabrikam Phone",
    "Fabrikam Phone",
    "Fabrikam Handset",
)
# A line of consoles, with five products for it, and one with too few.
LINE = ("Orbit 360 Console", "Orbit 360 Kit Bundle", "Orbit 360 Cable", *["Cable for Orbit 360"] * 5)
SMALL_LINE = (*LINE[:3], *["Cable for Orbit 360"] * 2)
# In a shop with other cards, and with a size.
LINE_WITH_CARDS = ("Orbit 360 Card", *LINE, *["Memory Card"] * 20, "Orbit 360 4gb Console")
# Two products that a name of two words names, and enough others for a page of them.
PLAYERS = ("Disc Player", *["Turntable"] * 10, "Record Disc Player")
TVS = ("32 TV", "50 TV", "Mount for 32 inch TV")
# The same words in the phrase that names a product and behind it.
LAMPS = (*["Table Lamp with Shade"] * 30, "Lamp Shade", "Door with Birch Shade", "Shade Door")
OVENS = (*["Microwave"] * 10, "Wall Oven with Microwave", "Microwave Oven")
ALL = (TITLES, LINE_WITH_CARDS, PLAYERS, TVS, LAMPS, OVENS)
VOCABULARY = sorted({singular(word) for titles in ALL for title in titles for word in title.lower().split()})


def numbers_of(text: str) -> tuple[int, ...]:
    return tuple(VOCABULARY.index(word) for word in map(singular, text.split()) if word in VOCABULARY)


def entry(key: int, title: str) -> Entry:
    product = Product(id=title, title=title)
    reading, words = read_title(product), numbers_of(title.lower())
    return Entry(key, product, words, words, numbers_of(reading.phrase), numbers_of(reading.lead), reading.type)


def view(titles: Sequence[str] = TITLES) -> CatalogueView:
    table = Table()
    table.add([entry(key, title) for key, title in enumerate(titles)])
    return CatalogueView.of(table)


def typed(
    words: Sequence[str], names: Sequence[str] = (), matched_text: str = "", titles: Sequence[str] = TITLES
) -> TypedRows | None:
    catalogue = view(titles)
    content = [ContentWord(word, catalogue.containing([numbers_of(word)]), [numbers_of(word)]) for word in words]
    asked = AskedType(tuple(map(singular, words)), tuple(names), matched_text)
    return TypedRows.of(catalogue, asked, content, numbers_of)


def scored(keys: Sequence[int], scores: Sequence[float]) -> ScoredKeys:
    nothing = np.zeros(len(keys), np.float32)
    return ScoredKeys(np.array(keys, np.uint64), np.array(scores, np.float32), nothing, nothing, nothing, len(keys))


def order(rows: TypedRows | None, keys: Sequence[int], scores: Sequence[float]) -> list[int]:
    assert rows is not None
    found = rows.first(scored(keys, scores), np.ones(len(rows.typed), np.bool_))
    assert (np.diff(found.scores) <= 0).all()
    kept: list[int] = found.keys.tolist()
    return kept


def test_the_product_before_its_accessories() -> None:
    """A slate is asked for, whatever the scores of its cases; it also comes if no leg found it."""
    assert order(typed(["slate"]), [1, 2, 0, 5], [0.9, 0.8, 0.3, 0.1]) == [0, 1, 2, 5]
    assert order(typed(["slate"]), [1, 2, 5], [0.9, 0.8, 0.1])[0] == 0


def test_the_accessory_before_the_product() -> None:
    """Of two types in a query that one counts which has products with the other word, in both orders of the words."""
    for words in (["slate", "case"], ["case", "slate"]):
        rows = typed(words)
        assert rows is not None
        assert rows.name == "case"
        assert order(rows, [0, 3, 1], [0.9, 0.8, 0.3])[0] == 1


def test_all_words_before_some() -> None:
    """A case with all words comes first, a case without them rises a little."""
    assert order(typed(["leather", "case"]), [0, 4, 3, 2], [1.0, 0.95, 0.9, 0.0]) == [2, 0, 3, 4, 1]


def test_what_is_added_is_known() -> None:
    """Without it the products have the scores that they had, also after other candidates joined and some were taken."""
    rows = typed(["slate"])
    assert rows is not None
    found = rows.first(scored([1, 2, 0, 5], [0.9, 0.8, 0.3, 0.1]), np.ones(len(TITLES), np.bool_)).first(3)
    assert found.type_gains is not None
    own = dict(zip(found.keys.tolist(), (found.scores - found.type_gains).tolist(), strict=True))
    assert own == pytest.approx({0: 0.3, 1: 0.9, 2: 0.8})


def test_names() -> None:
    """Products that other names of the type name count as well, a name of two words if the title has both."""
    rows = typed(["phone"], ["handset", "fabrikam phone"], "phone")
    assert order(rows, [4, 3, 6, 5], [0.9, 0.8, 0.2, 0.1])[:2] == [6, 5]
    unknown = typed(["mobile"], ["fabrikam phone"], "mobile")
    assert unknown is not None
    assert order(unknown, [4, 5], [0.9, 0.1])[0] == 5


def test_no_type() -> None:
    """Without a product of such a type there is nothing to do."""
    assert typed(["fabrikam"]) is None
    assert typed(["slate", "leather", "battery"]) is None


def test_a_line_of_products() -> None:
    """A query that names a line gets its products, without types of which most products are for it."""
    rows = typed(["orbit", "360"], titles=LINE)
    assert rows is not None
    assert np.flatnonzero(rows.typed).tolist() == [0, 1]
    assert order(rows, [3, 2, 1, 0], [0.9, 0.8, 0.2, 0.1])[:2] == [1, 0]
    assert typed(["orbit", "360"], titles=SMALL_LINE) is None


def test_what_is_of_a_line() -> None:
    """Cards, of which the shop has many others, are not of the line; a size and "system" are no part of its name."""
    rows = typed(["orbit", "360", "4gb", "system"], titles=LINE_WITH_CARDS)
    assert rows is not None
    assert np.flatnonzero(rows.typed).tolist() == [1, 2, 29]
    assert order(rows, [0, 1, 29], [0.9, 0.8, 0.1])[0] == 29


def test_a_name_of_two_words() -> None:
    """A record player is a turntable, and no other player, if there is a page of turntables."""
    rows = typed(["record", "player"], ["turntable", "record player"], "record player", titles=PLAYERS)
    assert rows is not None
    assert np.flatnonzero(rows.typed).tolist() == list(range(1, 12))


def test_a_unit_behind_its_number() -> None:
    """It does not count: the TV of 32 inches is first, though its title has no unit."""
    assert order(typed(["32", "inch", "tv"], titles=TVS), [2, 1, 0], [0.9, 0.8, 0.1])[0] == 0


def test_a_word_that_no_product_of_the_type_has() -> None:
    """In a short query it does not count, unless a product has all words."""
    assert order(typed(["leather", "phone"], ["phone"], "phone"), [2, 4, 5], [0.9, 0.8, 0.1])[0] == 5
    assert order(typed(["leather", "slate"], ["slate"], "slate"), [2, 4, 0], [0.9, 0.3, 0.1])[0] == 2


def test_what_is_for_a_product_of_the_type() -> None:
    """It falls in a short query, behind what is neither."""
    assert order(typed(["slate"]), [1, 5, 0], [0.9, 0.8, 0.1]) == [0, 5, 1]


def test_words_behind_the_name_of_a_product() -> None:
    """A lamp "with shade" is no lamp shade, however many there are; a "shade door" comes before a door with one."""
    rows = typed(["lamp", "shade"], titles=LAMPS)
    assert rows is not None
    assert rows.name == "shade"
    assert order(typed(["shade", "door"], titles=LAMPS), [31, 32, 30], [0.9, 0.85, 0.1]) == [32, 31, 30]


def test_a_name_that_adds_a_head() -> None:
    """A "microwave oven" counts as a microwave while the shop has few of that type; an oven with one never does."""
    for titles, count in ((OVENS, 10), (OVENS[9:], 2)):
        rows = typed(["microwave"], ["microwave oven"], "microwave", titles)
        assert rows is not None
        assert np.count_nonzero(rows.typed) == count


def test_what_a_product_is_for() -> None:
    """Of "case for fabrikam battery" no case has all words: cases come before what has the other words."""
    catalogue = view()
    words = [ContentWord(word, catalogue.containing([numbers_of(word)])) for word in ("case", "fabrikam", "battery")]
    rows = TypedRows.of(catalogue, AskedType(("case",)), words, numbers_of, says_for=True)
    assert order(rows, [4, 3, 6], [0.9, 0.8, 0.1])[0] == 3


def test_several_sizes() -> None:
    """A query of sizes alone beside a word that is no product has no type."""
    assert typed(["2gb", "4gb", "handset"], titles=LINE_WITH_CARDS) is None
