"""The files of a domain: what may be left out, and how mistakes are named."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.query_encoder.adapters.domain_files import embedded_domain, load_domain
from services.query_encoder.domain.concepts import ConceptKind
from services.query_encoder.domain.conditions import AttributeCondition, Conditions
from services.query_encoder.domain.understanding_rules import INTENTS
from tests.domains.catalogues import domain_folder


def folder(path: Path, **files: str) -> Path:
    """A domain of these files; `files` by name without ".yaml"."""
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text, "utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InvalidArgument) as refused:
        load_domain(path)
    return str(refused.value)


def test_retail_is_the_default() -> None:
    """Without a folder the domain is retail: prices, brands, categories and colours are conditions."""
    conditions = embedded_domain().conditions
    assert (conditions.prices, conditions.brands, conditions.categories) == (True, True, True)
    assert [one.attribute for one in conditions.attributes] == ["colour", "color"]
    assert {one.concepts for one in conditions.attributes} == {ConceptKind.COLOUR}
    assert set(embedded_domain().rules.intents) < set(INTENTS)


def test_files_may_be_left_out(tmp_path: Path) -> None:
    """Without its other files a domain has no concepts, rules and conditions but categories; stop words are general."""
    domain = load_domain(folder(tmp_path / "d", concepts="products: {yoga: [瑜伽]}"))
    assert list(domain.graph.concepts) == ["yoga"]
    assert domain.conditions == Conditions()
    assert (domain.conditions.prices, domain.conditions.categories) == (False, True)
    assert not domain.rules.intents
    assert domain.stop_words == embedded_domain().stop_words
    assert not load_domain(folder(tmp_path / "e", stop_words="[course]")).graph.concepts


def test_stop_words_are_added(tmp_path: Path) -> None:
    """A domain's stop words are added to the general ones, in their normal form."""
    domain = load_domain(folder(tmp_path / "d", stop_words="[Course, 课程]"))
    assert domain.own_stop_words == {"course", "课程"}
    assert domain.stop_words > embedded_domain().stop_words


def test_courtesy_words_are_added(tmp_path: Path) -> None:
    """A domain's courtesy words are added to the general ones; a shop's own are not those of another catalogue."""
    domain = load_domain(folder(tmp_path / "d", courtesy_words="[Sign up for, 报名]"))
    assert {"sign up for", "报名", "please"} < domain.courtesy_words
    assert "buy" in embedded_domain().courtesy_words - domain.courtesy_words


def test_conditions_of_attributes(tmp_path: Path) -> None:
    """A word may stand for several values, the first of which the catalogue decides; an attribute may have no words."""
    text = "attributes:\n  level:\n    words: {Beginner: [Introduction, 入门], basic: [introduction]}\n  district:\n"
    level, district = load_domain(folder(tmp_path / "d", conditions=text)).conditions.attributes
    assert level.words == {"introduction": ("beginner", "basic"), "入门": ("beginner",)}
    assert level.chinese_words == {"入门": ("beginner",)}
    assert district == AttributeCondition("district")


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("conditions", "prices: true\ncolours: true", "conditions.yaml:2: colours: is unknown"),
        ("conditions", "prices: 1", "conditions.yaml:1: prices: Input should be a valid boolean"),
        ("conditions", "attributes:\n  a:\n    wrds: {}", "conditions.yaml:3: attributes.a.wrds: is unknown"),
        ("conditions", "attributes:\n  a: {concepts: colors}", "conditions.yaml:2: attributes.a.concepts"),
        ("conditions", "attributes:\n  a:\n    words:\n      free: [no]", "conditions.yaml:4: attributes.a.words.free"),
        ("conditions", "attributes: {a: {words: {b: [in the late evening hours]}}}", "has more than 4 words"),
        ("conditions", "- level", "conditions.yaml:1: Input should be a valid dictionary"),
        ("conditions", "prices: true\nprices: false", "conditions.yaml:1: is not valid YAML: 'prices' occurs twice"),
        ("conditions", "prices: [", "conditions.yaml:2: is not valid YAML"),
        ("stop_words", "[a,\n on]", "stop_words.yaml:2: 1: is not a text; put it in quotes"),
        ("stop_words", "words: [a]", "stop_words.yaml:1: Input should be a valid list"),
        ("intents", "intents:\n  advice: ['(']", "intents.yaml:2: intents.advice.0: Value error, is no regular"),
        ("intents", "intents:\n  adviec: []", "intents.yaml:2: intents.adviec"),
        ("concepts", "products:\n  yoga: 瑜伽", "concepts.yaml:2: yoga: '瑜伽' is not a list"),
        ("concepts", "products:\n  a: []\n  yoga: {is_a: [sport]}", "concepts.yaml:3: yoga: is_a names 'sport'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, name: str, text: str, named: str) -> None:
    """A mistake is refused by an error that names the file, the line and the key."""
    assert named in refusal(folder(tmp_path / "d", **{name: text}))


def test_all_mistakes_of_a_file(tmp_path: Path) -> None:
    """One error names every mistake of a file."""
    said = refusal(folder(tmp_path / "d", conditions="price: true\nbrand: true"))
    assert "conditions.yaml:1: price" in said
    assert "conditions.yaml:2: brand" in said


def test_wrong_folders(tmp_path: Path) -> None:
    """A missing folder, one without a known file, and a misspelt file are refused."""
    assert "is not a folder" in refusal(tmp_path / "none")
    assert "has none of concepts.yaml" in refusal(folder(tmp_path / "empty"))
    assert "stopwords.yaml: is no file of a domain" in refusal(folder(tmp_path / "d", stopwords="[]", intents=""))


def test_encodings(tmp_path: Path) -> None:
    """A byte order mark is accepted; another encoding than UTF-8 is refused."""
    path = folder(tmp_path / "d", intents="")
    (path / "stop_words.yaml").write_bytes("\ufeff[课程]".encode())
    assert load_domain(path).own_stop_words == {"课程"}
    (path / "stop_words.yaml").write_bytes("[课程]".encode("gb18030"))
    assert "stop_words.yaml: is not UTF-8" in refusal(path)


@pytest.mark.parametrize("name", ["courses", "city"])
def test_the_domains_of_the_tests(name: str) -> None:
    """A domain without brands and prices is only a folder."""
    conditions = load_domain(domain_folder(name)).conditions
    assert (conditions.prices, conditions.brands) == (False, False)
    assert len(conditions.attributes) > 3


NAMES = st.sampled_from(["attributes", "level", "words", "concepts", "prices", "colours", "a", ""])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NAMES | st.integers(), lambda x: st.lists(x, max_size=3) | st.dictionaries(NAMES, x)
)


@given(st.sampled_from(["conditions", "intents", "stop_words", "concepts"]), DOCUMENTS)
def test_any_document(tmp_path_factory: pytest.TempPathFactory, name: str, document: Any) -> None:
    """Any document is either read or refused."""
    path = tmp_path_factory.mktemp("any", numbered=True)
    with contextlib.suppress(InvalidArgument):
        load_domain(folder(path, **{name: yaml.safe_dump(document)}))
