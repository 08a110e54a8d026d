"""Protobuf <-> domain for entries of the FAQ. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from kairos.common.v1 import faq_pb2
from services.common.convert import time_from_proto, time_to_proto
from services.common.faq import FaqEntry


def faq_entry_from_proto(message: faq_pb2.FaqEntry, prefix: str = "") -> FaqEntry:
    """Raises only for unreadable times; `faq.violations` checks the bounds. `prefix`: of the paths in errors."""

    def time(field: Literal["valid_from", "valid_until"]) -> datetime | None:
        return time_from_proto(getattr(message, field), prefix + field) if message.HasField(field) else None

    return FaqEntry(
        id=message.id,
        question=message.question,
        answer=message.answer,
        alternatives=tuple(message.alternative_questions),
        locale=message.locale,
        product_ids=tuple(message.product_ids),
        categories=tuple(message.categories),
        valid_from=time("valid_from"),
        valid_until=time("valid_until"),
        version=message.version,
    )


def faq_entry_to_proto(entry: FaqEntry) -> faq_pb2.FaqEntry:
    message = faq_pb2.FaqEntry(
        id=entry.id, question=entry.question, answer=entry.answer, alternative_questions=entry.alternatives,
        locale=entry.locale, product_ids=entry.product_ids, categories=entry.categories, version=entry.version,
    )  # fmt: skip
    if entry.valid_from is not None:
        message.valid_from.CopyFrom(time_to_proto(entry.valid_from))
    if entry.valid_until is not None:
        message.valid_until.CopyFrom(time_to_proto(entry.valid_until))
    return message
