"""The merchandiser's part of the demo, with a gateway that follows a control."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo_rule import RULE, show_rule
from kairos.control.v1 import control_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from services.control.server import ControlServer
from tests.contract.controls import Client, running
from tests.contract.gateways import Running, ids, running_gateway, search, stages
from tests.contract.test_published import access
from tests.fakes.stages import FakeStages

__all__ = ["stages"]  # a fixture


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlServer]:
    async with running(tmp_path / "control") as started:
        yield started


async def shown(gateway: Running, control: ControlServer) -> str:
    """What the step prints."""
    said = io.StringIO()
    shop, of_control = (Connection(f"127.0.0.1:{port}") for port in (gateway.gateway.port, control.port))
    await asyncio.to_thread(show_rule, shop, of_control, Console(file=said, width=200), "shoes")
    return said.getvalue()


async def whole(gateway: Running) -> gateway_pb2.SearchResponse:
    """An answer that no stage missed: a busy machine orders a degraded answer otherwise."""
    while True:
        answer: gateway_pb2.SearchResponse = await gateway.stub.Search(search(), timeout=10)
        if not answer.degradations:
            return answer


async def test_the_shop_is_as_it_was(control: ControlServer, stages: FakeStages, tmp_path: Path) -> None:
    """The step shows the pinned product and names its rule; afterwards no rule is effective and the order is that of
    before. A second tour, and one after a tour that was cut off, do the same.
    """
    client = Client(control.port)
    async with running_gateway(stages, control=access(control.port, tmp_path / "published")) as gateway:
        before = ids(await whole(gateway))
        for tour in range(3):
            said = await shown(gateway, control)
            assert f"published {RULE}: pin Product " in said
            assert f"the answer names {RULE}" in said
            answer = await whole(gateway)
            assert (ids(answer), list(answer.merchandising.applied_rules)) == (before, [])
            listed = control_pb2.ListResourcesRequest(state=control_pb2.RESOURCE_STATE_ARCHIVED)
            (rule,) = (await client.call("ListResources", listed)).resources
            assert rule.published_version == 0
            if tour == 1:
                sent = control_pb2.UpdateResourceRequest(resource=rule)
                await client.publish((await client.call("UpdateResource", sent)).resource)
    await client.channel.close()
