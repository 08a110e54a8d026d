"""The columns of archived decisions about prices, and which decisions are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from kairos.common.v1 import common_pb2, offer_pb2
from kairos.control.v1 import audit_pb2
from services.control.domain.audit import Entry, EntryKind
from services.control.price_decision import DECISION_COLUMNS, decision_of, decision_values, price_decision_problems

FIELDS = list(audit_pb2.PriceDecision.DESCRIPTOR.fields)


def row(content: audit_pb2.PriceDecision) -> dict[str, Any]:
    entry = Entry(EntryKind.PRICE_DECISION, "d1", 5_000_000, "p1", "", content.SerializeToString())
    return dict(zip(DECISION_COLUMNS, decision_values("shop", entry), strict=True))


def usd(units: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=units)


@pytest.mark.parametrize("field", FIELDS, ids=[field.name for field in FIELDS])
def test_every_field_is_archived(field: FieldDescriptor) -> None:
    """Each field has one column, an estimate has three."""
    content = audit_pb2.PriceDecision()
    value: Any = getattr(content, field.name)
    if field.message_type is not None and field.message_type.name == "Money":
        value.units = 7
    elif field.message_type is not None and field.message_type.name == "Timestamp":
        value.seconds = 7
    elif field.message_type is not None and field.message_type.name == "ExperimentArm":
        value.experiment, value.arm = "e", "a"
    elif field.message_type is not None:
        value.mean, value.low, value.high = 7, 6, 8
    else:
        setattr(content, field.name, "x" if field.type == FieldDescriptor.TYPE_STRING else 1)
    before, after = row(audit_pb2.PriceDecision()), row(content)
    changed = {column for column in DECISION_COLUMNS if before[column] != after[column]}
    ends = ("", "_low", "_high") if field.message_type and field.message_type.name == "Estimate" else ("",)
    assert changed == {f"{field.name}{end}" for end in ends}


def test_values_are_what_they_mean() -> None:
    """Amounts are decimals, estimates numbers, enums words, and what is not set is None."""
    content = audit_pb2.PriceDecision(
        item_id="p1", price=usd(9), guardrail=offer_pb2.PRICE_GUARDRAIL_DAILY_CHANGE,
        review=audit_pb2.PRICE_REVIEW_APPROVED, elasticity=audit_pb2.Estimate(mean=-2.5, low=-3, high=-2),
    )  # fmt: skip
    found = row(content)
    assert (found["tenant"], found["decision_id"], found["recorded_at"]) == ("shop", "d1", 5_000_000)
    assert (found["price"], found["guardrail"], found["review"]) == (Decimal(9), "daily_change", "approved")
    assert found["experiment_arm"] is None
    assert (found["elasticity"], found["elasticity_low"], found["units"], found["cost"]) == (-2.5, -3.0, None, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"item_id": "p2"}, "item_id"),
        ({"price": None}, "price"),
        ({"list_price": common_pb2.Money(currency_code="XXX")}, "list_price.currency_code"),
        ({"cost": common_pb2.Money(currency_code="EUR", units=1)}, "cost"),
        ({"explanation": "x" * 1_001}, "explanation"),
        ({"price_list_id": "x" * 65}, "price_list_id"),
        ({"experiment_arm": common_pb2.ExperimentArm(experiment="a/b", arm="a")}, "experiment_arm.experiment"),
    ],
)
def test_a_wrong_decision_is_refused_by_its_field(change: dict[str, Any], field: str) -> None:
    """What could not be archived, or belongs to another product."""
    fields: dict[str, Any] = {
        "item_id": "p1", "list_price": usd(10), "base_price": usd(10), "price": usd(9), "price_before": usd(10),
    }  # fmt: skip
    assert list(price_decision_problems("p1", audit_pb2.PriceDecision(**fields))) == []
    wrong = price_decision_problems("p1", audit_pb2.PriceDecision(**(fields | change)))
    assert field in [name for name, _ in wrong]


def test_the_arm_comes_back_from_the_archive() -> None:
    """As it was recorded."""
    content = audit_pb2.PriceDecision(experiment_arm=common_pb2.ExperimentArm(experiment="e", arm="a"))
    found = row(content) | {"recorded_at": datetime(2026, 1, 1, tzinfo=UTC), "item_id": "p1"}
    assert decision_of(found).price_decision.experiment_arm == content.experiment_arm
