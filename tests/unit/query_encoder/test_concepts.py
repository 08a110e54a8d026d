"""Reading and checking of the concept graph."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.query_encoder.adapters.domain_files import embedded_domain, load_domain
from services.query_encoder.domain.concepts import ConceptGraph, ConceptKind


def test_short_and_long_form() -> None:
    """A list has labels of both languages; `kinds` and `is_a` are is-a edges; parentheses are not part of a label."""
    graph = ConceptGraph.read(
        {
            "fillers": ["的"],
            "products": {
                "trousers": {"labels": ["裤子", "pants"], "kinds": {"jeans": ["牛仔裤", "Denim Pants"]}},
                "overalls": {"is_a": ["trousers"], "goes_with": ["jeans"]},
            },
            "materials": {"glass (material)": ["玻璃"]},
        }
    )
    jeans = graph.concepts["jeans"]
    assert (jeans.kind, jeans.english, jeans.chinese) == (ConceptKind.PRODUCT, ["jeans", "denim pants"], ["牛仔裤"])
    assert [concept.name for concept in graph.kinds_of["trousers"]] == ["jeans", "overalls"]
    assert graph.concepts["overalls"].goes_with == ["jeans"]
    assert graph.concepts["glass (material)"].english == ["glass"]
    assert graph.fillers == {"的"}


def test_a_second_document_adds() -> None:
    """A second document adds concepts, and adds labels to existing concepts."""
    graph = ConceptGraph.read(
        {"products": {"jeans": ["牛仔裤"]}}, {"products": {"jeans": ["单宁裤"], "obi": {"is_a": ["jeans"]}}}
    )
    assert graph.concepts["jeans"].chinese == ["牛仔裤", "单宁裤"]
    assert graph.concepts["obi"].is_a == ["jeans"]


@pytest.mark.parametrize(
    ("document", "field", "said"),
    [
        ({"shoes": {}}, "shoes", "not a kind of concept"),
        ({"products": ["jeans"]}, "products", "not a mapping"),
        ({"products": {"jeans": "牛仔裤"}}, "jeans", "not a list"),
        ({"products": {"jeans": [501]}}, "jeans", "501"),
        ({"products": {"jeans": [""]}}, "jeans", "empty"),
        ({"products": {"jeans": ["x" * 49]}}, "jeans", "longer than 48"),
        ({"products": {"jeans": [f"label{n}" for n in range(70)]}}, "jeans", "more than 64"),
        ({"products": {"jeans": {"label": []}}}, "jeans", "unknown key 'label'"),
        ({"products": {"jeans": {"is_a": ["trousers"]}}}, "jeans", "'trousers'"),
        ({"products": {"jeans": {"goes_with": ["jeans"]}}}, "jeans", "itself"),
        ({"products": {"gold": []}, "colours": {"gold": []}}, "gold", "occurs twice"),
        ({"products": {"a": {"is_a": ["b"]}, "b": {"is_a": ["c"]}, "c": {"is_a": ["a"]}}}, "a", "a > b > c > a"),
    ],
)
def test_wrong_graph(document: dict[str, Any], field: str, said: str) -> None:
    """A wrong graph is refused by an error that names the concept and the problem."""
    with pytest.raises(InvalidArgument) as caught:
        ConceptGraph.read(document)
    assert any(v.field == f"concepts.{field}" and said in v.description for v in caught.value.violations)


NAMES = st.text(max_size=5)
DOCUMENTS = st.recursive(st.none() | NAMES | st.integers(), lambda x: st.lists(x) | st.dictionaries(NAMES, x))


@given(DOCUMENTS)
def test_any_document(document: Any) -> None:
    """Any document is either read or refused."""
    with contextlib.suppress(InvalidArgument):
        ConceptGraph.read({"products": document})


def test_embedded_graph() -> None:
    """The embedded graph is valid and large, and each of its products has labels in both languages."""
    graph = embedded_domain().graph
    assert len(graph.concepts) > 1_000
    products = [concept for concept in graph.concepts.values() if concept.kind is ConceptKind.PRODUCT]
    assert not [concept.name for concept in products if not concept.chinese or not concept.english]


def test_files(tmp_path: Path) -> None:
    """A file replaces the embedded graph, an extra file adds to it, and a key that occurs twice is refused."""
    own = tmp_path / "own.yaml"
    own.write_text("products: {kimono: [和服]}\n")
    assert list(load_domain(None, own).graph.concepts) == ["kimono"]
    assert {"kimono", "jeans"} <= set(load_domain(None, None, own).graph.concepts)
    own.write_text("products:\n  kimono: [和服]\n  kimono: [浴衣]\n")
    with pytest.raises(InvalidArgument, match=r"own\.yaml:2: .*'kimono' occurs twice"):
        load_domain(None, own)
    own.write_text("products: [")
    with pytest.raises(InvalidArgument, match=r"own\.yaml:2: is not valid YAML"):
        load_domain(None, own)
    own.write_text("- kimono")
    with pytest.raises(InvalidArgument, match="not a mapping"):
        load_domain(None, own)
