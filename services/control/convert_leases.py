"""Protobuf <-> domain for leases. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import islice

from kairos.control.v1 import budgets_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import id_problem
from services.control.convert_bills import NO_DAY, campaign_id_problem, day_of, today_of
from services.control.domain.leases import AskedLease, LeaseCall, Leases
from services.control.domain.limits import (
    INTERVAL_S,
    MAX_LEASE_AMOUNT,
    MAX_LEASES,
    MAX_TRAFFIC_COUNTS,
    TRAFFIC_AGE_S,
    TRAFFIC_AHEAD_S,
)

_AMOUNTS = ("used", "held", "day_limit", "hour_limit", "least")
# Wrong fields that an error names.
_MOST_VIOLATIONS = 20
# Of one replica in an interval: the sum over all replicas is an int64.
_MOST_REQUESTS = 10**12


def lease_call_from_proto(message: budgets_pb2.LeaseBudgetsRequest, now_s: float) -> LeaseCall:
    """`now_s`: seconds since the epoch."""
    if len(message.asked) > MAX_LEASES:
        raise InvalidArgument.of("asked", f"has {len(message.asked)} campaigns; send at most {MAX_LEASES}")
    if len(message.traffic) > MAX_TRAFFIC_COUNTS:
        raise InvalidArgument.of(
            "traffic", f"has {len(message.traffic)} intervals; send at most {MAX_TRAFFIC_COUNTS}"
        )  # fmt: skip
    if first := list(islice(_problems(message, now_s), _MOST_VIOLATIONS)):
        raise InvalidArgument(*(FieldViolation(field, problem) for field, problem in first))
    return LeaseCall(
        message.replica_id,
        message.call_number,
        tuple(map(_asked, message.asked)),
        {one.interval: one.requests for one in message.traffic},
        message.traffic_from or None,
    )


def leases_to_proto(leases: Leases) -> budgets_pb2.LeaseBudgetsResponse:
    answer = budgets_pb2.LeaseBudgetsResponse(
        missing_ids=leases.missing, traffic=leases.traffic, traffic_from=leases.traffic_from
    )
    answer.lease_duration.FromNanoseconds(round(leases.lease_s * 1e9))
    for id, held, billed in leases.held:
        answer.leased.add(
            campaign_id=id,
            held=min(held, MAX_LEASE_AMOUNT),
            value_on_day=min(billed.on_day, MAX_LEASE_AMOUNT),
            value_of_week=min(billed.value_of_week, MAX_LEASE_AMOUNT),
            sales_of_week=min(billed.sales_of_week, MAX_LEASE_AMOUNT),
        )
    return answer


def _problems(message: budgets_pb2.LeaseBudgetsRequest, now_s: float) -> Iterator[tuple[str, str]]:
    """(field, problem)."""
    if problem := id_problem(message.replica_id):
        yield "replica_id", problem
    if message.call_number <= 0:
        yield "call_number", f"is {message.call_number}; send a positive number, larger with each call"
    if message.traffic_from < 0:
        yield "traffic_from", f"is {message.traffic_from}; send the number of an interval since 1970"
    today, campaigns = today_of(now_s), dict[str, int]()
    for place, asked in enumerate(message.asked):
        at = f"asked[{place}]"
        if (other := campaigns.setdefault(asked.campaign_id, place)) != place:
            yield f"{at}.campaign_id", f"is that of asked[{other}]; send each campaign once"
        for field, problem in _problems_of_lease(asked, today):
            yield f"{at}.{field}", problem
    first = int(now_s - TRAFFIC_AGE_S) // INTERVAL_S
    last = int(now_s + TRAFFIC_AHEAD_S) // INTERVAL_S
    intervals = dict[int, int]()
    for place, counted in enumerate(message.traffic):
        at = f"traffic[{place}]"
        if (other := intervals.setdefault(counted.interval, place)) != place:
            yield f"{at}.interval", f"is that of traffic[{other}]; send each interval once"
        if not first <= counted.interval <= last:
            yield f"{at}.interval", f"is {counted.interval}; send {first} to {last}, or correct the clock of the sender"
        if not 0 <= counted.requests <= _MOST_REQUESTS:
            yield f"{at}.requests", f"is {counted.requests}; send 0 to {_MOST_REQUESTS:,}"


def _problems_of_lease(asked: budgets_pb2.AskedLease, today: date) -> Iterator[tuple[str, str]]:
    if problem := campaign_id_problem(asked.campaign_id):
        yield "campaign_id", problem
    if (day := day_of(asked.day)) is None:
        yield "day", NO_DAY
    elif abs((day - today).days) > 1:
        yield "day", f"is {day}, and today is {today} in UTC; correct the clock of the sender"
    amounts = {name: getattr(asked, name) for name in _AMOUNTS}
    if asked.HasField("total_limit"):
        amounts["total_limit"] = asked.total_limit
    for name, amount in amounts.items():
        if not 0 <= amount <= MAX_LEASE_AMOUNT:
            yield name, f"is {amount}; send 0 to {MAX_LEASE_AMOUNT}"


def _asked(asked: budgets_pb2.AskedLease) -> AskedLease:
    total = asked.total_limit if asked.HasField("total_limit") else None
    return AskedLease(
        asked.campaign_id, day_of(asked.day) or date.min, asked.used, asked.held, asked.day_limit, asked.hour_limit,
        asked.hour_from, total, asked.least,
    )  # fmt: skip
