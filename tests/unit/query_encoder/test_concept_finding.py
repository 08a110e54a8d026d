"""Concepts found in texts, and what they add to a query."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query_encoder.adapters.concept_files import embedded_graph
from services.query_encoder.domain.concept_constraints import with_colours
from services.query_encoder.domain.concept_finding import ConceptFinder, Found
from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.constraints import Constraint, ConstraintType, find_constraints
from services.query_encoder.domain.expansion import MAX_CHARACTERS, MAX_WORDS, Expander, shop_words
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.text import MAX_TEXT, normal_form

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
EMBEDDED = ConceptFinder(embedded_graph())


def named(text: str) -> list[object]:
    """Names of concepts, and the text between them."""
    parts = FINDER.read(normal_form(text)).parts
    return [
        ([concept.name for concept in part.concepts] if len(part.concepts) > 1 else part.concepts[0].name)
        if isinstance(part, Found)
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
        # An unknown word: its last character is its noun, those inside it mean nothing.
        ("量子灯", ["lamp"]),
        ("红木灯", ["lamp"]),
        ("红灯笼", []),
        ("usb sticker", ["usb sticker"]),
        ("推荐", []),
    ],
)
def test_finds(text: str, expected: list[object]) -> None:
    """The longest labels, in both scripts, in the text's order; single characters only where nothing is left over."""
    assert named(text) == expected


@pytest.mark.parametrize(
    ("text", "share"),
    [("红色的鞋子推荐", 1.0), ("量子鞋子", 0.5), ("量子", 0), ("red shoes", 1.0), ("운동화", 1.0), ("", 1.0)],
)
def test_understood(text: str, share: float) -> None:
    """The share of the Chinese text that was recognised: fillers and Korean words count on neither side."""
    assert FINDER.read(text).understood == share


@given(
    st.text(alphabet=st.sampled_from("红色女士跑步鞋的量子u盘 usb-c'&/wine red shoes12、"), max_size=40)
    | st.text(max_size=80)
)
def test_reads_any_text(text: str) -> None:
    """Whatever is typed: what is found stands in the text, in order, without overlap."""
    normal = normal_form(text)
    reading = FINDER.read(normal)
    place = 0
    for found in reading.found:
        place = normal.index(found.text, place) + len(found.text)
    assert 0 <= reading.understood <= 1


def cpu_s(text: str) -> float:
    """Of reading it, the quickest of ten times: neither the first, which fills caches, nor the neighbours are in it."""

    def once() -> float:
        started = time.thread_time()
        EMBEDDED.read(text)
        return time.thread_time() - started

    return min(once() for _ in range(10))


def test_the_longest_text_is_read_soon() -> None:
    """Twice the text takes twice the time or so, and the longest is far from the limit: none takes time without end."""
    text = ("红色牛仔裤 shoes" * MAX_TEXT)[:MAX_TEXT]
    longest = cpu_s(text)
    assert longest < 0.2
    assert longest < 3 * cpu_s(text[: MAX_TEXT // 2])


def expand(text: str, *shop: str) -> tuple[list[str], str]:
    """(expansions, rendering) in a shop whose titles have these words."""
    expansion = Expander(GRAPH, shop_words(shop)).expand(FINDER.read(text), text)
    return [label for _, labels in expansion.labels for label in labels], expansion.rendering


@pytest.mark.parametrize(
    ("text", "shop", "added", "rendering"),
    [
        ("红色连衣裙", ["red", "gowns"], ["red", "gown"], "red dress"),
        ("红色连衣裙", [], ["red", "dress", "gown"], "red dress"),
        # The shop has no shoes but kinds of them; and no kind, but what it is a kind of.
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
    """Chinese gets the shop's own words and is said in English; English gets words only where its own find nothing."""
    assert expand(text, *shop) == (added, rendering)


@given(st.lists(st.sampled_from(sorted(embedded_graph().by_chinese)), max_size=60))
def test_expansion_is_bounded(labels: list[str]) -> None:
    """However much a text names."""
    text = "".join(labels)[:MAX_TEXT]
    expansion = Expander(embedded_graph(), frozenset()).expand(EMBEDDED.read(text), text)
    added = [label for _, labels in expansion.labels for label in labels]
    assert sum(len(label.split()) for label in added) <= MAX_WORDS
    assert len(" ".join(added)) <= MAX_CHARACTERS
    assert len(expansion.rendering) <= MAX_CHARACTERS


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
    """A Chinese colour is a condition on the shop's own name of it, or of what it is a kind of."""
    lexicon = Lexicon(colours={colour: colour.title() for colour in shop})
    said = with_colours(find_constraints(text, lexicon, "USD"), FINDER.read(text).found, lexicon, GRAPH)
    assert [c.value for c in said if c.type is ConstraintType.COLOUR] == values


def test_other_constraints_stay() -> None:
    """Colours change nothing about a price or a brand."""
    brand = Constraint(ConstraintType.BRAND, "nike", "Nike")
    assert with_colours([brand], [], Lexicon(), GRAPH) == [brand]
