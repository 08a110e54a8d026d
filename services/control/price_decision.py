"""The content of a decision's audit entry: what is wrong with it, and its columns in the archive."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kairos.control.v1 import audit_pb2
from services.common.limits import MAX_LIST_ID, text_problem
from services.common.money import currency_problem
from services.control.audit_fields import Checked, columns_of, fill
from services.control.domain.audit import Entry

_REQUIRED = ("list_price", "base_price", "price")
_MOST_TEXT = 1_000
_ARM_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CHECKED = Checked(audit_pb2.PriceDecision.DESCRIPTOR)
_ARCHIVED = columns_of(audit_pb2.PriceDecision.DESCRIPTOR)
# The columns of the archive: name and type, as ArchivedColumns describes them.
DECISION_COLUMNS = {
    "tenant": "text", "decision_id": "text", "recorded_at": "time", "currency": "text",
    **{column.name: column.type for column in _ARCHIVED},
}  # fmt: skip


def price_decision_problems(subject_id: str, decision: audit_pb2.PriceDecision) -> Iterator[tuple[str, str]]:
    """(field, problem) of what could not be archived, found or printed. `subject_id`: of the entry."""
    if decision.item_id != subject_id or not subject_id:
        yield "item_id", f"is {decision.item_id[:128]!r}; send the subject_id of the entry, which is required"
    if problem := text_problem(decision.price_list_id, MAX_LIST_ID):
        yield "price_list_id", problem
    if problem := text_problem(decision.explanation, _MOST_TEXT):
        yield "explanation", problem
    for part in ("experiment", "arm"):
        if not _ARM_NAME.fullmatch(name := getattr(decision.experiment_arm, part)) and decision.HasField(
            "experiment_arm"
        ):
            yield f"experiment_arm.{part}", f"is {name[:64]!r}; send the name that is published"
    for field in _REQUIRED:
        if not decision.HasField(field):  # type: ignore[arg-type]
            yield field, "is missing; it is required"
    currency = decision.list_price.currency_code
    if problem := currency_problem(currency):
        yield "list_price.currency_code", problem
    yield from _CHECKED.problems(decision, currency)


def decision_of(row: Mapping[str, Any]) -> audit_pb2.AuditEntry:
    """The entry of a row of the archive."""
    entry = audit_pb2.AuditEntry(id=row["decision_id"], subject_id=row["item_id"])
    entry.recorded_at.FromDatetime(row["recorded_at"])
    fill(entry.price_decision, row)
    return entry


def decision_values(tenant: str, entry: Entry) -> list[Any]:
    """Of DECISION_COLUMNS. None for a field that is not set."""
    decision = audit_pb2.PriceDecision.FromString(entry.content)
    values: list[Any] = [tenant, entry.id, entry.recorded_us, decision.list_price.currency_code]
    return values + [column.read(decision) for column in _ARCHIVED]
