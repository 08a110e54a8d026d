"""What a quote costs: QuotePrices of pricing's handler, in this process and without a network; and within a search.

    python -m benchmarks.quotes --out R.json [--searches 500]

The calls of `--callers` callers, each of `--items` items, are answered from each kind of outbox in turn: one that keeps
nothing, the baseline, which is the computing alone; a SQLite file, with and without a delivery to a control that takes
everything at once; and a Redis stream, if `--redis` names one.

With `--searches` the suite of `kairos up` is started with the demo shop, and searched by one caller, with `--items`
results on a page: what is measured is the time from the gateway's call of pricing until the answer, in each search. It
is the most that quotes add to a search, since other calls run beside this one. On cores that are busy with other work
only the 5 % quantile says something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from ops.client import Connection
from ops.control import start
from ops.in_process import in_process_suite
from ops.settings import SuiteSettings
from services.common.outbox.delivery import Delivery
from services.common.outbox.outbox import EntryBatch, Outbox, OutboxBounds, OutboxSize, StoredBatch
from services.common.outbox.settings import OutboxSettings, build_outbox
from services.common.published import PublishedMetrics
from services.common.server_access import ServerAccessSettings
from services.common.telemetry import TelemetrySettings, configure_telemetry
from services.pricing.handler import PricingHandler
from services.pricing.policies import FollowedPolicies
from services.pricing.settings import PricingSettings

# Of the demo shop; and searches before those that count.
_PRODUCTS, _WARM_UP = 1_500, 50
_BOUNDS = OutboxBounds(1 << 62, 1 << 62)


@dataclass(frozen=True)
class Cost:
    """Prices in a second of time and of CPU of this process, and milliseconds of a call."""

    prices_per_s: float
    prices_per_cpu_s: float
    p50_ms: float
    p99_ms: float


class NoOutbox:
    """Keeps nothing."""

    bounds = _BOUNDS

    def append(self, batches: Sequence[EntryBatch]) -> None:
        return

    def oldest(self, most_entries: int, most_bytes: int, after: str = "") -> list[StoredBatch]:
        return []

    def remove(self, batches: Sequence[StoredBatch]) -> None:
        return

    def size(self) -> OutboxSize:
        return OutboxSize(0, 0, 0)

    def lease(self) -> nullcontext[bool]:
        return nullcontext(True)

    def close(self) -> None:
        return


class _Call:
    """The context of a call without a network."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def set_code(self, code: Any) -> None:
        raise RuntimeError(f"the call failed: {code}")


def request_of(items: int) -> pricing_pb2.QuotePricesRequest:
    """As the gateway asks: a part of the items is overstock, a part has bounds, a part is published."""
    asked = [
        pricing_pb2.PricedItem(
            item_id=f"item-{number:06}",
            list_price=common_pb2.Money(currency_code="USD", units=20 + number, nanos=990_000_000),
            cost=common_pb2.Money(currency_code="USD", units=10 + number // 2),
            stock=50 * (number % 5),
            created_at_seconds=1_700_000_000,
            offer=common_pb2.Money(currency_code="USD", units=19 + number) if number % 3 == 0 else None,
        )
        for number in range(items)
    ]
    return pricing_pb2.QuotePricesRequest(context=common_pb2.RequestContext(request_id="r" * 32), items=asked)


async def measured(handler: PricingHandler, items: int, callers: int, seconds: float) -> Cost:
    """Of the calls of some callers, each of whom waits for an answer before the next call."""
    content = request_of(items).SerializeToString()
    taken, until = list[float](), time.perf_counter() + seconds

    async def call() -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            request = pricing_pb2.QuotePricesRequest.FromString(content)
            answer = await handler.QuotePrices(request, _Call())
            answer.SerializeToString()
            taken.append((time.perf_counter() - began) * 1e3)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(callers)))
    spent, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    cuts = statistics.quantiles(taken, n=100)
    return Cost(len(taken) * items / spent, len(taken) * items / cpu_s, cuts[49], cuts[98])


@contextmanager
def control() -> Iterator[str]:
    """Takes entries and keeps nothing, so that its share of this process is small. Gives its address."""
    answer = audit_pb2.RecordEntriesResponse().SerializeToString()
    method: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: answer)
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 8 << 20)])
    handler = grpc.method_handlers_generic_handler("kairos.control.v1.AuditService", {"RecordEntries": method})
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def kinds(folder: Path, redis_url: str) -> dict[str, Callable[[], tuple[Outbox, bool]]]:
    """Each opens an outbox, and says whether it is delivered."""
    settings = OutboxSettings()
    found: dict[str, Callable[[], tuple[Outbox, bool]]] = {
        "no outbox": lambda: (NoOutbox(), False),
        "SQLite file": lambda: (build_outbox(settings, "benchmark", folder / "kept"), False),
        "SQLite file, delivered": lambda: (build_outbox(settings, "benchmark", folder / "delivered"), True),
    }
    if redis_url:
        found["Redis stream, delivered"] = lambda: (build_outbox(settings, "benchmark", folder, redis_url), True)
    return found


