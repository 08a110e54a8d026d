"""`kairos control pins` against a real control: positions of products as CSV, out and in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.test_control_commands import Shell, shell, target

__all__ = ["shell", "target"]  # fixtures

RULES = """\
kind: merchandising_rule
id: coats
merchandising_rule:
  description: Winter
  trigger: {queries: [{equals: winter coat}, {contains: parka}]}
  actions:
    - pin: {product_id: p1, position: 1}
    - boost: {products: {ids: [p9]}, multiplier: 2}
    - pin: {product_id: "p,2", position: 3, is_soft: true}
---
kind: merchandising_rule
id: boots
merchandising_rule:
  trigger: {categories: [Shoes > Boots]}
  actions:
    - pin: {product_id: p4, position: 2}
"""
EXPORTED = """\
rule_id,query,category,product_id,position,soft
boots,,Shoes > Boots,p4,2,
coats,winter coat | contains: parka,,p1,1,
coats,winter coat | contains: parka,,"p,2",3,yes
"""


@pytest.fixture
def ruled(shell: Shell) -> Shell:
    """With two published rules."""
    shell.write("rules.yaml", RULES)
    shell.kairos("apply", "rules.yaml", "--publish")
    return shell


def rule(shell: Shell, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shell.kairos("get", "merchandising_rule", id, "--json"))
    return found


def imported(shell: Shell, text: str, *options: str) -> dict[str, str]:
    """What was done, by rule id."""
    shell.write("pins.csv", text)
    done = json.loads(shell.kairos("pins", "import", "pins.csv", "--json", *options))
    return {one["id"]: one["outcome"] for one in done["rules"]}


def test_out_and_in(ruled: Shell) -> None:
    """What is exported changes nothing when it is imported, and makes the same pins in an empty control."""
    assert ruled.kairos("pins", "export") == EXPORTED
    assert imported(ruled, EXPORTED) == {"boots": "unchanged", "coats": "unchanged"}
    other = Shell(ruled.target, ruled.folder, f"{ruled.tenant}-b")
    assert imported(other, EXPORTED, "--publish") == {"boots": "created", "coats": "created"}
    assert other.kairos("pins", "export") == EXPORTED
    rows = json.loads(other.kairos("pins", "export", "--json"))
    assert rows[2]["product_id"] == "p,2"
    assert "wrote 3 pins" in other.kairos("pins", "export", "--out", "file.csv")
    assert (other.folder / "file.csv").read_text() == EXPORTED


def test_changed_positions(ruled: Shell) -> None:
    """The pins of a rule become those of the file; its trigger and its other actions stay, and other rules too."""
    text = "rule_id;product_id;position\ncoats;p7;1\ncoats;p1;2\n"
    assert imported(ruled, text) == {"coats": "updated"}
    found = rule(ruled, "coats")["merchandising_rule"]
    assert found["actions"] == [
        {"pin": {"product_id": "p7", "position": 1}},
        {"pin": {"product_id": "p1", "position": 2}},
        {"boost": {"products": {"ids": ["p9"]}, "multiplier": 2.0}},
    ]
    assert found["description"] == "Winter"
    assert len(found["trigger"]["queries"]) == 2
    assert rule(ruled, "coats")["state"] == "RESOURCE_STATE_DRAFT"
    assert rule(ruled, "boots")["state"] == "RESOURCE_STATE_PUBLISHED"


HEAD = "rule_id,query,category,product_id,position\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rule_id,product_id\ncoats,p1\n", "has no column 'position'"),
        ("rule_id,product_id,position,price\ncoats,p1,1,2\n", "has the unknown column 'price'"),
        (HEAD, "has no row below the header"),
        (HEAD + "coats,,,p1,0\n", "line 2, position: is '0'; write a whole number of 1 to 100"),
        (HEAD + "coats,,,p1,101\n", "line 2, position"),
        (HEAD + "coats,,,p1,first\n", "line 2, position"),
        (HEAD + "coats,,,p1,1\n\nCoats!,,,p1,1\n", "line 4, rule_id: is 'Coats!'"),
        (HEAD + "coats,,,,1\n", "line 2, product_id"),
        (HEAD + f"coats,,,{'p' * 129},1\n", "line 2, product_id"),
        (HEAD + "coats,,,p1,1,yes,no\n", "line 2: has 7 fields, but the header has 5"),
        (HEAD + "coats,,,p1,1\ncoats,,,p1,2\n", "line 3, product_id: is pinned in line 2 already"),
        (HEAD + "new,hat,,p1,1\nnew,cap,,p2,2\n", "line 3, query: is another one than in line 2"),
        (HEAD + "new,,,p1,1\n", "line 2, query: is empty; a new rule needs a query or a category"),
        (HEAD + "coats,hat,,p1,1\n", "line 2, query: is not that of the rule, 'winter coat | contains: parka'"),
        (HEAD + "boots,,Hats,p4,1\n", "line 2, category: is not that of the rule, 'Shoes > Boots'"),
        (HEAD + "new,!!!,,p1,1\n", "line 2, trigger.queries[0].equals"),
        (HEAD + "".join(f"coats,,,p{n},1\n" for n in range(33)), "line 2, actions"),
        ("rule_id,product_id,position,soft\ncoats,p1,1,perhaps\n", "line 2, soft"),
        (HEAD + "coats,,,p1,1\n" * 20_001, "line 20002: is row 20001; at most 20000"),
    ],
)
def test_wrong_rows_are_named(ruled: Shell, text: str, problem: str) -> None:
    """The message names line and field, the exit code is 2, and nothing is changed."""
    ruled.write("pins.csv", text)
    assert problem in " ".join(ruled.kairos("pins", "import", "pins.csv", expected=2).split())
    assert ruled.kairos("pins", "export") == EXPORTED


def test_a_file_that_is_missing(shell: Shell) -> None:
    """It is named."""
    assert "nothing.csv" in shell.kairos("pins", "import", "nothing.csv", expected=2)
