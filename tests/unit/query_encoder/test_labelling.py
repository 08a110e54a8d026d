"""Which queries are chosen for labelling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.query_encoder.domain.labelling import Question, most_helpful, questions
from tests.fakes.understanding import read, understander


def question(query: str, sure: float, direction: Sequence[float], count: int = 1, head: str = "intent") -> Question:
    features = np.array(direction, np.float32)
    return Question(query, head, "find", sure, "chat", 1 - sure, count, features / np.linalg.norm(features))


def chosen(*asked: Question, count: int = 2) -> list[str]:
    return [choice.question.query for choice in most_helpful(asked, count)]


def test_unsure_first() -> None:
    """The smaller the margin between the two most probable labels, the earlier a query is chosen."""
    assert chosen(question("sure", 0.99, [1, 0]), question("unsure", 0.55, [0, 1])) == ["unsure", "sure"]


def test_frequent_first() -> None:
    """Of two equally uncertain queries the more frequent one is chosen first."""
    assert chosen(question("rare", 0.6, [1, 0]), question("often", 0.6, [0, 1], count=50)) == ["often", "rare"]


def test_unlike_each_other() -> None:
    """A query similar to a chosen one comes after a different query that is less uncertain."""
    asked = question("a", 0.5, [1, 0]), question("a again", 0.51, [1, 0.05]), question("b", 0.8, [0, 1])
    assert chosen(*asked) == ["a", "b"]


def test_heads_are_apart() -> None:
    """The category of a query may be chosen although its intent was chosen already."""
    asked = question("a", 0.5, [1, 0]), question("a", 0.5, [1, 0], head="category"), question("b", 0.7, [0.6, 0.8])
    assert [(c.question.query, c.question.head) for c in most_helpful(asked, 2)] == [("a", "intent"), ("a", "category")]


def test_unlike_what_was_labelled_before() -> None:
    """Queries that are similar to labelled ones come later."""
    asked = [question("a", 0.5, [1, 0]), question("b", 0.8, [0, 1])]
    choices = most_helpful(asked, 1, {"intent": [np.array([1, 0], np.float32)]})
    assert [choice.question.query for choice in choices] == ["b"]


def test_no_more_than_there_are() -> None:
    """Each question is chosen once; no questions give no choice."""
    assert chosen(question("a", 0.5, [1, 0]), count=10) == ["a"]
    assert most_helpful([], 10) == []


def test_what_a_rule_answers_is_no_question() -> None:
    """A head to which a rule applies is no question."""
    network = understander(intent={"find": 0.4, "advice": 0.35})
    assert {q.head for q in questions(network, read("acme red dress"), None, 1)} == {"sentiment"}
    found = questions(network, read("something for the weekend"), None, 3, ["intent"])
    assert [(q.guess, q.second, q.count) for q in found] == [("find", "advice", 3)]
