"""Leases of budgets and traffic over SQLAlchemy, beside the bills: SQLite in control.db, or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TypeVar

import sqlalchemy as sa

from services.common.errors import Overloaded
from services.control.adapters.database import Database
from services.control.adapters.schema import AD_TRAFFIC, BILL_TIMES, BILLS, LEASES, RESOURCES, migrate_resources
from services.control.domain.leases import AskedLease, Billed, LeaseCall, LeasePool, LeaseRules, Leases
from services.control.domain.limits import INTERVAL_S, MAX_LEASING_REPLICAS, TRAFFIC_AGE_S
from services.control.domain.resources import Kind

# Ids of one query.
_IDS = 1_000
# Of minor units.
_MILLIONTHS = 1_000_000
_WEEK = timedelta(days=6)
# Leases that nobody has renewed for so long are removed. It is longer than late bills are waited for.
_IDLE_US = 5 * 86_400_000_000
# Of the lock of a tenant in PostgreSQL; any number that nothing else in the database locks.
_LOCK = 4_711_023

_Key = TypeVar("_Key", str, int)


class SqlLeaseStore:
    """See ports.LeaseStore. `url` is that of SqlControlStore; raises as it does."""

    def __init__(self, url: str, rules: LeaseRules) -> None:
        self._database, self._rules = Database(url), rules
        with self._database.transaction(writes=True) as connection:
            migrate_resources(connection)

    def lease(self, tenant: str, call: LeaseCall, now_us: int) -> Leases:
        with self._database.transaction(writes=True) as connection:
            if self._database.is_postgresql:
                # One call of a tenant after the other. SQLite's transaction has the only lock already.
                lock = sa.text("SELECT pg_advisory_xact_lock(:lock, hashtext(:tenant))")
                connection.execute(lock, {"lock": _LOCK, "tenant": tenant})
            published = _published(connection, tenant, [one.campaign_id for one in call.asked])
            asked = [one for one in call.asked if one.campaign_id in published]
            held = self._renew(connection, tenant, call, asked, now_us)
            if _count(connection, tenant, call):
                self._trim(connection, tenant, now_us)
            missing = [one.campaign_id for one in call.asked if one.campaign_id not in published]
            return Leases(self._rules.lease_s, held, missing, *_traffic(connection, tenant, call.traffic_from, now_us))

    def close(self) -> None:
        self._database.close()

    def _renew(
        self, connection: sa.Connection, tenant: str, call: LeaseCall, asked: Sequence[AskedLease], now_us: int
    ) -> list[tuple[str, int, Billed]]:
        ids = [one.campaign_id for one in asked]
        pools = {
            row.campaign_id: LeasePool.from_json(json.loads(row.pool))
            for some in _chunks(ids)
            for row in connection.execute(
                sa.select(LEASES).where(LEASES.c.tenant == tenant, LEASES.c.campaign_id.in_(some))
            )
        }
        # First: bills that are read later are at least as complete.
        complete_us = _complete_us(connection, tenant)
        billed, held = _billed(connection, tenant, asked), list[tuple[str, int, Billed]]()
        for one in asked:
            pool = pools.setdefault(one.campaign_id, LeasePool())
            spent = billed[one.campaign_id]
            may_use = pool.renew(call.replica_id, call.number, one, spent, complete_us, self._rules, now_us)
            held.append((one.campaign_id, may_use, spent))
        rows = [
            {"tenant": tenant, "campaign_id": id, "pool": json.dumps(pools[id].as_json()), "renewed_us": now_us}
            for id in ids
        ]
        for some in _chunks(ids):
            connection.execute(sa.delete(LEASES).where(LEASES.c.tenant == tenant, LEASES.c.campaign_id.in_(some)))
        if rows:
            connection.execute(sa.insert(LEASES), rows)
        return held

    def _trim(self, connection: sa.Connection, tenant: str, now_us: int) -> None:
        connection.execute(
            sa.delete(AD_TRAFFIC).where(AD_TRAFFIC.c.tenant == tenant, AD_TRAFFIC.c.interval < _oldest(now_us))
        )
        connection.execute(sa.delete(LEASES).where(LEASES.c.tenant == tenant, LEASES.c.renewed_us < now_us - _IDLE_US))


def _chunks(keys: Iterable[_Key]) -> Iterator[Sequence[_Key]]:
    """So many as one query names."""
    listed = list(keys)
    return (listed[start : start + _IDS] for start in range(0, len(listed), _IDS))


def _published(connection: sa.Connection, tenant: str, ids: Sequence[str]) -> set[str]:
    columns, found = RESOURCES.c, set[str]()
    for some in _chunks(ids):
        query = sa.select(columns.id).where(
            columns.tenant == tenant, columns.kind == Kind.CAMPAIGN.value, columns.id.in_(some),
            columns.effective_version.is_not(None),
        )  # fmt: skip
        found.update(connection.execute(query).scalars())
    return found


def _complete_us(connection: sa.Connection, tenant: str) -> int:
    query = sa.select(BILL_TIMES.c.complete_us).where(BILL_TIMES.c.tenant == tenant)
    return connection.execute(query).scalar() or 0


def _billed(connection: sa.Connection, tenant: str, asked: Sequence[AskedLease]) -> Mapping[str, Billed]:
    """By campaign; bills are in whole minor units."""
    columns = BILLS.c
    by_day: dict[date, list[str]] = {}
    for one in asked:
        by_day.setdefault(one.day, []).append(one.campaign_id)
    totals = dict[str, int]()
    for some in _chunks(one.campaign_id for one in asked if one.total_limit is not None):
        query = sa.select(columns.campaign_id, sa.func.sum(columns.amount)).where(
            columns.tenant == tenant, columns.campaign_id.in_(some)
        )
        totals |= {id: int(amount) for id, amount in connection.execute(query.group_by(columns.campaign_id))}
    found = {one.campaign_id: Billed() for one in asked}
    for day, ids in by_day.items():
        text, first = day.isoformat(), (day - _WEEK).isoformat()
        on_day = sa.func.sum(sa.case((columns.day == text, columns.value), else_=0)).label("on_day")
        sums = (on_day, sa.func.sum(columns.value).label("of_week"), sa.func.sum(columns.sales).label("sales"))
        for some in _chunks(ids):
            query = sa.select(columns.campaign_id, *sums).where(
                columns.tenant == tenant, columns.campaign_id.in_(some), columns.day.between(first, text)
            )
            for row in connection.execute(query.group_by(columns.campaign_id)):
                amounts = row.on_day, totals.get(row.campaign_id, 0), row.of_week, row.sales
                found[row.campaign_id] = Billed(*(int(amount) * _MILLIONTHS for amount in amounts))
    # A campaign may have bills of earlier days only.
    for id, total in totals.items():
        if not found[id].in_all:
            found[id] = Billed(in_all=total * _MILLIONTHS)
    return found


def _count(connection: sa.Connection, tenant: str, call: LeaseCall) -> bool:
    """Adds what the replica counted. Whether an interval is new."""
    if not call.traffic:
        return False
    first, last = min(call.traffic), max(call.traffic)
    known = _counts(connection, tenant, first, last)
    changed = list[int]()
    for interval, requests in call.traffic.items():
        counts = known.setdefault(interval, {})
        if requests > counts.get(call.replica_id, 0):
            if call.replica_id not in counts and len(counts) >= MAX_LEASING_REPLICAS:
                raise Overloaded(f"{len(counts)} replicas have counted in the interval {interval}", INTERVAL_S)
            counts[call.replica_id] = requests
            changed.append(interval)
    if not changed:
        return False
    here = AD_TRAFFIC.c.tenant == tenant
    removed = 0
    for some in _chunks(changed):
        removed += connection.execute(sa.delete(AD_TRAFFIC).where(here, AD_TRAFFIC.c.interval.in_(some))).rowcount
    rows = [{"tenant": tenant, "interval": interval, "requests": json.dumps(known[interval])} for interval in changed]
    connection.execute(sa.insert(AD_TRAFFIC), rows)
    return removed < len(changed)


def _traffic(
    connection: sa.Connection, tenant: str, traffic_from: int | None, now_us: int
) -> tuple[int, Sequence[int]]:  # fmt: skip
    """The first interval, and the requests of this one and of each later one up to the present."""
    if traffic_from is None:
        return 0, ()
    present = now_us // 1_000_000 // INTERVAL_S
    first = max(traffic_from, _oldest(now_us))
    known = _counts(connection, tenant, first, present)
    return first, [sum(known.get(interval, {}).values()) for interval in range(first, present + 1)]


def _counts(connection: sa.Connection, tenant: str, first: int, last: int) -> dict[int, dict[str, int]]:
    columns = AD_TRAFFIC.c
    query = sa.select(columns.interval, columns.requests).where(
        columns.tenant == tenant, columns.interval.between(first, last)
    )
    return {interval: json.loads(requests) for interval, requests in connection.execute(query)}


def _oldest(now_us: int) -> int:
    return (now_us // 1_000_000 - TRAFFIC_AGE_S) // INTERVAL_S
