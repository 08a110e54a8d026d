"""Processes: kill -9 of the biller and of control while the log is read and bills are recorded."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from random import Random

import grpc

from kairos.control.v1 import budgets_pb2, budgets_pb2_grpc, control_pb2, control_pb2_grpc
from services.sponsored.domain.facts import Fact
from tests.contract.controls import reference_to, resource_of
from tests.fakes.event_log import FakeEventLog
from tests.integration.processes import Process, free_port, started, wait_for
from tests.unit.sponsored.campaigns import click_on, impression

ADS = 600
# Of a call, during which a killed control may have to start again.
CALL_S = 60.0


def test_each_click_is_billed_once(tmp_path: Path) -> None:
    """Control has every click once, though both were killed while records came three times in random order."""
    random, began_s = Random(5), time.time() - 7_200.0
    log = FakeEventLog(most=20)  # type: ignore[abstract]
    shown = [
        impression(n, "c", price=random.randint(1, 90), shown_s=began_s + n, expected_clicks=0.5) for n in range(ADS)
    ]
    clicks = [click_on(one) for one in shown[::2]]
    records: list[Fact] = [*shown, *clicks] * 3
    random.shuffle(records)
    target = f"127.0.0.1:{free_port()}"
    control = {
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path / "control"),
        "KAIROS_CONTROL_SERVER__PORT": target.partition(":")[2],
        "KAIROS_CONTROL_METRICS__PORT": "0",
    }
    with (
        log.serving() as gateway,
        started(Process("services.control", **control)) as controlling,
        grpc.insecure_channel(target, [("grpc.max_reconnect_backoff_ms", 200)]) as channel,
    ):
        grpc.channel_ready_future(channel).result(timeout=60)
        publish(channel)
        biller = {
            "KAIROS_BILLER_DATA_DIR": str(tmp_path / "biller"),
            "KAIROS_BILLER_GATEWAY__TARGET": gateway,
            "KAIROS_BILLER_CONTROL__TARGET": target,
            "KAIROS_BILLER_CONTROL__FOLDER": str(tmp_path / "published"),
            "KAIROS_BILLER_METRICS__PORT": "0",
            "KAIROS_BILLER_POLL_S": "0.02",
        }
        with started(Process("services.sponsored", **biller)) as billing:
            step = len(records) // 60
            for turn, first in enumerate(range(0, len(records), step)):
                log.add(*records[first : first + step])
                if turn == 20:
                    wait_for(partial(has_clicks, channel, 1))
                    billing.kill()
                    billing.start()
                if turn == 40:
                    wait_for(partial(has_clicks, channel, len(clicks) // 2))
                    controlling.kill()
                    controlling.start()
            wait_for(partial(has_clicks, channel, len(clicks)))
            found = bills(channel)
    prices = {one.key: one.price for one in shown}
    owed = sum(bill.amount.units * 100 + bill.amount.nanos // 10**7 for bill in found)
    assert owed == sum(prices[click.key] for click in clicks)
    assert sum(bill.impressions for bill in found) == ADS
    assert not [bill for bill in found if bill.refused]


def publish(channel: grpc.Channel) -> None:
    """The campaign "c", whose budget pays for all clicks."""
    stub = control_pb2_grpc.ControlServiceStub(channel)
    resource = resource_of("campaign", "c")
    resource.campaign.daily_budget.units = 1_000
    made = stub.CreateResource(control_pb2.CreateResourceRequest(resource=resource), timeout=CALL_S).resource
    stub.PublishResources(control_pb2.PublishResourcesRequest(resources=[reference_to(made)]), timeout=CALL_S)


def bills(channel: grpc.Channel) -> list[budgets_pb2.Bill]:
    stub = budgets_pb2_grpc.BudgetServiceStub(channel)
    return list(stub.ListBills(budgets_pb2.ListBillsRequest(), timeout=CALL_S, wait_for_ready=True).bills)


def has_clicks(channel: grpc.Channel, count: int) -> bool:
    return sum(bill.clicks for bill in bills(channel)) >= count
