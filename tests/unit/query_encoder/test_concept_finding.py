"""Concepts found in texts, and what they add to a query."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.limits import MAX_QUERY
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.concept_finding import ConceptFinder, Mention
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.constraints import Constraint, ConstraintFinder, ConstraintType
from services.query_encoder.domain.expansion import MAX_CHARACTERS, MAX_WORDS, Expander, shop_words
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.text import normal_form

GRAPH = ConceptGraph.read(
    {
        "fillers": ["的", "推荐"],
        "products": {
            "shoes": {
                "labels": ["鞋", "鞋子", "footwear"],
                "kinds": {"running shoes": ["跑鞋", "跑步鞋"], "boots": ["靴子"]},
            },
            "dress": ["裙", "连衣裙", "gown"],
            "usb-c cable": ["type-c数据线"],
            "flash drive": ["u盘", "usb stick"],
            "laptop": ["笔记本"], "notebook": ["笔记本", "journal"],
            "tent": ["帐篷"], "lamp": ["灯", "台灯"],
        },
        "colours": {"red": ["红", "红色"], "burgundy": {"labels": ["酒红色", "wine red"], "is_a": ["red"]}},
        "audiences": {"women": ["女", "女士", "women's"]},
        "occasions": {"camping": {"labels": ["露营"], "goes_with": ["tent"]}},
    }
)  # fmt: skip
FINDER = ConceptFinder(GRAPH)
EMBEDDED = ConceptFinder(embedded_domain().graph)


def named(text: str) -> list[object]:
    """The names of the concepts, and the plain text between them."""
    parts = FINDER.read(normal_form(text)).parts
    return [
        ([concept.name for concept in part.concepts] if len(part.concepts) > 1 else part.concepts[0].name)
        if isinstance(part, Mention)
        else part
        for part in parts
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("女士红色跑步鞋", ["women", "red", "running shoes"]),
        ("红裙", ["red", "dress"]),
        ("红鞋子推荐", ["red", "shoes"]),
        ("酒红色的连衣裙", ["burgundy", "dress"]),
        ("酒紅色連衣裙", ["burgundy", "dress"]),
        ("U 盘 64GB", ["flash drive", "64gb"]),
        ("Type-C 数据线 6 ft", ["usb-c cable", "6 ft"]),
        ("women's running shoes", ["women", "running shoes"]),
        ("women's跑鞋", ["women", "running shoes"]),
        ("Running Shoe for woman", ["running shoes", "for woman"]),
        ("nike 跑鞋 size 9", ["nike", "running shoes", "size 9"]),
        ("笔记本", [["laptop", "notebook"]]),
        ("wine red gown", ["burgundy", "dress"]),
        # An unknown word: its last character is a product; the characters inside it mean nothing.
        ("量子灯", ["lamp"]),
        ("红木灯", ["lamp"]),
        ("红灯笼", []),
        ("usb sticker", ["usb sticker"]),
        ("推荐", []),
    ],
)
def test_finds(text: str, expected: list[object]) -> None:
    """The longest labels of both languages, in the order of the text; single characters only if nothing is left."""
    assert named(text) == expected


@pytest.mark.parametrize(
    ("text", "share"),
    [("红色的鞋子推荐", 1.0), ("量子鞋子", 0.5), ("量子", 0), ("red shoes", 1.0), ("운동화", 1.0), ("", 1.0)],
)
def test_recognised(text: str, share: float) -> None:
    """The share of the Chinese text that was recognised: fillers and Korean words count on neither side."""
    assert FINDER.read(text).recognised == share


@given(
    st.text(alphabet=st.sampled_from("红色女士跑步鞋的量子u盘 usb-c'&/wine red shoes12、"), max_size=40)
    | st.text(max_size=80)
)
def test_reads_any_text(text: str) -> None:
    """For any text, the mentions occur in the text in their order, without overlap."""
    normal = normal_form(text)
    reading = FINDER.read(normal)
    place = 0
    for mention in reading.mentions:
        place = normal.index(mention.text, place) + len(mention.text)
    assert 0 <= reading.recognised <= 1


def cpu_s(text: str) -> float:
    """CPU seconds to read `text`: the shortest of ten times, so that filling caches does not count."""

    def once() -> float:
        started = time.thread_time()
        EMBEDDED.read(text)
        return time.thread_time() - started

    return min(once() for _ in range(10))


def test_the_longest_text_is_read_soon() -> None:
    """Twice the text takes about twice the time, and the longest text takes less than 0.2 s of CPU."""
    text = ("红色牛仔裤 shoes" * MAX_QUERY)[:MAX_QUERY]
    longest = cpu_s(text)
    assert longest < 0.2
    assert longest < 3 * cpu_s(text[: MAX_QUERY // 2])


def expand(text: str, *shop: str) -> tuple[list[str], str]:
    """(expansions, rendering) in a shop whose titles have these words."""
    expansion = Expander(GRAPH, shop_words(shop)).expand(FINDER.read(text), text)
    return [label for _, labels in expansion.labels for label in labels], expansion.rendering


@pytest.mark.parametrize(
    ("text", "shop", "added", "rendering"),
    [
        ("红色连衣裙", ["red", "gowns"], ["red", "gown"], "red dress"),
        ("红色连衣裙", [], ["red", "dress", "gown"], "red dress"),
        # The shop has no shoes, but a kind of them; or no kind of them, but what they are a kind of.
        ("鞋子", ["boots"], ["boots"], "shoes"),
        ("跑鞋", ["footwear"], ["footwear"], "running shoes"),
        ("露营", ["tents"], ["camping", "tent"], "camping"),
        ("nike 跑鞋", ["nike", "running", "shoes"], ["running shoes"], "nike running shoes"),
        ("笔记本", [], ["laptop", "notebook", "journal"], "laptop notebook"),
        ("量子灯", [], ["lamp"], "lamp"),
        ("量子纠缠灯", [], ["lamp"], ""),
        ("gown", ["dress"], ["dress"], ""),
        ("gown", ["gowns", "dress"], [], ""),
        ("gown", [], [], ""),
    ],
)
def test_expansion(text: str, shop: list[str], added: list[str], rendering: str) -> None:
    """Chinese gets the shop's words and is rendered in English; English gets words only if none of its own is the
    shop's.
    """
    assert expand(text, *shop) == (added, rendering)


@given(st.lists(st.sampled_from(sorted(embedded_domain().graph.by_chinese)), max_size=60))
def test_expansion_is_bounded(labels: list[str]) -> None:
    """However many concepts a text mentions, the number of added words and characters is bounded."""
    text = "".join(labels)[:MAX_QUERY]
    expansion = Expander(embedded_domain().graph, frozenset()).expand(EMBEDDED.read(text), text)
    added = [label for _, labels in expansion.labels for label in labels]
    assert sum(len(label.split()) for label in added) <= MAX_WORDS
    assert len(" ".join(added)) <= MAX_CHARACTERS
    assert len(expansion.rendering) <= MAX_CHARACTERS


def test_a_code_is_expanded() -> None:
    """A code such as "ps3" stands for the name that titles have, also if a title has the code."""
    words = shop_words(["ps3", "playstation", "3"])
    expansion = Expander(embedded_domain().graph, words).expand(EMBEDDED.read("ps3 games"), "ps3 games")
    assert "playstation 3" in [label for _, labels in expansion.labels for label in labels]


@pytest.mark.parametrize(
    ("text", "shop", "values"),
    [
        ("酒红色连衣裙", ["burgundy", "red"], ["Burgundy"]),
        ("酒红色连衣裙", ["red"], ["Red"]),
        ("酒红色连衣裙", ["blue"], []),
        ("红色和酒红色", ["burgundy", "red"], ["Red", "Burgundy"]),
        ("burgundy", ["burgundy"], ["Burgundy"]),
    ],
)
def test_colours(text: str, shop: list[str], values: list[str]) -> None:
    """A Chinese colour becomes a condition with the shop's name of it, or of the colour that it is a kind of."""
    lexicon = Lexicon(values={"colour": {colour: colour.title() for colour in shop}})
    finder = ConstraintFinder(embedded_domain().conditions, GRAPH, "USD")
    said = finder.with_concepts(finder.names(text, lexicon), FINDER.read(text).mentions, lexicon)
    assert [c.value for c in said if c.attribute == "colour"] == values


def test_other_constraints_stay() -> None:
    """Colours do not change the other conditions."""
    brand = Constraint(ConstraintType.BRAND, "nike", "Nike")
    finder = ConstraintFinder(embedded_domain().conditions, GRAPH, "USD")
    assert finder.with_concepts([brand], [], Lexicon()) == [brand]
