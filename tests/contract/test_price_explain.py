"""`kairos price explain`: publisher, pricing, control and the command, from a decision to its explanation."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from typer.testing import CliRunner

from cli.audit_archive import AuditArchive
from cli.main import app
from cli.price_explain import Explained, explained, sentences
from kairos.common.v1 import common_pb2, offer_pb2, product_pb2
from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.control_access import ControlAccessSettings
from services.common.errors import InvalidArgument
from services.common.gateway_access import GatewayAccessSettings
from services.common.outbox.delivery import Delivery
from services.common.outbox.outbox import OutboxBounds
from services.common.outbox.settings import OutboxSettings
from services.common.outbox.sqlite_outbox import SqliteOutbox
from services.common.published import PublishedMetrics
from services.control.adapters.parquet_archive import ArchivedColumns, ParquetArchive
from services.control.convert_audit import entries_from_proto
from services.control.domain.audit import EntryKind
from services.control.price_decision import DECISION_COLUMNS, decision_values
from services.control.quoted_price import QUOTE_COLUMNS, quote_values
from services.control.settings import ApiKey
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.policy_set import Policy, PolicySet
from services.pricing.handler import PricingHandler
from services.pricing.policies import FollowedPolicies
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.outbox_record import recording
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from services.pricing.settings import PricingSettings
from tests.contract.controls import digest_of, entry_of, key_of, running
from tests.contract.test_price_publisher import Clock, usd
from tests.fakes.shop_gateway import FakeShopGateway, serving
from tests.fakes.waiting import until
from tests.unit.pricing.test_decisions import Learned

DAY_S = 86_400
# The beginning of a day, of which control takes entries.
START_S = (int(time.time()) // DAY_S - 3) * DAY_S
RAILS = Guardrails(Decimal("0.05"), Decimal("0.5"), Decimal(0), maximum_daily_change=Decimal("0.05"))
POLICIES = PolicySet(Policy("all", "greedy", Learned("70"), RAILS, DAY_S), "1")
DECISIONS = audit_pb2.ENTRY_KIND_PRICE_DECISION


@dataclass
class Shop:
    """A publisher and pricing, which deliver to a control."""

    publisher: PricePublisher
    pricing: pricing_pb2_grpc.PricingServiceAsyncStub
    gateway: FakeShopGateway
    clock: Clock
    thread: ThreadPoolExecutor

    async def work(self, at_s: float) -> None:
        self.clock.now_s = at_s
        while not await asyncio.get_running_loop().run_in_executor(self.thread, self.publisher.step):
            pass

    async def quote(self, at_s: float) -> pricing_pb2.PriceQuote:
        """Of the price that is published."""
        self.clock.now_s = at_s
        item = pricing_pb2.PricedItem(item_id="a", list_price=usd(10_000), cost=usd(6_000))
        published = self.gateway.received[-1]
        item.offer.CopyFrom(published.price)
        item.guardrail = published.guardrail
        request = pricing_pb2.QuotePricesRequest(context=common_pb2.RequestContext(request_id="r1"), items=[item])
        (made,) = (await self.pricing.QuotePrices(request)).quotes
        return made


@asynccontextmanager
async def shop(folder: Path, control: int) -> AsyncIterator[Shop]:
    """Keys of the role recorder deliver."""
    gateway, clock = FakeShopGateway(), Clock()
    gateway.put(product_pb2.Product(id="a", title="a", price=usd(10_000), cost=usd(6_000)))
    access = ControlAccessSettings(target=f"127.0.0.1:{control}", api_key=SecretStr(key_of("recorder")))
    outbox = SqliteOutbox(folder / "pricing", OutboxBounds(1_000, 1 << 20))
    policies = FollowedPolicies(
        PricingSettings(), ControlAccessSettings(), PublishedMetrics(CollectorRegistry(), "test")
    )
    pricing, server = PricingHandler(policies, outbox, 900, clock, Delivery(outbox, access, 0.05)), grpc.aio.server()
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(pricing, server)
    bound = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    loop = asyncio.get_running_loop()
    with (
        ThreadPoolExecutor(1) as thread,
        serving(gateway) as port,
        closing(GrpcShopGateway(GatewayAccessSettings(target=f"127.0.0.1:{port}"))) as calls,
        recording(OutboxSettings(interval_s=0.05), access, "default", folder / "publisher") as record,
    ):
        state = await loop.run_in_executor(thread, SqlitePublisherState, folder / "publisher")
        publisher = PricePublisher(calls, state, lambda: POLICIES, PublisherMetrics(), clock, record=record)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            yield Shop(publisher, pricing_pb2_grpc.PricingServiceStub(channel), gateway, clock, thread)
        await loop.run_in_executor(thread, state.close)
    await server.stop(None)
    pricing.close()


async def kairos(control: int, *arguments: str, expected: int = 0) -> str:
    """What `kairos price explain` prints."""
    options = ["--control", f"127.0.0.1:{control}", "--control-key", key_of("viewer")]
    command = ["price", "explain", *options, *arguments]
    done = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert done.exit_code == expected, done.output
    return done.output


async def test_a_quote_is_explained_after_prices_have_changed(tmp_path: Path) -> None:
    """The command names price, decision, policy, demand, guardrail and what the list price would have earned, as they
    were when the quote was given.
    """
    keys = [ApiKey(sha256=digest_of(name), name=name, tenant="*", role=name) for name in ("viewer", "recorder")]
    async with running(tmp_path / "control", *keys) as control:
        async with shop(tmp_path, control.port) as one:
            await one.work(START_S + 5)
            first = await one.quote(START_S + 60)
            for day in (1, 2):
                await one.work(START_S + day * DAY_S + 5)
            second = await one.quote(START_S + 2 * DAY_S + 60)
            stored = control.metrics.registry.get_sample_value
            await until(lambda: stored("kairos_control_audit_entries_total") == 5)
        assert (first.offer, second.offer) == (usd(9_500), usd(9_025))
        lines = dict(line.split(None, 1) for line in (await kairos(control.port, first.quote_id)).splitlines())
        assert lines["price"] == "USD 95.00 for a, -5.0% against the list price of USD 100.00."
        assert "greedy@1, price policy 'all'" in lines["policy"]
        assert lines["guardrail"] == (
            "Daily change held the price at USD 95.00 in place of USD 70.00. Allowed was USD 95.00 to USD 100.00."
        )
        assert "-2.0 % (90 % interval -2.8 % to -1.2 %)" in lines["elasticity"]
        assert "pieces a day were expected at this price" in lines["demand"]
        assert "the list price would have earned USD 110.93 (90 % interval USD 78.25 to USD 151.09)" in lines["profit"]
        assert lines["review"] == "No person was asked."
        found = json.loads(await kairos(control.port, second.quote_id, "--json"))
        assert found["decision"]["price_decision"]["price_before"] == {"currency_code": "USD", "units": "95"}
        assert found["decision_applies"]
        assert "archive" in await kairos(control.port, "unknown", expected=1)


def test_what_is_archived_is_found(tmp_path: Path) -> None:
    """From the Parquet files come the entries that went into them: the quote by its id, the decisions of its product
    before it, the newest first, of the tenant only.
    """
    columns = {
        EntryKind.PRICE_QUOTE: ArchivedColumns(QUOTE_COLUMNS, quote_values),
        EntryKind.PRICE_DECISION: ArchivedColumns(DECISION_COLUMNS, decision_values),
    }
    archive = ParquetArchive(str(tmp_path), columns)
    quote, decisions = entry_of("q1", START_S + 7_300), [entry(60, 9_000), entry(3_700, 8_000), entry(8_000, 7_000)]
    for made in decisions:
        made.subject_id = made.price_decision.item_id = "p1"
        made.price_decision.elasticity.low = -3.0
        made.price_decision.guardrail = offer_pb2.PRICE_GUARDRAIL_REVIEW
        made.price_decision.stock = 0
    for made in (quote, *decisions):
        (stored,) = entries_from_proto([made], time.time())
        hour = f"{made.recorded_at.ToDatetime():%Y-%m-%dT%H}-{made.id.replace(' ', '-')}"
        archive.write(hour, stored.kind, [("shop", stored)], 1)
    assert AuditArchive(str(tmp_path), "other").quote("q1") is None
    read = AuditArchive(str(tmp_path), "shop")
    assert read.quote("q1") == quote
    before = datetime.fromtimestamp(START_S + 7_300, UTC)
    assert list(read.decisions("p1", before)) == decisions[1::-1]
    with pytest.raises(InvalidArgument, match="--archive"):
        AuditArchive(str(tmp_path / "none"), "")


async def test_without_control_the_remedy_is_named() -> None:
    """Where nothing listens, the command says that it needs control and how to name it."""
    assert "needs control" in (told := await kairos(1, "q1", expected=2))
    assert "--control" in told


def entry(at_s: int, cents: int, list_id: str = "", listed: int = 10_000) -> audit_pb2.AuditEntry:
    made = audit_pb2.PriceDecision(price=usd(cents), list_price=usd(listed), base_price=usd(listed))
    made.price_list_id, made.model_version = list_id, "rules@1"
    found = audit_pb2.AuditEntry(id=f"{at_s} {cents}", price_decision=made)
    found.recorded_at.FromSeconds(START_S + at_s)
    return found


def quoted(at_s: int, cents: int, list_id: str = "", is_computed: bool = True, **item: str) -> audit_pb2.AuditEntry:
    found = audit_pb2.AuditEntry()
    quote = found.quoted_price.quote
    quote.offer.CopyFrom(usd(cents))
    quote.list_price.CopyFrom(usd(10_000))
    quote.quoted_at.FromSeconds(START_S + at_s)
    if is_computed:
        quote.guardrail = offer_pb2.PRICE_GUARDRAIL_NONE
    found.quoted_price.item.price_list_id = list_id
    for name, value in item.items():
        setattr(found.quoted_price.item, name, value)
    return found


NEWEST_FIRST = [entry(3_000, 10_000), entry(2_000, 8_000), entry(1_500, 7_000, "b2b"), entry(1_000, 9_000)]


@pytest.mark.parametrize(
    ("quote", "decision"),
    [
        (quoted(3_500, 10_000, is_computed=False), "3000 10000"),
        # Computed prices go on until the next one is published, also if that takes long.
        (quoted(3_500, 8_000), "2000 8000"),
        (quoted(3_500, 9_000), "1000 9000"),
        # A price list of its own, and one that has the default list's price.
        (quoted(3_500, 7_000, "b2b"), "1500 7000"),
        (quoted(3_500, 8_000, "club"), "2000 8000"),
    ],
)
def test_the_decision_of_a_quote(quote: audit_pb2.AuditEntry, decision: str) -> None:
    """It has the quote's price, and is the newest one of the quote's price list that has it."""
    found = explained(quote, NEWEST_FIRST)
    assert found.is_in_force
    assert found.decision is not None
    assert found.decision.id == decision


@pytest.mark.parametrize(
    ("quote", "decisions", "text"),
    [
        (quoted(3_500, 8_500, is_computed=False), NEWEST_FIRST, "computed prices were switched off"),
        (quoted(3_500, 8_500, is_computed=False, place_id="store"), NEWEST_FIRST, "the place has a price of its own"),
        (quoted(3_500, 10_000, is_computed=False), [entry(5, 8_000, listed=9_000)], "changed its price from USD 90.00"),
        (quoted(3_500, 10_000, is_computed=False), [], "the shop's own price applies"),
        (quoted(3_500, 8_500), NEWEST_FIRST, "the role recorder"),
    ],
)
def test_a_price_that_no_decision_led_to(
    quote: audit_pb2.AuditEntry, decisions: list[audit_pb2.AuditEntry], text: str
) -> None:
    """The explanation says why, and names what to do if a record is missing."""
    found = explained(quote, decisions)
    assert not found.is_in_force
    assert text in dict(sentences(found))["decision"]


@pytest.mark.parametrize(
    ("review", "text"),
    [
        (audit_pb2.PRICE_REVIEW_WAITING, "waited for a person; the price stayed"),
        (audit_pb2.PRICE_REVIEW_APPROVED, "A person has approved the price (review price-1)"),
        (audit_pb2.PRICE_REVIEW_REJECTED, "A person has rejected a similar price"),
    ],
)
def test_reviews_are_told(review: Any, text: str) -> None:
    """Whether a person was asked, and what the person said."""
    decision = entry(5, 9_000)
    decision.price_decision.review, decision.price_decision.review_id = review, "price-1"
    found = Explained(quoted(60, 9_000), decision, is_in_force=True)
    assert text in dict(sentences(found))["review"]
