"""The texts of a domain: what it leaves out, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import InvalidArgument
from services.gateway.adapters.text_files import load_texts
from services.gateway.domain.texts import GROUPS, LANGUAGES, SENTENCES
from tests.domains.catalogues import domain_folder


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "texts.yaml").write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("path", [None, domain_folder("courses"), domain_folder("city")])
def test_every_text(path: Path | None) -> None:
    """Each domain has every group and sentence in both languages."""
    for language in LANGUAGES:
        texts = load_texts(path).of(language)
        assert set(texts.groups) == set(GROUPS)
        assert set(texts.sentences) == set(SENTENCES)


def test_own_texts_replace(tmp_path: Path) -> None:
    """A domain's text replaces the general one; the others stay, and so does the other language."""
    texts = load_texts(folder(tmp_path / "d", 'en:\n  sentences: {place: "No. {position}."}'))
    assert texts.of("en").say("place", position=3, count=9, score=1.0) == "No. 3."
    assert texts.of("en").sentences["silent"] == load_texts(None).of("en").sentences["silent"]
    assert texts.of("zh").groups["availability"] == "新近程度"


def test_without_texts(tmp_path: Path) -> None:
    """A domain without texts speaks of no products, brands and stock."""
    path = tmp_path / "d"
    path.mkdir()
    (path / "stop_words.yaml").write_text("[course]")
    english = load_texts(path).of("en")
    said = " ".join((*english.sentences.values(), *english.groups.values()))
    assert not [word for word in ("product", "stock", "shopper", "bought") if word in said]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("fr: {}", "texts.yaml:1: fr: is unknown"),
        ("en:\n  groups:\n    price: cost", "texts.yaml:3: en.groups.price: is unknown; use query_match"),
        ("zh:\n  sentences: {placed: x}", "texts.yaml:2: zh.sentences.placed: is unknown"),
        ('en:\n  sentences:\n    place: "{price}"', "texts.yaml:3: en.sentences.place: cannot be filled in"),
        ('en:\n  sentences:\n    place: "{position"', "texts.yaml:3: en.sentences.place: cannot be filled in"),
        ('en:\n  sentences:\n    filter: "{}"', "in braces it may have nothing"),
        ("en:\n  sentences: {filter: 5}", "texts.yaml:2: en.sentences.filter: is not a text"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    """A mistake is refused by an error that names the file, the line and the text."""
    with pytest.raises(InvalidArgument) as refused:
        load_texts(folder(tmp_path / "d", text))
    assert named in str(refused.value)
