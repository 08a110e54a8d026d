"""Conditions of a domain without prices and colours: values of its own attributes, and what is looked up besides."""

from __future__ import annotations

import pytest

from services.query_encoder.domain.concepts import ConceptGraph
from services.query_encoder.domain.conditions import AttributeCondition, Conditions
from services.query_encoder.domain.expansion import Expander, shop_words
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_domain import QueryDomain
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.query_reading import QueryReading

LEXICON = Lexicon(
    words=dict.fromkeys(["python", "literature", "cooking", "watercolour", "for", "beginners", "english"], 9),
    brands={"acme": "Acme"},
    categories={"arts": "Arts"},
    values={
        "level": {"beginner": "Beginner", "advanced": "Advanced"},
        "language": {"english": "English", "spanish": "Spanish"},
        "time": {"evening": "Evening"},
    },
)
LEVEL = {"for beginners": ("novice", "beginner"), "expert": ("master",), "入门": ("beginner",)}
DOMAIN = QueryDomain(
    ConceptGraph.read(
        {"products": {"english literature": ["英国文学"], "programming": ["coding"], "watercolour": ["watercolor"]}}
    ),
    Conditions(
        attributes=(
            AttributeCondition("Level", LEVEL),
            AttributeCondition("language"),
            AttributeCondition("time", {"after work": ("evening",), "for beginners evening": ("evening",)}),
        )
    ),
    own_stop_words=frozenset({"course", "learn", "课程"}),
)


def read(text: str, domain: QueryDomain = DOMAIN) -> QueryReading:
    expander = Expander(domain.graph, shop_words(LEXICON.words))
    return QueryReader(domain, "USD").read(text, LEXICON, domain.corrector(LEXICON), expander)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("advanced python", [("Level", "Advanced", "advanced")]),
        ("python for beginners", [("Level", "Beginner", "for beginners")]),
        ("python for an expert", []),
        ("python入门", [("Level", "Beginner", "入门")]),
        ("english python after work", [("time", "Evening", "after work"), ("language", "English", "english")]),
        ("english or spanish", [("language", "English", "english"), ("language", "Spanish", "spanish")]),
        ("advancedly python", []),
        ("english literature", []),
        ("acme under 50", []),
    ],
)
def test_values(text: str, found: list[tuple[str, str, str]]) -> None:
    """A value or a word for it is a condition if the catalogue has the value: whole words, or anywhere in Chinese.

    A name such as "english literature" is none, and neither are brands and prices, which this domain has not.
    """
    constraints = [c for c in read(text).constraints if c.value not in ("", "Arts")]
    assert sorted((c.attribute, c.value, c.matched_text) for c in constraints) == sorted(found)


def test_words_are_used_once() -> None:
    """The longest phrase takes its words: no shorter one of another attribute states a condition with them."""
    (constraint,) = read("python for beginners evening").constraints
    assert (constraint.attribute, constraint.value) == ("time", "Evening")


@pytest.mark.parametrize(
    ("text", "looked_up"),
    [
        ("cooking after work", "cooking evening"),
        ("learn python", "python"),
        ("a course for beginners", "a beginner"),
        ("学习python课程", "学习python"),
        ("course", "course"),
        ("watercolor course", "watercolor"),
    ],
)
def test_what_is_looked_up(text: str, looked_up: str) -> None:
    """A value is looked up instead of the words that state it, and the domain's stop words are not, unless alone."""
    assert read(text).retrieval_text == looked_up


def test_words_of_the_domain_are_no_typos() -> None:
    """A word of a concept or condition is neither replaced by a word of titles nor has it as an alternative."""
    reading = read("coding")
    assert (reading.corrected, reading.spelling_alternatives) == ("coding", ())
    without = QueryDomain(conditions=DOMAIN.conditions)
    assert read("coding", without).spelling_alternatives == (("coding", "cooking"),)
    assert read("cookin").corrected == "cooking"


def test_a_concept_without_a_word_of_the_catalogue() -> None:
    """Its other labels are looked up, also beside words that the catalogue has."""
    ((mention, labels),) = read("watercolor for beginners").expansion.labels
    assert (mention.text, labels) == ("watercolor", ("watercolour",))
