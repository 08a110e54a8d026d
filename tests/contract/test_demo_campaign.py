"""The campaign's part of the demo, with a gateway that follows a control; the auction and the biller are played."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from rich.console import Console

from cli.demo_campaign import ADVERTISER, CAMPAIGN, show_campaign
from kairos.control.v1 import budgets_pb2, control_pb2
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from tests.contract.controls import Client, bill_of, running
from tests.contract.gateways import running_gateway, stages
from tests.contract.test_gateway_rules import RANKED
from tests.contract.test_gateway_sponsored import place
from tests.contract.test_published import access
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

__all__ = ["stages"]  # a fixture


async def test_a_campaign_comes_to_its_report(stages: FakeStages, tmp_path: Path) -> None:
    """The step shows the file, the labelled place and the billed click; afterwards no campaign is effective."""
    said = io.StringIO()
    stages.retrieval.relevances = dict.fromkeys(RANKED, 0.75)
    label = {"campaign_id": CAMPAIGN, "advertiser": ADVERTISER, "payer": "Payer"}
    stages.sponsored.places = [place(RANKED[3], 1, **label)]
    async with (
        running(tmp_path / "control") as control,
        running_gateway(stages, control=access(control.port, tmp_path / "published")) as gateway,
    ):
        client = Client(control.port)

        async def bill() -> None:
            await until(lambda: any(isinstance(one, ranker_pb2.RecordEventsRequest) for one in stages.ranker.requests))
            await client.call("RecordBills", budgets_pb2.RecordBillsRequest(bills=[bill_of(CAMPAIGN)]))

        shop, of_control = (Connection(f"127.0.0.1:{port}") for port in (gateway.gateway.port, control.port))
        console = Console(file=said, width=200)
        biller = asyncio.create_task(bill())
        await asyncio.to_thread(show_campaign, shop, of_control, console, tmp_path, "shoes")
        await biller
        listed = control_pb2.ListResourcesRequest(state=control_pb2.RESOURCE_STATE_ARCHIVED)
        (campaign,) = (await client.call("ListResources", listed)).resources
        await client.channel.close()
    for part in (
        f"advertiser: {ADVERTISER}",
        f"Sponsored · {ADVERTISER} · paid by Payer",
        "clicks Product",
        "EUR 2.50",
    ):
        assert part in said.getvalue()
    assert (campaign.id, campaign.published_version) == (CAMPAIGN, 0)
