"""The part of the demo where somebody pays for a place: a campaign from a file, its place, a click, the report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
import yaml
from rich.console import Console

from cli.campaign_report import rows_of
from cli.campaigns import bills_of, print_report
from cli.control_client import Client
from cli.control_files import read_resources
from cli.render import print_results
from cli.tour import TourFailed
from kairos.common.v1 import event_pb2
from kairos.control.v1 import control_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection

# One id for all tours, as of the rule: what a tour that was cut off has left is replaced.
CAMPAIGN, ADVERTISER = "kairos-tour", "Example Brand"
# Seconds of a call; until the campaign takes part, which is some three; and until the bill is there, which is some ten.
_BUDGET_S, _PATIENCE_S = 10.0, 60.0
_SHOWN = 8
_Found = TypeVar("_Found")


def show_campaign(
    connection: Connection, control: Connection, console: Console, folder: Path, query: str = "running shoes"
) -> None:
    """Advertises the products behind the first result of the query, and archives the campaign, also after a failure.

    `folder`: for the file. Raises TourFailed or grpc.RpcError.
    """
    with connection.stub() as shop:
        step = _Step(shop, connection, Client(control, ""), console, query)
        try:
            step.run(folder / "campaign.yaml")
        except typer.Exit:
            raise TourFailed("control refused a step of the campaign") from None
        finally:
            step.archive()


class _Step:
    def __init__(self, shop: Any, of_shop: Connection, control: Client, console: Console, query: str) -> None:
        self._shop, self._of_shop, self._control = shop, of_shop.metadata, control
        self._console, self._query = console, query
        # Nobody sees a campaign for ever.
        self._user = f"tour-{uuid.uuid4().hex[:8]}"

    def run(self, file: Path) -> None:
        self._console.print(f"\n[bold cyan]A campaign: somebody pays for a place in “{self._query}”")
        organic = self._search()
        file.write_text(_campaign(self._query, [result.product.id for result in organic.results[1:]]))
        self._console.print(f"  [dim]kairos control apply --publish[/] {file.name}")
        self._console.print(file.read_text(), style="dim", highlight=False)
        before = self._clicks()
        version = self._control.publish([self._control.apply(one)[1] for one in read_resources(file)]).snapshot_version
        answer = self._until(self._advertised, "no place is labelled as sponsored")
        print_results(self._console, answer.results[:4], answer.degradations)
        (ad,) = (result for result in answer.results if result.sponsored.campaign_id == CAMPAIGN)
        if not (ad.sponsored.advertiser and ad.sponsored.payer and ad.sponsored.targeting):
            raise TourFailed("the label of the sponsored place is not complete")
        self._console.print(f"  [dim]clicks[/] {ad.product.title} (snapshot {version})")
        self._click(ad.product.id, answer.attribution_token)
        self._until(lambda: self._clicks() > before or None, "the click is on no bill")
        print_report(self._console, rows_of(bills_of(self._control, CAMPAIGN), {}, is_daily=False), is_daily=False)

    def archive(self) -> None:
        kind = control_pb2.RESOURCE_KIND_CAMPAIGN
        present = self._control.resource(kind, CAMPAIGN)
        if present is not None and present.state != control_pb2.RESOURCE_STATE_ARCHIVED:
            named = control_pb2.ResourceReference(kind=kind, id=CAMPAIGN, etag=present.etag)
            self._control.call("ArchiveResource", control_pb2.ArchiveResourceRequest(resource=named))

    def _advertised(self) -> gateway_pb2.SearchResponse | None:
        answer = self._search()
        return answer if any(result.sponsored.campaign_id == CAMPAIGN for result in answer.results) else None

    def _search(self) -> gateway_pb2.SearchResponse:
        message = gateway_pb2.SearchRequest(query=self._query, user_id=self._user, page_size=_SHOWN)
        answer: gateway_pb2.SearchResponse = self._shop.Search(message, timeout=_BUDGET_S, metadata=self._of_shop)
        if len(answer.results) < 2:
            raise TourFailed("there are too few results for a campaign")
        return answer

    def _click(self, product_id: str, attribution_token: str) -> None:
        click = event_pb2.Event(
            event_id=uuid.uuid4().hex, user_id=self._user, item_id=product_id, type=event_pb2.EVENT_TYPE_CLICK,
            attribution_token=attribution_token,
        )  # fmt: skip
        request = gateway_pb2.RecordEventsRequest(events=[click])
        self._shop.RecordEvents(request, timeout=_BUDGET_S, metadata=self._of_shop)

    def _clicks(self) -> int:
        return sum(bill.clicks for bill in bills_of(self._control, CAMPAIGN))

    def _until(self, look: Callable[[], _Found | None], problem: str) -> _Found:
        """What it finds."""
        until_s = time.monotonic() + _PATIENCE_S
        while (found := look()) is None:
            if time.monotonic() > until_s:
                raise TourFailed(problem)
            time.sleep(0.2)  # until leases, log and bills have got on
        return found


def _campaign(query: str, product_ids: Sequence[str]) -> str:
    content = {
        "advertiser": ADVERTISER,
        "payer": f"{ADVERTISER} Holding Ltd.",
        "product_ids": list(product_ids),
        "bid": {"currency_code": "USD", "nanos": 400_000_000},
        "daily_budget": {"currency_code": "USD", "units": 20},
        "targets": {"queries": [{"contains": query}]},
    }
    return yaml.safe_dump({"kind": "campaign", "id": CAMPAIGN, "campaign": content}, sort_keys=False)
