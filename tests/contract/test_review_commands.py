"""`kairos reviews` against a real control: what waits, decisions with a note, and two persons who decide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.test_control_commands import Shell, shell, target

__all__ = ["shell", "target"]  # fixtures

REVIEW = """\
kind: review
id: price
review: {question: "Is 9 EUR right, or a typo?", subject_id: p1}
---
kind: review
id: model
review: {question: Take the new model live?}
"""


@pytest.fixture
def asked(shell: Shell) -> Shell:
    """With two reviews that wait."""
    shell.write("reviews.yaml", REVIEW)
    shell.kairos("apply", "reviews.yaml")
    return shell


def waiting(shell: Shell) -> dict[str, str]:
    """The etags of what waits, by id."""
    return {one["id"]: one["etag"] for one in json.loads(reviews(shell, "list", "--json"))}


def reviews(shell: Shell, *arguments: str, key: str = "ben", expected: int = 0) -> str:
    return shell.kairos(*arguments, group="reviews", key=key, expected=expected)


def content(shell: Shell, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shell.kairos("get", "review", id, "--published", "--json"))
    return found


def test_what_waits_is_decided(asked: Shell) -> None:
    """Reviews without a decision are listed; a decision is effective at once, with the note and the name of the key."""
    assert sorted(waiting(asked)) == ["model", "price"]
    table = reviews(asked, "list")
    assert all(text in table for text in ("price", "Is 9 EUR right, or a typo?", "p1", "anna"))
    done = json.loads(reviews(asked, "approve", "price", "--note", "as ordered", "--json"))
    assert done == {
        "id": "price", "decision": "approved", "note": "as ordered", "decided_by": "ben", "snapshot_version": 1,
    }  # fmt: skip
    assert "rejected model as ben, snapshot 2" in reviews(asked, "reject", "model")
    assert waiting(asked) == {}
    published = content(asked, "price")
    assert published["review"] == {
        "question": "Is 9 EUR right, or a typo?", "subject_id": "p1", "decision": "REVIEW_DECISION_APPROVED",
        "note": "as ordered",
    }  # fmt: skip
    assert (published["state"], published["changed_by"]) == ("RESOURCE_STATE_PUBLISHED", "ben")


def test_somebody_else_has_decided(asked: Shell) -> None:
    """The second decision is refused: with the etag of the list by control, with both versions; without one by the
    command, with who decided what.
    """
    etag = waiting(asked)["price"]
    reviews(asked, "reject", "price", key="anna")
    said = reviews(asked, "approve", "price", "--etag", etag, expected=2)
    assert "ABORTED" in said
    assert f"has the version 3; the change was made for '{etag}'" in said
    assert "has been rejected by 'anna'" in reviews(asked, "approve", "price", expected=2)
    assert content(asked, "price")["review"]["decision"] == "REVIEW_DECISION_REJECTED"


def test_a_changed_question_is_not_decided(asked: Shell) -> None:
    """The etag is of the question that a person has read."""
    etag = waiting(asked)["price"]
    asked.write("other.yaml", REVIEW.partition("---")[0].replace("9 EUR", "1 EUR"))
    asked.kairos("apply", "other.yaml")
    assert "ABORTED" in reviews(asked, "approve", "price", "--etag", etag, expected=2)
    assert "price" in waiting(asked)


def test_a_decision_that_was_cut_off(asked: Shell) -> None:
    """A decision that is stored and not published waits and says so; the next decision is the one that counts."""
    for id, question in (("model", "Take the new model live?"), ("price", "Is 9 EUR right?")):
        decided = {"question": question, "decision": "REVIEW_DECISION_APPROVED"}
        asked.write("half.yaml", json.dumps({"kind": "review", "id": id, "review": decided}))
        asked.kairos("apply", "half.yaml")
    assert reviews(asked, "list").count("approved, not published") == 2
    assert "approved model" in reviews(asked, "approve", "model")
    assert "rejected price" in reviews(asked, "reject", "price")
    assert content(asked, "price")["review"]["decision"] == "REVIEW_DECISION_REJECTED"


@pytest.mark.parametrize(
    ("arguments", "key", "problem"),
    [
        (["approve", "nothing"], "ben", "there is no review 'nothing'"),
        (["approve", "price"], "carl", "PERMISSION_DENIED"),
        (["reject", "price", "--note", "x" * 1_001], "ben", "resource.review.note"),
    ],
)
def test_what_is_refused(asked: Shell, arguments: list[str], key: str, problem: str) -> None:
    """An unknown review, a key that may not publish, and a long note: nothing is effective, and the review waits on."""
    assert problem in reviews(asked, *arguments, key=key, expected=2)
    assert "price" in waiting(asked)
    assert "there is no review" in asked.kairos("get", "review", "price", "--published", expected=1)


def test_an_archived_review(asked: Shell) -> None:
    """It waits for nobody."""
    asked.kairos("archive", "review", "price")
    assert "is archived" in reviews(asked, "approve", "price", expected=2)
