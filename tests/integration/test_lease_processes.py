"""Ten replicas of sponsored and a real control, with kills of both: the budget holds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import grpc

from kairos.control.v1 import budgets_pb2, budgets_pb2_grpc
from services.common.control_access import ControlAccessSettings
from services.common.merchandising import Validity
from services.sponsored.adapters.grpc_budgets import GrpcBudgets
from services.sponsored.budgets import Budgets
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.pacing import PacingRules
from tests.contract.controls import Client, bill_of
from tests.integration.processes import Process, free_port, started
from tests.unit.sponsored.campaigns import campaign

TENANT, PRICE, BUDGET = "default", 40, 2_000
# Seconds: leases and clicks as they are set for this control, and how often the biller records.
LEASE_S, CLICK_S, BILLS_S = 0.6, 0.6, 0.15
# Half of the ads are clicked.
EXPECTED = PRICE * 0.5


@dataclass
class Shop:
    """Replicas by number; the clicks, each with its time; what the biller has recorded, by day. Amounts in cents."""

    target: str
    random: Random
    replicas: list[tuple[GrpcBudgets, Budgets]] = field(default_factory=list)
    clicks: list[float] = field(default_factory=list)
    shown: int = 0
    started: int = 0

    def start_replica(self, number: int) -> None:
        """In place of one that is killed: nothing of that is left."""
        for owner, _ in self.replicas[number : number + 1]:
            owner.close()
        self.started += 1
        owner = GrpcBudgets(ControlAccessSettings(target=self.target), f"replica-{self.started}")
        self.replicas[number : number + 1] = [(owner, Budgets(owner, PacingRules(), time.time))]

    def page(self, own: Campaign) -> None:
        """Of any replica, with an ad if its lease pays for it."""
        _, budgets = self.random.choice(self.replicas)
        if budgets.multiplier_of(TENANT, own) and budgets.take(TENANT, own.id, EXPECTED):
            self.shown += 1
            if self.random.random() < 0.5:
                self.clicks.append(time.time() + self.random.uniform(0, CLICK_S))

    def value(self) -> int:
        """Of the clicks until now."""
        return PRICE * sum(click_s <= time.time() for click_s in self.clicks)

    def bill(self, own: Campaign, bills: budgets_pb2_grpc.BudgetServiceStub) -> None:
        """As the biller does: after control was away, again."""
        request = budgets_pb2.RecordBillsRequest()
        request.complete_until.GetCurrentTime()
        value = self.value()
        euros, cents = divmod(value, 100)
        money = {"currency_code": "EUR", "units": str(euros), "nanos": cents * 10_000_000}
        day = own.day_of(time.time()).isoformat()
        request.bills.append(bill_of("c", day, value=money, amount=money))
        with contextlib.suppress(grpc.RpcError):
            bills.RecordBills(request, timeout=1)


@contextmanager
def controlled(folder: Path) -> Iterator[tuple[Process, str]]:
    """A control with the published campaign "c", and its address."""
    port = free_port()
    environment = {
        "KAIROS_CONTROL_DATA_DIR": str(folder), "KAIROS_CONTROL_SERVER__PORT": str(port),
        "KAIROS_CONTROL_METRICS__PORT": "0", "KAIROS_CONTROL_LEASES__LEASE_S": str(LEASE_S),
        "KAIROS_CONTROL_LEASES__CLICK_DELAY_S": str(CLICK_S),
    }  # fmt: skip
    with started(Process("services.control", **environment)) as control:
        yield control, f"127.0.0.1:{port}"


async def publish(target: str) -> None:
    client = Client(int(target.rpartition(":")[2]))
    await client.channel.channel_ready()
    await client.publish(await client.create("campaign", "c"))
    await client.channel.close()


def test_no_budget_is_overspent(tmp_path: Path) -> None:
    """By more than one click a replica, with kills of replicas and of control; and it is spent."""
    # It is about noon there: the day does not end.
    zone = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
    own, random = campaign(daily_budget=BUDGET, schedule=Validity(time_zone=zone)), Random(7)
    with controlled(tmp_path) as (control, target), grpc.insecure_channel(target) as channel:
        asyncio.run(publish(target))
        shop, bills = Shop(target, random), budgets_pb2_grpc.BudgetServiceStub(channel)
        for number in range(10):
            shop.start_replica(number)
        kills, billed_s, spent_s = [BUDGET // 4, BUDGET // 2], 0.0, 0.0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (spent_s and time.time() > spent_s + 3 * CLICK_S):
            for _ in range(20):
                shop.page(own)
            owner, budgets = random.choice(shop.replicas)
            budgets.turn()
            if time.time() >= billed_s + BILLS_S:
                billed_s = time.time()
                shop.bill(own, bills)
                if random.random() < 0.3:
                    shop.start_replica(random.randrange(10))
            if kills and shop.value() >= kills[0]:
                kills.pop(0)
                control.kill()
                control.start()
            if not spent_s and shop.value() >= 0.95 * BUDGET:
                spent_s = time.time()
        for owner, _ in shop.replicas:
            owner.close()
    assert not kills
    assert 0.95 * BUDGET <= PRICE * len(shop.clicks) <= BUDGET + 10 * PRICE
