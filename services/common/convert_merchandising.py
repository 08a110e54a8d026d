"""Protobuf -> domain for merchandising rules. Refuses lists that are too long; `merchandising` checks all the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

from kairos.control.v1 import merchandising_pb2
from services.common.convert import filter_from_proto
from services.common.daily_window import DailyWindow
from services.common.errors import InvalidArgument
from services.common.merchandising import (
    MAX_RULES,
    Action,
    Anchoring,
    AudienceCondition,
    Banner,
    Boost,
    Exclude,
    IgnoreWords,
    Include,
    Pin,
    QueryCondition,
    Redirect,
    ReplaceQuery,
    Rule,
    RuleProducts,
    Synonyms,
    Trigger,
    Validity,
    rule_set_violations,
    rule_violations,
    window_of,
)

# Problems that an error names; there may be more.
_MOST_VIOLATIONS = 20


def rule_from_proto(message: merchandising_pb2.MerchandisingRule, field: str) -> Rule:
    """Raises InvalidArgument for an action or a condition without content, and for a filter that is too long."""
    return Rule(
        message.id,
        tuple(_action(action, f"{field}.actions[{index}]") for index, action in enumerate(message.actions)),
        trigger_from_proto(message.trigger, f"{field}.trigger"),
        Validity(
            *bounds_from_proto(message.validity, "valid_from", "valid_until"),
            windows_from_proto(message.validity.daily_windows),
            message.validity.time_zone,
        ),
        message.description,
        message.only_in_experiments,
    )


def trigger_from_proto(message: merchandising_pb2.RuleTrigger, field: str) -> Trigger:
    """Raises InvalidArgument for a condition without content."""
    return Trigger(
        tuple(_query(one, f"{field}.queries[{index}]") for index, one in enumerate(message.queries)),
        tuple(message.categories),
        tuple(message.placements),
        tuple(AudienceCondition(one.attribute, tuple(one.values)) for one in message.audience),
    )


def windows_from_proto(messages: Sequence[merchandising_pb2.DailyWindow]) -> tuple[DailyWindow, ...]:
    return tuple(window_of(one.starts_at, one.ends_at, one.days) for one in messages)


def bounds_from_proto(message: Any, begin: str, end: str) -> tuple[float, float]:
    """Two timestamps of the message in seconds since 1970; an absent one is no bound."""
    return (
        getattr(message, begin).ToNanoseconds() / 1e9 if message.HasField(begin) else -math.inf,
        getattr(message, end).ToNanoseconds() / 1e9 if message.HasField(end) else math.inf,
    )


def checked_rules(messages: Sequence[merchandising_pb2.MerchandisingRule], field: str = "rules") -> tuple[Rule, ...]:
    """All rules of a tenant. Raises InvalidArgument that names everything that is wrong with them, and between them."""
    if len(messages) > MAX_RULES:
        raise InvalidArgument.of(field, f"holds {len(messages)}; at most {MAX_RULES}")
    rules = tuple(rule_from_proto(message, f"{field}[{index}]") for index, message in enumerate(messages))
    if wrong := list(islice(rule_set_violations(rules, field), _MOST_VIOLATIONS)):
        raise InvalidArgument(*wrong)
    return rules


def checked_rule(message: merchandising_pb2.MerchandisingRule, field: str) -> Rule:
    """Raises InvalidArgument that names everything that is wrong with the rule."""
    rule = rule_from_proto(message, field)
    if wrong := list(islice(rule_violations(rule, field), _MOST_VIOLATIONS)):
        raise InvalidArgument(*wrong)
    return rule


def _query(message: merchandising_pb2.QueryCondition, field: str) -> QueryCondition:
    kind = message.WhichOneof("condition")
    if kind is None:
        raise InvalidArgument.of(field, "is empty; set equals, starts_with or contains")
    return QueryCondition(Anchoring[kind.upper()], getattr(message, kind))


def _action(message: merchandising_pb2.RuleAction, field: str) -> Action:
    kind = message.WhichOneof("action")
    if kind is None:
        known = ", ".join(one.name for one in message.DESCRIPTOR.fields)
        raise InvalidArgument.of(field, f"is empty; set one of {known}")
    value: Any = getattr(message, kind)
    at = f"{field}.{kind}.products"
    match kind:
        case "pin":
            return Pin(value.product_id, value.position, value.is_soft)
        case "boost":
            return Boost(_products(value.products, at), value.multiplier)
        case "include":
            return Include(tuple(value.product_ids))
        case "exclude":
            return Exclude(_products(value.products, at))
        case "redirect":
            return Redirect(value.url)
        case "synonyms":
            return Synonyms(tuple(value.terms), tuple(value.alternatives), value.is_two_way)
        case "ignore_words":
            return IgnoreWords(tuple(value.words))
        case "replace_query":
            return ReplaceQuery(value.text)
        case _:
            return Banner(value.payload)


def _products(message: merchandising_pb2.RuleProducts, field: str) -> RuleProducts:
    narrowing = filter_from_proto(message.filter, f"{field}.filter") if message.HasField("filter") else None
    return RuleProducts(tuple(message.ids), narrowing)
