"""Merchandising rules: what is refused, with the field and the remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from kairos.control.v1 import merchandising_pb2
from services.common.convert_merchandising import checked_rule, rule_from_proto
from services.common.errors import InvalidArgument
from services.common.merchandising import MAX_RULES, MAX_SHARING, Pin, Rule, rule_set_violations

PIN = {"pin": {"product_id": "p1", "position": 1}}


def message(**fields: Any) -> merchandising_pb2.MerchandisingRule:
    return ParseDict({"id": "r1", "actions": [PIN], **fields}, merchandising_pb2.MerchandisingRule())


def trigger(**fields: Any) -> dict[str, Any]:
    return {"trigger": fields}


def action(**fields: Any) -> dict[str, Any]:
    return {"actions": [fields]}


def validity(**fields: Any) -> dict[str, Any]:
    return {"validity": fields}


def window(starts_at: str, ends_at: str, *days: str) -> dict[str, Any]:
    return validity(
        daily_windows=[{"starts_at": starts_at, "ends_at": ends_at, "days": days}], time_zone="Europe/Berlin"
    )


PHRASE = "w " * 17
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"id": ""}, "rule.id", "send 1 to 128"),
    ({"id": "a\nb"}, "rule.id", "printable"),
    ({"description": "x" * 513}, "rule.description", "at most 512"),
    ({"actions": []}, "rule.actions", "send 1 to 32"),
    ({"actions": [PIN] * 33}, "rule.actions", "send 1 to 32"),
    ({"actions": [{}]}, "rule.actions[0]", "set one of pin, boost"),
    (trigger(queries=[{"equals": "?"}]), "rule.trigger.queries[0].equals", "send the words of a query"),
    (trigger(queries=[{"starts_with": PHRASE}]), "rule.trigger.queries[0].starts_with", "at most 16"),
    (trigger(queries=[{"contains": "x" * 129}]), "rule.trigger.queries[0].contains", "at most 128"),
    (trigger(queries=[{}]), "rule.trigger.queries[0]", "set equals, starts_with or contains"),
    (trigger(queries=[{"equals": "a"}] * 33), "rule.trigger.queries", "send 0 to 32"),
    (trigger(queries=[{"equals": "a"}], placements=["home"]), "rule.trigger.queries", "set one of them"),
    (trigger(categories=[" "]), "rule.trigger.categories[0]", "send a text, or remove it"),
    (trigger(audience=[{"values": ["gold"]}]), "rule.trigger.audience[0].attribute", "send a text"),
    (trigger(audience=[{"attribute": "tier"}]), "rule.trigger.audience[0].values", "send 1 to 64"),
    (action(pin={"product_id": "p", "position": 0}), "rule.actions[0].pin.position", "send 1 to 100"),
    (action(pin={"product_id": "p", "position": 101}), "rule.actions[0].pin.position", "send 1 to 100"),
    (action(pin={"position": 1}), "rule.actions[0].pin.product_id", "send 1 to 128"),
    (action(boost={"products": {"ids": ["p"]}, "multiplier": 6}), "rule.actions[0].boost.multiplier", "0.2 to 5"),
    (action(boost={"products": {"ids": ["p"]}, "multiplier": 0}), "rule.actions[0].boost.multiplier", "0.2 to 5"),
    (action(boost={"products": {"ids": ["p"]}, "multiplier": "NaN"}), "rule.actions[0].boost.multiplier", "send 0.2"),
    (action(boost={"products": {"ids": ["p"]}, "multiplier": 1}), "rule.actions[0].boost.multiplier", "not 1"),
    (action(boost={"multiplier": 2}), "rule.actions[0].boost.products", "send ids or a filter"),
    (action(exclude={"products": {"filter": {}}}), "rule.actions[0].exclude.products.filter", "give it a condition"),
    (action(exclude={"products": {"ids": ["p"] * 101}}), "rule.actions[0].exclude.products.ids", "send 0 to 100"),
    (
        action(exclude={"products": {"filter": {"brands": ["b"] * 65}}}),
        "rule.actions[0].exclude.products.filter.brands", "at most 64",
    ),
    (action(include={}), "rule.actions[0].include.product_ids", "send 1 to 100"),
    (action(redirect={"url": "javascript:alert(1)"}), "rule.actions[0].redirect.url", "begins with 'https://'"),
    (action(redirect={"url": "//other.example"}), "rule.actions[0].redirect.url", "begins with 'https://'"),
    (action(synonyms={"terms": ["a"], "is_two_way": True}), "rule.actions[0].synonyms.terms", "send 2 to 16"),
    (action(synonyms={"terms": ["a"]}), "rule.actions[0].synonyms.alternatives", "send 1 to 16"),
    (
        action(synonyms={"terms": ["a", "b"], "alternatives": ["c"], "is_two_way": True}),
        "rule.actions[0].synonyms.alternatives", "remove is_two_way",
    ),
    (action(ignore_words={}), "rule.actions[0].ignore_words.words", "send 1 to 16"),
    (action(replace_query={"text": " "}), "rule.actions[0].replace_query.text", "send the text"),
    (action(banner={"payload": "x" * 8_193}), "rule.actions[0].banner.payload", "send 1 to 8192"),
    ({**action(redirect={"url": "/a"}), **trigger(placements=["home"])}, "rule.actions[0]", "remove one of the two"),
    (
        validity(valid_from="2026-02-01T00:00:00Z", valid_until="2026-01-01T00:00:00Z"),
        "rule.validity.valid_until", "swap the two",
    ),
    (window("9:00", "18:00"), "rule.validity.daily_windows[0].starts_at", "send a time such as '09:30'"),
    (window("09:00", "25:00"), "rule.validity.daily_windows[0].ends_at", "send a time such as '09:30'"),
    (window("09:00", "09:00"), "rule.validity.daily_windows[0].ends_at", "for a whole day"),
    (window("09:00", "18:00", "funday"), "rule.validity.daily_windows[0].days", "monday"),
    (window("09:00", "18:00", "monday", "monday"), "rule.validity.daily_windows[0].days", "each once"),
    (validity(daily_windows=[{"starts_at": "09:00", "ends_at": "10:00"}]), "rule.validity.time_zone", "Europe/Berlin"),
    (validity(time_zone="Mars/Olympus"), "rule.validity.time_zone", "IANA"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "field", "remedy"), WRONG, ids=[f"{row[1]}-{row[2]}" for row in WRONG])
def test_wrong_rules(fields: dict[str, Any], field: str, remedy: str) -> None:
    """The wrong field is named by its path, with what would be right; no other field is."""
    with pytest.raises(InvalidArgument) as caught:
        checked_rule(message(**fields), "rule")
    assert [violation.field for violation in caught.value.violations] == [field]
    assert remedy in caught.value.violations[0].description


def rules(*messages: merchandising_pb2.MerchandisingRule) -> list[Rule]:
    return [rule_from_proto(one, f"rules[{index}]") for index, one in enumerate(messages)]


def test_an_id_twice() -> None:
    """Each rule has an id of its own."""
    (wrong,) = rule_set_violations(rules(message(), message(**action(redirect={"url": "/a"}))))
    assert (wrong.field, "rules[0]" in wrong.description) == ("rules[1].id", True)


def test_identical_rules_that_overlap() -> None:
    """Two rules that do the same at the same time are refused; at different times they are not."""
    first = message(**validity(valid_until="2026-03-01T00:00:00Z"))
    second = message(id="r2", **validity(valid_from="2026-02-01T00:00:00Z"))
    (wrong,) = rule_set_violations(rules(first, second))
    assert (wrong.field, "'r1'" in wrong.description) == ("rules[1]", True)
    later = message(id="r2", **validity(valid_from="2026-03-01T00:00:00Z"))
    assert not list(rule_set_violations(rules(first, later)))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (trigger(queries=[{"contains": "Red Shoes"}]), "the text 'red shoe'"),
        (trigger(categories=["Shoes>Boots"]), "the category 'shoes > boots'"),
        (trigger(placements=["home"]), "the placement 'home'"),
        ({}, "no query, category or placement"),
    ],
)
def test_too_many_rules_share_a_trigger(fields: dict[str, Any], named: str) -> None:
    """A request is compared with all of them: their number is bounded."""
    (rule,) = rules(message(**fields))
    many = [replace(rule, id=f"r{n}", actions=(Pin(f"p{n}", 1),)) for n in range(MAX_SHARING + 1)]
    (wrong,) = rule_set_violations(many)
    assert (wrong.field, named in wrong.description) == ("rules", True)


def test_too_many_rules() -> None:
    """Beyond the limit no rule is read."""
    (rule,) = rules(message())
    (wrong,) = rule_set_violations([rule] * (MAX_RULES + 1))
    assert (wrong.field, wrong.description) == ("rules", f"holds {MAX_RULES + 1}; at most {MAX_RULES}")
