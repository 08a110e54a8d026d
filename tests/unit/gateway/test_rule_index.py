"""Which rules apply to a request, and in which order conflicts are decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.common.daily_window import DailyWindow
from services.common.merchandising import (
    Anchoring,
    AudienceCondition,
    Pin,
    QueryCondition,
    Rule,
    RuleSet,
    Synonyms,
    Trigger,
    Validity,
)
from services.common.query_words import query_words
from services.gateway.domain.rule_index import MAX_APPLIED, Condition, RuleContext, RuleIndex, unmet

EQUALS, STARTS, CONTAINS = Anchoring
PIN = (Pin("p1", 1),)


def rule(id: str = "r", *queries: tuple[Anchoring, str], validity: Validity | None = None, **trigger: Any) -> Rule:
    conditions = tuple(QueryCondition(*query) for query in queries)
    return Rule(id, PIN, Trigger(conditions, **trigger), validity or Validity())


def asked(query: str = "", **fields: Any) -> RuleContext:
    return RuleContext((query_words(query),) if query else (), **fields)


def applied(context: RuleContext, *rules: Rule) -> list[str]:
    return [match.rule.id for match in RuleIndex(RuleSet("v", rules)).matches(context)]


@pytest.mark.parametrize(
    ("condition", "query", "expected"),
    [
        ((EQUALS, "running shoe"), "Running Shoes", True),
        ((EQUALS, "running shoe"), "red running shoes", False),
        ((STARTS, "running shoes"), "running shoe red", True),
        ((STARTS, "running shoes"), "red running shoe", False),
        ((CONTAINS, "running shoes"), "red running shoe 42", True),
        ((CONTAINS, "running shoes"), "shoes for running", False),
        ((CONTAINS, "shoe"), "shoehorn", False),
        ((CONTAINS, "跑步鞋"), "红色跑步鞋男", True),
        ((CONTAINS, "跑步鞋"), "紅色跑步鞋", True),
        ((STARTS, "跑步鞋"), "红色跑步鞋", False),
        ((EQUALS, "nike跑步鞋"), "NIKE 跑步鞋", True),
    ],
)
def test_queries(condition: tuple[Anchoring, str], query: str, expected: bool) -> None:
    """Word by word, by stems, Chinese by characters; `unmet` agrees."""
    one = rule("r", condition)
    assert applied(asked(query), one) == (["r"] if expected else [])
    assert unmet(one, asked(query)) == ([] if expected else [Condition.QUERY])


def test_both_readings() -> None:
    """A rule may name the query as it was typed, or as it was corrected."""
    readings = RuleContext((query_words("adidas shoes"), query_words("addidas shoes")))
    assert applied(readings, rule("typed", (CONTAINS, "addidas")), rule("corrected", (CONTAINS, "adidas"))) == [
        "corrected", "typed",
    ]  # fmt: skip


def test_categories() -> None:
    """The one category of the filter, without its subcategories."""
    one = rule(categories=("Shoes > Boots",))
    assert applied(asked(category=("shoes", "boots")), one) == ["r"]
    assert not applied(asked(category=("shoes",)), one)
    assert not applied(asked("boots"), one)
    both = rule("r", (CONTAINS, "red"), categories=("Shoes",))
    assert applied(asked("red boots", category=("shoes",)), both) == ["r"]
    assert unmet(both, asked("red boots")) == [Condition.CATEGORY]


def test_placements() -> None:
    """A rule with placements applies to them alone; one without to searches alone."""
    of_home, of_search = rule("home", placements=("home",)), rule("search")
    assert applied(asked(placement="home"), of_home, of_search) == ["home"]
    assert applied(asked(), of_home, of_search) == ["search"]
    assert applied(asked(placement="cart"), of_home, of_search) == []


def test_audience() -> None:
    """All conditions hold; of each one value suffices. A person who is not known meets none."""
    gold = AudienceCondition("Membership", ("Gold", "Platinum"))
    both = rule(audience=(gold, AudienceCondition("region", ("EU",))))
    known = {"membership": frozenset(["gold"]), "region": frozenset(["eu"])}
    assert applied(asked(attributes=known), both) == ["r"]
    assert not applied(asked(attributes={"membership": frozenset(["gold"])}), both)
    assert unmet(both, asked()) == [Condition.AUDIENCE]


def test_time() -> None:
    """From the first instant of the validity until before the last one, and in its windows."""
    limited = rule(validity=Validity(100.0, 200.0))
    assert [bool(applied(asked(now_s=now_s), limited)) for now_s in (99.0, 100.0, 199.0, 200.0)] == [
        False, True, True, False,
    ]  # fmt: skip
    # 1970 began at 01:00 in Berlin.
    morning = rule(validity=Validity(windows=(DailyWindow(60, 120),), time_zone="Europe/Berlin"))
    assert applied(asked(now_s=0.0), morning) == ["r"]
    assert unmet(morning, asked(now_s=3_600.0)) == [Condition.TIME]


def test_the_order_of_conflicts() -> None:
    """Longer matches come first, then anchoring, then more context, then the id."""
    dated = Validity(from_s=0.0)
    rules = [
        rule("b id", (CONTAINS, "red shoes")),
        rule("a id", (CONTAINS, "red shoes")),
        rule("context", (CONTAINS, "red shoes"), validity=dated),
        rule("starts", (STARTS, "red shoes")),
        rule("longer", (CONTAINS, "red shoes for")),
        rule("equals", (EQUALS, "red shoes for men")),
        rule("short", (STARTS, "red")),
        rule("none"),
    ]
    assert applied(asked("red shoes for men"), *rules) == [
        "equals", "longer", "starts", "context", "a id", "b id", "short", "none",
    ]  # fmt: skip


def test_the_best_condition_of_a_rule_counts() -> None:
    """A rule is as long a match as its longest condition that holds."""
    several = rule("several", (CONTAINS, "shoes"), (EQUALS, "red shoes"))
    (match,) = RuleIndex(RuleSet("v", (several,))).matches(asked("red shoes"))
    assert (match.length, match.anchoring) == (2, EQUALS)


def test_rules_of_synonyms() -> None:
    """They apply to queries with one of their terms."""
    one = replace(rule(), actions=(Synonyms(("couch",), ("sofa",)),))
    assert applied(asked("red couches"), one) == ["r"]
    assert applied(asked("red sofa"), one) == []


def test_many_rules_apply() -> None:
    """The first in the order of conflicts do."""
    rules = [rule(f"r{number:03}") for number in range(MAX_APPLIED + 5)]
    assert applied(asked("shoes"), *reversed(rules)) == [one.id for one in rules[:MAX_APPLIED]]
