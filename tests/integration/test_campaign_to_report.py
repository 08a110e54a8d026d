"""A campaign from its creation to its report, over the real services: control, auction, gateway, log and biller."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from typer.testing import CliRunner

from cli.main import app
from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.control_access import ControlAccessSettings
from services.common.gateway_access import GatewayAccessSettings
from services.sponsored.biller.metrics import BillerMetrics
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.biller.wiring import billing
from tests.integration.processes import Process, free_port, started

BUDGET_S = 20.0
CAMPAIGN = """\
kind: campaign
id: spring
campaign:
  advertiser: Lux
  payer: Lux Ltd.
  product_ids: [lamp-7]
  bid: {currency_code: USD, nanos: 400000000}
  daily_budget: {currency_code: USD, units: 20}
"""


def usd(units: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=units)


def kairos(control: str, *arguments: str) -> str:
    group, *others = arguments
    done = CliRunner().invoke(app, [group, "--target", control, *others])
    assert done.exit_code == 0, done.output
    return done.output


def eventually(find: Callable[[], Any]) -> Any:
    """What is found, which is not empty."""
    deadline = time.monotonic() + 60
    while not (found := find()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)  # leases and the log come a moment later
    return found


def import_lamps(stub: gateway_pb2_grpc.GatewayServiceStub) -> None:
    """Eight of one brand at the same price."""
    lamps = [
        product_pb2.Product(id=f"lamp-{n}", title=f"Desk lamp {n}", brand="Lux", price=usd(100), stock=9)
        for n in range(8)
    ]
    stub.ImportProducts(iter([gateway_pb2.ImportProductsRequest(products=lamps)]), timeout=BUDGET_S)


def label_of(answer: gateway_pb2.SearchResponse) -> str:
    """Of the advertised product, if it stands on a sponsored place."""
    found = [one.sponsored.campaign_id for one in answer.results if one.HasField("sponsored")]
    return found[0] if found else ""


def record(stub: gateway_pb2_grpc.GatewayServiceStub, token: str) -> None:
    """Ana clicks the ad, and buys the lamp and another one of the brand."""
    clicked = event_pb2.Event(
        event_id="e1", user_id="ana", item_id="lamp-7", type=event_pb2.EVENT_TYPE_CLICK, attribution_token=token
    )
    bought = [
        event_pb2.Event(
            event_id=f"e{item_id}", user_id="ana", item_id=item_id, type=event_pb2.EVENT_TYPE_PURCHASE, price=usd(90)
        )
        for item_id in ("lamp-7", "lamp-1")
    ]
    for events in ([clicked], bought, [clicked]):
        stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=BUDGET_S)


def test_a_campaign_from_creation_to_report(tmp_path: Path) -> None:
    """What a shopper sees, clicks and buys is in the report of the campaign, to the cent."""
    control = f"127.0.0.1:{free_port()}"
    environment = {
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path / "control"),
        "KAIROS_CONTROL_SERVER__PORT": control.partition(":")[2],
        "KAIROS_CONTROL_METRICS__PORT": "0",
    }

    def access(name: str) -> ControlAccessSettings:
        return ControlAccessSettings(target=control, folder=tmp_path / "published" / name)

    page = {"relevance_floor": 0, "maximum_loss": 1}
    with (
        started(Process("services.control", **environment)),
        in_process_suite(
            tmp_path / "suite", gateway={"control": access("gateway")},
            sponsored={"control": access("sponsored"), "turn_s": 0.1, "page": page},
        ) as suite,
        Connection(suite.gateway_target).stub() as stub,
    ):  # fmt: skip
        with grpc.insecure_channel(control) as channel:
            grpc.channel_ready_future(channel).result(60)
        import_lamps(stub)
        (tmp_path / "spring.yaml").write_text(CAMPAIGN)
        kairos(control, "control", "apply", "--publish", str(tmp_path / "spring.yaml"))
        asked = gateway_pb2.SearchRequest(query="desk lamp", user_id="ana", page_size=5)

        def advertised() -> gateway_pb2.SearchResponse | None:
            answer = stub.Search(asked, timeout=BUDGET_S)
            return answer if label_of(answer) == "spring" else None

        record(stub, eventually(advertised).attribution_token)
        settings = BillerSettings(
            gateway=GatewayAccessSettings(target=suite.gateway_target), control=access("biller"),
            data_dir=tmp_path / "biller",
        )  # fmt: skip
        with billing(settings, BillerMetrics(), time.time) as biller:

            def reported() -> dict[str, Any] | None:
                biller.turn(threading.Event())
                rows = json.loads(kairos(control, "campaigns", "report", "--json"))["campaigns"]
                return rows[0] if rows and float(rows[0]["same_brand_sales"]) else None

            row = eventually(reported)
    assert (row["campaign_id"], row["advertiser"], row["clicks"]) == ("spring", "Lux", 1)
    assert (row["sales"], row["same_brand_sales"]) == ("90.00", "90.00")
    # Nobody else bids: the click costs the reserve.
    assert (row["spend"], row["refused"]) == ("0.05", {})
