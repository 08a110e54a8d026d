"""What the contents of audit entries have in common: the check of amounts and times, and the columns of the archive.

Both are read from the messages: a field that is added there is checked and archived too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from services.common.convert import money_to_proto
from services.common.money import MAX_UNITS, NANOS, Money

_MONEY, _TIME, _ESTIMATE = common_pb2.Money.DESCRIPTOR, Timestamp.DESCRIPTOR, audit_pb2.Estimate.DESCRIPTOR
# In the archive "experiment/arm": neither name has a slash.
_ARM = common_pb2.ExperimentArm.DESCRIPTOR
# The years 1 to 9999.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
# Columns of an estimate: its mean has the name of the field.
_PARTS = {"mean": "", "low": "_low", "high": "_high"}


def time_problem(moment: Timestamp) -> str | None:
    """What is wrong with it, for an error's text; None for a valid one."""
    if _FIRST_S <= moment.seconds <= _LAST_S and 0 <= moment.nanos < NANOS:
        return None
    return "is no time between the years 1 and 9999"


def microseconds_of(moment: Timestamp) -> int:
    """Since the epoch, rounded down."""
    return int(moment.seconds * 1_000_000 + moment.nanos // 1_000)


class Checked:
    """The amounts and times of a message."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._fields = [(f.name, f.message_type) for f in descriptor.fields if f.message_type in (_MONEY, _TIME)]

    def problems(self, message: Any, currency: str) -> Iterator[tuple[str, str]]:
        """(field, problem) of those that are set. `currency`: of every amount."""
        for field, type in self._fields:
            if message.HasField(field):
                value = getattr(message, field)
                problem = _money_problem(value, currency) if type is _MONEY else time_problem(value)
                if problem:
                    yield field, problem


@dataclass(frozen=True)
class Column:
    """Of an archive: its type is one of ArchivedColumns. `read` gives None for a field that is not set."""

    name: str
    type: str
    read: Callable[[Message], Any]


def columns_of(
    descriptor: Descriptor, left_out: Collection[str] = (), names: Mapping[str, str] | None = None
) -> list[Column]:
    """Of each field but those. `names`: of columns that are not named after their field."""
    return [
        column
        for field in descriptor.fields
        if field.name not in left_out
        for column in _columns(field, (names or {}).get(field.name, field.name))
    ]


def fill(
    message: Any, row: Mapping[str, Any], left_out: Collection[str] = (), names: Mapping[str, str] | None = None
) -> None:
    """Sets the fields from a row of the archive with the columns that `columns_of` gives, and `currency`."""
    for field in message.DESCRIPTOR.fields:
        name = (names or {}).get(field.name, field.name)
        value = None if field.name in left_out else row.get(name)
        if value is None:
            continue
        if field.is_repeated:
            getattr(message, field.name).extend(value)
        elif field.message_type is _MONEY:
            getattr(message, field.name).CopyFrom(money_to_proto(Money(row["currency"], value)))
        elif field.message_type is _TIME:
            getattr(message, field.name).FromDatetime(value)
        elif field.message_type is _ARM:
            experiment, _, arm = value.partition("/")
            getattr(message, field.name).CopyFrom(common_pb2.ExperimentArm(experiment=experiment, arm=arm))
        elif field.message_type is _ESTIMATE:
            for part, ending in _PARTS.items():
                setattr(getattr(message, field.name), part, row[f"{name}{ending}"])
        elif field.enum_type is not None:
            prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
            known = field.enum_type.values_by_name.get(f"{prefix}{value.upper()}")
            setattr(message, field.name, known.number if known else int(value))
        else:
            setattr(message, field.name, value)


def _columns(field: FieldDescriptor, name: str) -> Iterator[Column]:
    if field.message_type is _ESTIMATE:
        for part, ending in _PARTS.items():
            yield Column(f"{name}{ending}", "number", _reader(field, attrgetter(part)))
    else:
        type, read = _type_of(field)
        yield Column(name, type, _reader(field, read))


def _reader(field: FieldDescriptor, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    name, has_presence = field.name, field.has_presence
    return lambda message: read(getattr(message, name)) if not has_presence or message.HasField(name) else None


def _type_of(field: FieldDescriptor) -> tuple[str, Callable[[Any], Any]]:
    """The type of the field's column, and how its value is read."""
    if field.is_repeated:
        return "texts", list
    if field.message_type is _ARM:
        return "text", lambda arm: f"{arm.experiment}/{arm.arm}"
    if field.message_type is not None:
        return ("amount", _amount) if field.message_type is _MONEY else ("time", microseconds_of)
    if field.enum_type is not None:
        enum = field.enum_type
        # PRICE_REASON_AGED is aged. A value that a newer version has sent is a number.
        prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
        names = {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}
        return "text", lambda number: names.get(number, str(number))
    return ("text", str) if field.type == FieldDescriptor.TYPE_STRING else ("integer", int)


def _money_problem(money: common_pb2.Money, currency: str) -> str | None:
    units, nanos = money.units, money.nanos
    if money.currency_code != currency:
        return f"is in {money.currency_code[:16]!r}, the list price in {currency[:16]!r}; use one currency"
    if not -MAX_UNITS <= units <= MAX_UNITS or not -NANOS < nanos < NANOS:
        return f"has {units} units and {nanos} nanos; units are at most {MAX_UNITS}, nanos below {NANOS}"
    return None


def _amount(money: common_pb2.Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / NANOS