def measure(opened: Callable[[], tuple[Outbox, bool]], target: str, items: int, callers: int, seconds: float) -> Cost:
    settings = PricingSettings()
    outbox, is_delivered = opened()
    delivery = Delivery(outbox, ServerAccessSettings(target=target), 1.0) if is_delivered else None
    policies = FollowedPolicies(settings, settings.control, PublishedMetrics(CollectorRegistry(), "kairos_pricing"))
    handler = PricingHandler(policies, outbox, settings.quote_valid_s, delivery=delivery)
    try:
        return asyncio.run(measured(handler, items, callers, seconds))
    finally:
        handler.close()


@dataclass(frozen=True)
class Searched:
    """Milliseconds of pricing's answers, and of whole searches. All pages are full and none is degraded."""

    count: int
    pricing_p5_ms: float
    pricing_p50_ms: float
    pricing_p95_ms: float
    search_p5_ms: float
    search_p50_ms: float


def in_searches(items: int, count: int) -> Searched:
    """In a suite that is started and stopped here."""
    products, pricing, whole = build_catalogue(size=_PRODUCTS), list[float](), list[float]()
    queries = sorted({product.category_path[-1] for product in products})
    with tempfile.TemporaryDirectory(prefix="kairos-quotes-") as name:
        folder = Path(name) / "suite"
        with in_process_suite(folder) as suite:
            load_products(Connection(suite.gateway_target, timeout_s=60.0), folder, products)
        supervisor, state = start(SuiteSettings.on_free_ports(folder))
        try:
            with Connection(state.gateway).stub() as stub:
                for number in range(count + _WARM_UP):
                    asked = gateway_pb2.SearchRequest(
                        query=queries[number % len(queries)], visitor_id=f"v{number}", page_size=items, explain=True
                    )
                    began = time.perf_counter()
                    answer = stub.Search(asked, timeout=10)
                    took_s = time.perf_counter() - began
                    found = [each.latency_ms for each in answer.timings if each.stage == common_pb2.STAGE_PRICING]
                    if number >= _WARM_UP and not answer.degradations and len(answer.results) == items:
                        pricing.append(found[0])
                        whole.append(1e3 * took_s)
        finally:
            supervisor.terminate()
            supervisor.wait()
    of_pricing, of_search = (statistics.quantiles(each, n=20) for each in (pricing, whole))
    return Searched(len(pricing), of_pricing[0], of_pricing[9], of_pricing[18], of_search[0], of_search[9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--searches", type=int, default=0, help="in the running suite; 0: none")
    parser.add_argument("--redis", default="", help="a Redis that may be written to, for example redis://localhost/9")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    configure_telemetry("benchmark", TelemetrySettings(log_level="warning"))
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        target = stack.enter_context(control())
        opening = kinds(Path(folder), arguments.redis)
        for _ in range(arguments.rounds):
            for name, opened in opening.items():
                cost = measure(opened, target, arguments.items, arguments.callers, arguments.seconds)
                costs.setdefault(name, []).append(cost)
    searched = in_searches(arguments.items, arguments.searches) if arguments.searches else None
    best = {name: max(found, key=lambda cost: cost.prices_per_s) for name, found in costs.items()}
    columns = "outbox", "prices/s", "ratio", "prices/CPU s", "ratio", "p50 ms", "p99 ms"
    table = Table(*columns, title="The best round of each")
    base = best["no outbox"]
    for name, cost in best.items():
        table.add_row(
            name, f"{cost.prices_per_s:,.0f}", f"{cost.prices_per_s / base.prices_per_s:.2f}",
            f"{cost.prices_per_cpu_s:,.0f}", f"{cost.prices_per_cpu_s / base.prices_per_cpu_s:.2f}",
            f"{cost.p50_ms:.1f}", f"{cost.p99_ms:.1f}",
        )  # fmt: skip
    Console().print(table)
    if searched:
        print(
            f"{searched.count} searches: pricing {searched.pricing_p50_ms:.1f} ms p50 (goal 5), "
            f"{searched.pricing_p5_ms:.1f} p5, {searched.pricing_p95_ms:.1f} p95; "
            f"searches {searched.search_p50_ms:.1f} p50, {searched.search_p5_ms:.1f} p5"
        )
    if arguments.out:
        report = {
            "settings": vars(arguments),
            "costs": {name: [asdict(cost) for cost in found] for name, found in costs.items()},
            "searches": asdict(searched) if searched else None,
        }
        arguments.out.write_text(json.dumps(report, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
