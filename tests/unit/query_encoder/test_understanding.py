"""Understanding of a query: rules first, then the network, and only categories of the shop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.limits import MAX_QUERY
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.adapters.understanding_files import load_understander, save_understanding
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding import Guess, Source
from services.query_encoder.domain.understanding_network import BUCKETS, Labels, hashed_grams, softmax
from tests.fakes.understanding import LABELS, LEXICON, network, read, understander


def test_a_sure_rule_wins() -> None:
    """A rule overrides the network."""
    said = understander(intent={"chat": 0.99}).understand(read("where is my order"), None, LEXICON)
    assert said.intent == Guess("order", 1.0, Source.RULE)


def test_the_network_answers_where_rules_are_silent() -> None:
    """Without a rule the network decides, and the confidence is its probability."""
    said = understander(intent={"advice": 0.7}).understand(read("something for the weekend"), None, LEXICON)
    assert (said.intent.value, said.intent.source) == ("advice", Source.MODEL)
    assert said.intent.confidence == pytest.approx(0.7, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("red dress", "Clothing > Dresses"),
        ("dresses for summer", "Clothing > Dresses"),
        ("红色牛仔裤", "Clothing > Jeans"),
    ],
)
def test_category_by_name(text: str, category: str) -> None:
    """The last words of the product name the category, in the singular, in the plural and in Chinese."""
    said = understander(category={"Home > Mugs": 0.99}).understand(read(text), None, LEXICON)
    assert said.category == Guess(category, 1.0, Source.RULE)


def test_category_above() -> None:
    """If no leaf is probable enough, a category above two of them may be."""
    probable = understander(category={"Clothing > Dresses": 0.4, "Clothing > Jeans": 0.35})
    said = probable.understand(read("something for the weekend"), None, LEXICON)
    assert said.category is not None
    assert (said.category.value, said.category.source) == ("Clothing", Source.MODEL)
    assert said.category.confidence == pytest.approx(0.75, abs=1e-5)


@pytest.mark.parametrize("probabilities", [{"": 0.9}, {"": 0.3, "Clothing > Jeans": 0.35, "Home > Mugs": 0.3}])
def test_no_category(probabilities: dict[str, float]) -> None:
    """A query without a category, and one that may have any category, has none."""
    said = understander(category=probabilities).understand(read("something for the weekend"), None, LEXICON)
    assert said.category is None


def test_orders_look_for_nothing() -> None:
    """A question about an order has a category only if its words name it, not by the network."""
    believes = understander(category={"Home > Mugs": 0.99})
    assert believes.understand(read("where is my order"), None, LEXICON).category is None
    named = believes.understand(read("how do i exchange my jeans? customer service jeans"), None, LEXICON)
    assert named.intent.value == "order"
    assert named.category == Guess("Clothing > Jeans", 1.0, Source.RULE)


def test_another_shop() -> None:
    """A category that the tenant's shop does not have is not reported."""
    said = understander(category={"Home > Mugs": 0.99}).understand(read("something for tea"), None, Lexicon())
    assert said.category is None


def test_tags_by_rule() -> None:
    """Brand, colour, material, audience and size are in the shop's words, each with the matched words of the query."""
    said = understander().understand(read("acme red leather boots for women size 42"), None, LEXICON)
    assert {(tag.name, tag.value, tag.matched_text) for tag in said.tags} == {
        ("brand", "Acme", "acme"), ("colour", "Red", "red"), ("material", "leather", "leather"),
        ("audience", "women", "women"), ("size", "42", "size 42"),
    }  # fmt: skip


def test_tags_of_the_network() -> None:
    """The network reports a tag only if it is probable, and only for attributes that no rule has found."""
    sure = understander(tags={"audience=women": 0.95, "material=leather": 0.4})
    said = sure.understand(read("something for the weekend"), None, LEXICON)
    assert [(tag.name, tag.value, tag.matched_text, tag.source) for tag in said.tags] == [
        ("audience", "women", "", Source.MODEL)
    ]
    named = sure.understand(read("jeans for men"), None, LEXICON)
    assert [(tag.name, tag.value) for tag in named.tags] == [("audience", "men")]


@given(st.text(max_size=MAX_QUERY))
def test_any_text(text: str) -> None:
    """Any text can be hashed; rows are within the table, each once."""
    normal = normal_form(text)
    if normal:
        grams = hashed_grams(normal)
        assert len(set(grams.tolist())) == len(grams)
        assert all(0 <= gram < BUCKETS for gram in grams.tolist())
        assert understander().understand(read(normal), None, LEXICON).intent.value in LABELS.intent


def test_grams_tell_how_it_is_said() -> None:
    """The order of words matters, spaces in Chinese do not, and of a long text only the beginning is hashed."""
    assert hashed_grams("is my order").tolist() != hashed_grams("order is my").tolist()
    assert set(hashed_grams("怎么选").tolist()) < set(hashed_grams("怎么选手机").tolist()) | set(
        hashed_grams("选").tolist()
    )
    assert len(hashed_grams("word " * 100)) < 20
    assert len(hashed_grams("!!")) <= 1


def test_temperature() -> None:
    """A temperature above 1 makes probabilities more equal and keeps their order."""
    logits = np.array([2.0, 0.0, -1.0], np.float32)
    sharp, mild = softmax(logits, 1.0), softmax(logits, 3.0)
    assert sharp[0] > mild[0] > mild[1] > mild[2]
    assert mild.sum() == pytest.approx(1)


def test_kept_and_read_again(tmp_path: Path) -> None:
    """A saved model answers as before; another one has another version."""
    folder = tmp_path / "understanding" / "0003"
    folder.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    labels = Labels(LABELS.intent, LABELS.category, LABELS.sentiment, LABELS.tags, {"intent": 2.0})
    save_understanding(network(intent={"chat": 0.8}), labels, folder, {"encoder": "e@1"})
    loaded = load_understander(folder, embedded_domain(), "e@1")
    save_understanding(network(intent={"chat": 0.7}), labels, other := tmp_path / "other", {"encoder": "e@1"})
    assert loaded.model_version != load_understander(other, embedded_domain(), "e@1").model_version
    assert loaded.labels == labels
    said = loaded.understand(read("something for the weekend"), None, LEXICON)
    assert said.intent.value == "chat"
    assert said.intent.confidence < 0.8


def test_a_folder_that_does_not_fit(tmp_path: Path) -> None:
    """A folder without a model, and a model trained on another encoder's vectors, is refused with the remedy."""
    with pytest.raises(ValueError, match=r"has no understanding model .* train one"):
        load_understander(tmp_path, embedded_domain(), "e@1")
    save_understanding(network(), LABELS, tmp_path, {"encoder": "e@1"})
    with pytest.raises(ValueError, match=r"vectors of e@1, the encoder is e@2; train it again"):
        load_understander(tmp_path, embedded_domain(), "e@2")
