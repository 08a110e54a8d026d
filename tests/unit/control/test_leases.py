"""Leases of one campaign: together they never exceed the limits, whatever is lost on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest

from services.common.errors import Aborted, Overloaded
from services.control.domain.leases import AskedLease, Billed, LeasePool, LeaseRules
from services.control.domain.limits import MAX_LEASING_REPLICAS

DAY = date(2026, 1, 5)
CENT, S = 1_000_000, 1_000_000
RULES = LeaseRules(lease_s=10, share=0.1, click_delay_s=60)


def asking(used: int = 0, held: int = 0, **fields: Any) -> AskedLease:
    """For a campaign of 20 euros a day, with a bid of 40 cents."""
    usual = {
        "day_limit": 2_000 * CENT, "hour_limit": 2_000 * CENT, "hour_from": 0, "total_limit": None, "least": 40 * CENT
    }  # fmt: skip
    return AskedLease("c", DAY, used, held, **{**usual, **fields})


def renewed(
    pool: LeasePool, replica: str, call: int, at_s: float = 0, billed: int = 0, complete_s: float | None = None,
    **fields: Any,
) -> int:  # fmt: skip
    """In cents, with so much billed on the day, and bills that are complete up to the present unless said otherwise."""
    spent = Billed(on_day=billed * CENT, in_all=billed * CENT)
    complete_us, now_us = round((at_s if complete_s is None else complete_s) * S), round(at_s * S)
    return pool.renew(replica, call, asking(**fields), spent, complete_us, RULES, now_us) // CENT


@pytest.mark.parametrize(
    ("fields", "cents"),
    [
        ({}, 200),
        ({"billed": 1_000}, 100),
        ({"billed": 1_980}, 20),
        ({"billed": 2_500}, 0),
        ({"hour_limit": 300 * CENT}, 40),
        ({"total_limit": 1_500 * CENT, "billed": 500}, 100),
        ({"least": 500 * CENT}, 500),
    ],
)
def test_a_lease_is_a_share_of_what_is_left(fields: dict[str, Any], cents: int) -> None:
    """Of the day, the hour and the campaign, whichever is least; and no less than is of use, if so much is left."""
    assert renewed(LeasePool(), "a", 1, **fields) == cents


def test_an_hour_begins_with_what_was_spent_before() -> None:
    """Its limit is for what comes then; a replica that starts within the hour begins no new one."""
    pool = LeasePool()
    assert renewed(pool, "a", 1, billed=1_000, hour_limit=100 * CENT, hour_from=12) == 40
    assert renewed(pool, "b", 1, at_s=600, billed=1_100, hour_limit=100 * CENT, hour_from=12) == 0
    assert renewed(pool, "b", 2, at_s=3_600, billed=1_100, hour_limit=100 * CENT, hour_from=24) == 40


def test_what_was_used_waits_for_its_clicks() -> None:
    """For a minute it counts beside the bills; then the bills have it."""
    pool = LeasePool()
    first = renewed(pool, "a", 1)
    assert renewed(pool, "a", 2, used=first * CENT, held=first * CENT) == first + 180
    assert renewed(pool, "a", 3, at_s=66, used=first * CENT, held=380 * CENT) == first + 200


def test_what_a_silent_replica_holds_counts_until_its_clicks_had_time() -> None:
    """Its lease and a minute."""
    pool = LeasePool()
    assert renewed(pool, "a", 1) == 200
    assert renewed(pool, "b", 1, at_s=69) == 180
    assert renewed(pool, "c", 1, at_s=71) == 182


def test_late_bills_free_nothing() -> None:
    """What was used and held counts until the bills are complete up to a minute after it, and for four days at most."""
    pool = LeasePool()
    held = renewed(pool, "a", 1)
    renewed(pool, "b", 1)
    assert renewed(pool, "a", 2, used=held * CENT, held=held * CENT) == held + 162
    for at_s, complete_s, cents in ((900, 0, 145), (900, 65, 165), (900, 70, 200), (5 * 86_400, 0, 200)):
        copied = LeasePool.from_json(pool.as_json())
        assert renewed(copied, "c", 1, at_s=at_s, complete_s=complete_s) == cents


def test_a_day_does_not_pay_for_the_day_before() -> None:
    """What waits for the bills of yesterday counts for the total budget only."""
    pool = LeasePool()
    held = renewed(pool, "a", 1)
    renewed(pool, "a", 2, used=held * CENT, held=held * CENT)
    tomorrow = replace(asking(total_limit=2_000 * CENT, used=held * CENT), day=DAY + timedelta(days=1))
    for asked, cents in ((replace(tomorrow, total_limit=None), 200), (tomorrow, 162)):
        copied = LeasePool.from_json(pool.as_json())
        assert copied.renew("b", 1, asked, Billed(), 0, RULES, 20 * S) // CENT == cents + held


def test_what_waits_for_late_bills_takes_a_bounded_place() -> None:
    """A day of calls without any bill; the sum stays as it is."""
    pool = LeasePool()
    for call in range(1, 3_000):
        renewed(pool, "a", call, at_s=30 * call, complete_s=0, used=call * 1_000, least=0)
    assert sum(pool.waiting.values()) == 2_998 * 1_000
    assert len(pool.waiting) == 64


def test_a_late_call_is_refused() -> None:
    """One that a newer call of the replica has overtaken; so is the same one again."""
    pool = LeasePool()
    renewed(pool, "a", 2)
    for call in (1, 2):
        with pytest.raises(Aborted, match="larger call_number"):
            renewed(pool, "a", call)


def test_replicas_are_bounded() -> None:
    """A thousand at a time; the silent ones make room."""
    pool = LeasePool()
    for number in range(MAX_LEASING_REPLICAS):
        renewed(pool, str(number), 1)
    with pytest.raises(Overloaded):
        renewed(pool, "one more", 1)
    assert renewed(pool, "one more", 1, at_s=71) == 200


@dataclass
class Replica:
    """It uses what its last answer allows. `sent`: calls that control has not served yet."""

    name: str
    calls: int = 0
    used: int = 0
    held: int = 0
    until_us: int = 0
    sent: list[tuple[int, AskedLease]] = field(default_factory=list)


def test_limits_hold_whatever_is_lost() -> None:
    """A hundred times four minutes of three replicas, of which some are killed, with overtaken calls and lost answers:
    all that is used stays within the budget, when each click comes within the delay. Leases are small, or all there
    is.
    """
    used = [_used_in_four_minutes(Random(seed)) for seed in range(100)]
    assert max(used) <= 2_000 * CENT
    assert sum(used) > 0.6 * 2_000 * CENT * len(used)


def _used_in_four_minutes(random: Random) -> int:
    pool, now_us = LeasePool(), 0
    replicas, unbilled, billed, used = [Replica(str(number)) for number in range(3)], list[tuple[int, int]](), 0, 0
    complete_us = 0
    while now_us < 240 * S:
        now_us += random.randrange(600_000)
        if random.random() < 0.1:
            # The biller has read the log.
            billed += sum(cost for due_us, cost in unbilled if due_us <= now_us)
            unbilled, complete_us = [one for one in unbilled if one[0] > now_us], now_us
        place, action = random.randrange(len(replicas)), random.random()
        replica = replicas[place]
        if action < 0.02:
            replicas[place] = Replica(f"{place} from {now_us}")
        elif action < 0.5:
            replica.calls += 1
            replica.sent.append((replica.calls, asking(replica.used, replica.held)))
        elif action < 0.8 and replica.sent:
            # The newest call, or one that it has overtaken. A replica waits for the answer of its newest call only.
            number, asked = replica.sent.pop(random.choice((0, -1)))
            rules = LeaseRules(lease_s=10, share=random.choice((0.02, 1.0)), click_delay_s=20)
            pool = LeasePool.from_json(json.loads(json.dumps(pool.as_json())))
            try:
                held = pool.renew(replica.name, number, asked, Billed(on_day=billed), complete_us, rules, now_us)
            except Aborted:
                continue
            if number == replica.calls and random.random() < 0.7:
                replica.held, replica.until_us = held, now_us + 10 * S
        elif now_us < replica.until_us and replica.used < replica.held:
            cost = min(random.randrange(1_000 * CENT), replica.held - replica.used)
            replica.used += cost
            used += cost
            unbilled.append((now_us + random.randrange(20 * S), cost))
    return used
