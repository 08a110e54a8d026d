"""LeaseBudgets over real gRPC: an answer, roles, and bad input with field and remedy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from kairos.control.v1 import budgets_pb2
from services.control.domain.limits import INTERVAL_S, MAX_LEASE_AMOUNT, MAX_LEASES
from services.control.settings import ApiKey
from tests.contract.controls import Client, digest_of, running, wrong_fields

CENT = 1_000_000


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[dict[str, Client]]:
    """By role, with the published campaign "c"."""
    keys = [ApiKey(sha256=digest_of(role), name=role, role=role) for role in ("admin", "recorder", "viewer")]
    async with running(tmp_path, *keys) as control:
        made = {key.name: Client(control.port, key.name) for key in keys}
        await made["admin"].publish(await made["admin"].create("campaign", "c"))
        yield made
        for client in made.values():
            await client.channel.close()


def asking(*campaign_ids: str) -> budgets_pb2.LeaseBudgetsRequest:
    """Of campaigns with 20 euros a day, and ten requests in the present interval."""
    request = budgets_pb2.LeaseBudgetsRequest(replica_id="r", call_number=1)
    for id in campaign_ids or ("c",):
        day = datetime.now(UTC).date().isoformat()
        limit = 2_000 * CENT
        request.asked.add(campaign_id=id, day=day, day_limit=limit, hour_limit=limit, least=40 * CENT)
    request.traffic.add(interval=int(time.time()) // INTERVAL_S, requests=10)
    return request


async def test_a_recorder_gets_leases(clients: dict[str, Client]) -> None:
    """A tenth of the budget for ten seconds, the traffic, and the ids that are no published campaign."""
    request = asking("gone", "c")
    request.traffic_from = request.traffic[0].interval
    answer = await clients["recorder"].call("LeaseBudgets", request)
    assert [(one.campaign_id, one.held) for one in answer.leased] == [("c", 200 * CENT)]
    assert (list(answer.missing_ids), answer.lease_duration.ToSeconds()) == (["gone"], 10)
    assert sum(answer.traffic) == 10
    with pytest.raises(grpc.aio.AioRpcError, match="needs a key"):
        await clients["viewer"].call("LeaseBudgets", request)
    with pytest.raises(grpc.aio.AioRpcError, match="larger call_number") as caught:
        await clients["recorder"].call("LeaseBudgets", request)
    assert caught.value.code() is grpc.StatusCode.ABORTED


BAD: list[tuple[Callable[[Any], Any], str, str]] = [
    (lambda one: one.ClearField("replica_id"), "replica_id", "send 1 to 128"),
    (lambda one: one.ClearField("call_number"), "call_number", "send a positive number"),
    (lambda one: setattr(one.asked[0], "campaign_id", "No id"), "asked[0].campaign_id", "a-z"),
    (lambda one: setattr(one.asked[0], "day", "today"), "asked[0].day", "send one such as"),
    (lambda one: setattr(one.asked[0], "day", "2020-01-01"), "asked[0].day", "correct the clock"),
    (lambda one: setattr(one.asked[0], "used", -1), "asked[0].used", "send 0 to"),
    (lambda one: setattr(one.asked[0], "total_limit", MAX_LEASE_AMOUNT + 1), "asked[0].total_limit", "send 0 to"),
    (lambda one: one.asked.append(one.asked[0]), "asked[1].campaign_id", "send each campaign once"),
    (lambda one: one.asked.extend([one.asked[0]] * MAX_LEASES), "asked", "at most 10000"),
    (lambda one: setattr(one.traffic[0], "interval", 1), "traffic[0].interval", "correct the clock"),
    (lambda one: setattr(one.traffic[0], "requests", -1), "traffic[0].requests", "send 0 to 1,000,000,000,000"),
    (lambda one: setattr(one.traffic[0], "requests", 10**12 + 1), "traffic[0].requests", "send 0 to 1,000,000,000,000"),
    (lambda one: one.traffic.append(one.traffic[0]), "traffic[1].interval", "send each interval once"),
    (lambda one: setattr(one, "traffic_from", -1), "traffic_from", "send the number of an interval"),
]


async def test_bad_input_names_field_and_remedy(clients: dict[str, Client]) -> None:
    """Each is INVALID_ARGUMENT, and nothing of the call is stored: the same call number is served afterwards."""
    for spoil, field, remedy in BAD:
        request = asking()
        spoil(request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await clients["recorder"].call("LeaseBudgets", request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, field
        assert remedy in wrong_fields(caught.value)[field], field
    assert len((await clients["recorder"].call("LeaseBudgets", asking())).leased) == 1
