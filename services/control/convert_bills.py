"""Protobuf <-> domain for bills. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Literal

from kairos.control.v1 import budgets_pb2
from services.common.convert import minor_units_from_proto, minor_units_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.control.audit_fields import microseconds_of, time_problem
from services.control.domain.bills import Bill, BillFilter, BillPlace
from services.control.domain.contents import RESOURCE_ID
from services.control.domain.limits import BILL_DAYS, MAX_AMOUNT, MAX_BILLS, MAX_REASONS

_AMOUNTS: tuple[Literal["value", "amount", "sales", "same_brand_sales"], ...] = (
    "value", "amount", "sales", "same_brand_sales",
)  # fmt: skip
NO_DAY = "is no day; send one such as 2026-11-29"
_REASON = r"[a-z0-9_]{1,64}"
# Wrong fields that an error names.
_MOST_VIOLATIONS = 20


def oldest_day(now_s: float) -> date:
    """The first day whose bills are kept."""
    return today_of(now_s) - timedelta(days=BILL_DAYS)


def bills_from_proto(request: budgets_pb2.RecordBillsRequest, now_s: float) -> list[Bill]:
    """`now_s`: seconds since the epoch."""
    messages, least = request.bills, 0 if request.HasField("complete_until") else 1
    if not least <= len(messages) <= MAX_BILLS:
        raise InvalidArgument.of("bills", f"has {len(messages)} bills; send {least} to {MAX_BILLS}")
    wrong = (
        FieldViolation(f"bills[{place}]{field}", problem)
        for place, message in enumerate(messages)
        for field, problem in _problems(message, now_s)
    )
    if first := list(islice(wrong, _MOST_VIOLATIONS)):
        raise InvalidArgument(*first)
    seen = dict[tuple[str, str], int]()
    for place, message in enumerate(messages):
        if (other := seen.setdefault((message.campaign_id, message.day), place)) != place:
            raise InvalidArgument.of(f"bills[{place}]", f"has campaign and day of bills[{other}]; send each once")
    return [_bill(message) for message in messages]


def complete_us_from_proto(request: budgets_pb2.RecordBillsRequest, now_s: float) -> int:
    """Microseconds since the epoch; 0 if it is not set."""
    if not request.HasField("complete_until"):
        return 0
    if problem := time_problem(request.complete_until):
        raise InvalidArgument.of("complete_until", problem)
    return min(microseconds_of(request.complete_until), int(now_s * 1e6))


def bill_to_proto(bill: Bill) -> budgets_pb2.Bill:
    return budgets_pb2.Bill(
        campaign_id=bill.campaign_id,
        day=bill.day.isoformat(),
        impressions=bill.impressions,
        clicks=bill.clicks,
        refused=[budgets_pb2.RefusedClicks(reason=reason, clicks=count) for reason, count in bill.refused.items()],
        is_final=bill.is_final,
        **{name: minor_units_to_proto(getattr(bill, name), bill.currency) for name in _AMOUNTS},
    )


def bill_filter_from_proto(request: budgets_pb2.ListBillsRequest) -> BillFilter:
    if request.campaign_id and (problem := campaign_id_problem(request.campaign_id)):
        raise InvalidArgument.of("campaign_id", problem)
    days = dict[str, date | None]()
    for field in ("from_day", "until_day"):
        text = getattr(request, field)
        days[field] = day_of(text) if text else None
        if text and days[field] is None:
            raise InvalidArgument.of(field, NO_DAY)
    first, last = days["from_day"], days["until_day"]
    if first and last and last < first:
        raise InvalidArgument.of("until_day", "is before from_day; swap them, or leave one out")
    return BillFilter(request.campaign_id, first, last)


def bill_place(campaign_id: str, day: str) -> BillPlace:
    """Of a page token, which a caller may have made up."""
    if (known := day_of(day)) is None or campaign_id_problem(campaign_id):
        raise InvalidArgument.of("page_token", "is not of this request; send the last answer's token, or none")
    return BillPlace(campaign_id, known)


def _problems(message: budgets_pb2.Bill, now_s: float) -> Iterator[tuple[str, str]]:
    """(path below the bill, problem)."""
    if problem := campaign_id_problem(message.campaign_id):
        yield ".campaign_id", problem
    first, last = oldest_day(now_s), today_of(now_s) + timedelta(days=1)
    if (day := day_of(message.day)) is None:
        yield ".day", NO_DAY
    elif not first <= day <= last:
        yield ".day", f"is {day}; send a day from {first} to {last}, or correct the clock of the sender"
    for name in ("impressions", "clicks"):
        if (count := getattr(message, name)) < 0:
            yield f".{name}", f"is {count}; send 0 or more"
    yield from _amount_problems(message)
    if len(message.refused) > MAX_REASONS:
        yield ".refused", f"has {len(message.refused)} reasons; send at most {MAX_REASONS}"
        return
    seen = set[str]()
    for place, refused in enumerate(message.refused):
        if not re.fullmatch(_REASON, refused.reason):
            yield f".refused[{place}].reason", "is no name; send 1 to 64 of a-z, 0-9 and '_'"
        elif refused.reason in seen:
            yield f".refused[{place}].reason", f"is {refused.reason!r} again; send it once"
        seen.add(refused.reason)
        if refused.clicks < 0:
            yield f".refused[{place}].clicks", f"is {refused.clicks}; send 0 or more"


def _amount_problems(message: budgets_pb2.Bill) -> Iterator[tuple[str, str]]:
    found = dict[str, int]()
    for name in _AMOUNTS:
        if not message.HasField(name):
            if name in _AMOUNTS[:2]:
                yield f".{name}", "is missing; it is required"
            continue
        money = getattr(message, name)
        try:
            units = minor_units_from_proto(money, f".{name}")
        except InvalidArgument as error:
            yield from ((one.field, one.description) for one in error.violations)
            continue
        if not 0 <= units <= MAX_AMOUNT:
            yield f".{name}", f"has {units} minor units; send 0 to {MAX_AMOUNT}"
        elif money.currency_code != message.value.currency_code:
            yield f".{name}.currency_code", "is another one than that of value; all amounts have that of the campaign"
        else:
            found[name] = units
    if found.get("amount", 0) > found.get("value", MAX_AMOUNT):
        yield ".amount", "is more than value; at most all of it is owed"


def _bill(message: budgets_pb2.Bill) -> Bill:
    amounts = {
        name: minor_units_from_proto(getattr(message, name), name) if message.HasField(name) else 0 for name in _AMOUNTS
    }
    return Bill(
        message.campaign_id, date.fromisoformat(message.day), message.value.currency_code, message.impressions,
        message.clicks, refused={one.reason: one.clicks for one in message.refused}, is_final=message.is_final,
        **amounts,
    )  # fmt: skip


def campaign_id_problem(id: str) -> str | None:
    if re.fullmatch(RESOURCE_ID, id):
        return None
    return "is no id of a campaign; send 1 to 63 of a-z, 0-9, '-' and '_', a letter or digit first"


def day_of(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    # There are other forms of ISO 8601.
    return day if day.isoformat() == text else None


def today_of(now_s: float) -> date:
    return datetime.fromtimestamp(now_s, UTC).date()
