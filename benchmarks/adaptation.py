"""Adaptation of recommendations to a shopper whose interest changes, and the memory of long-term interests.

    python -m benchmarks.adaptation --out R.json

Shoppers of the demo shop have a month of simulated events (`demo.shoppers`). Each then clicks four products of one of
their favourite categories, and right after that products of a category that they had no interest in. After each click
the gateway recommends ten products; measured is the share of the new category among them.

Baselines: the oracle ranks by the true utilities, including the new interest; a strict oracle would only show the new
category. "nightly" is the same system with the profile of the night before. "last click" recommends products similar to
the last clicked one. The utility of ten recommended products is scaled from 0 (ten random products) to 1 (the oracle's
ten), during the session and one day later. The latency is the time from the acknowledgement of a click to the
recommendation that uses it. The CPU time of the same interval is that of client, gateway and all stages together, which
does not depend on other load.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from catalog.mapping import parse_mapping
from catalog.rows import read_rows
from demo.catalogue import DemoProduct, build_catalogue, write_catalogue
from demo.shoppers import DemoEvent, Shopper, build_shoppers, simulate_events, true_utility
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.in_process import in_process_suite

GOAL_EVENTS = 2
GOAL_EFFECT_P99_MS = 50.0
TOP = 10
DAYS = 30
BEFORE = 4  # clicks in a favourite category, right before the change
AFTER = 10  # clicks in the new category
NEW_INTEREST = 3.0  # utility of the new category, as in demo.shoppers
SESSION_STEP_S = 45
_BATCH = 500
# Idle seconds that show the end of the import's work: longer than retrieval waits before it builds the index.
_QUIET_S, _MOST_IDLING_S = 5, 120
POLICIES = ("kairos", "nightly", "last click")


@dataclass
class Session:
    """One shopper's clicks and the measurements. Lists have a value for 0, 1, 2 … clicks in the new category."""

    shopper: Shopper
    shelf: tuple[str, ...]
    before: list[DemoProduct]
    after: list[DemoProduct]
    oracle_share: float = 0.0
    shares: dict[str, list[float]] = field(default_factory=dict)
    utility: dict[str, list[float]] = field(default_factory=dict)
    day_after: dict[str, float] = field(default_factory=dict)

    def events_needed(self, policy: str) -> float:
        """Clicks until the share exceeds half of the oracle's; infinite if it never does."""
        passed = (clicks for clicks, share in enumerate(self.shares[policy]) if share > self.oracle_share / 2)
        return next(passed, math.inf)


class Shop:
    """The demo shop behind a gateway."""

    def __init__(self, stub: gateway_pb2_grpc.GatewayServiceStub, products: Sequence[DemoProduct]) -> None:
        self._stub, self._by_id = stub, {product.id: product for product in products}
        self._numbers = itertools.count()

    def import_all(self, folder: Path) -> None:
        file, mapping = folder / "catalogue.jsonl.gz", parse_mapping("", None, "USD")
        write_catalogue(file, list(self._by_id.values()))
        rows = [mapping.product(row.values) for row in read_rows(file)]
        bar = tqdm(range(0, len(rows), 100), desc="import", unit="00 products")
        messages = (gateway_pb2.ImportProductsRequest(products=rows[at : at + 100]) for at in bar)
        answer = self._stub.ImportProducts(messages)
        if answer.imported_count != len(rows):
            raise RuntimeError(f"{answer.imported_count} of {len(rows)} products were imported: {answer.rejected[:3]}")

    def clicks(self, user: str, items: Sequence[tuple[str, datetime]]) -> list[event_pb2.Event]:
        return [self.event(user, item_id, "click", moment) for item_id, moment in items]

    def event(self, user: str, item_id: str, kind: str, moment: datetime) -> event_pb2.Event:
        event = event_pb2.Event(
            event_id=f"e{next(self._numbers)}", user_id=user, item_id=item_id,
            type=event_pb2.EventType.Value(f"EVENT_TYPE_{kind.upper()}"),
        )  # fmt: skip
        event.occurred_at.FromDatetime(moment)
        return event

    def record(self, events: Sequence[event_pb2.Event]) -> None:
        for at in range(0, len(events), _BATCH):
            batch = events[at : at + _BATCH]
            answer = self._stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=batch))
            if answer.recorded_count != len(batch) or answer.missing_ids:
                raise RuntimeError(f"{answer.recorded_count} of {len(batch)} events were recorded")

    def recommended(self, user: str) -> list[DemoProduct]:
        return self._products(self._stub.Recommend(gateway_pb2.RecommendRequest(user_id=user, page_size=TOP)))

    def similar_to(self, item_id: str) -> list[DemoProduct]:
        return self._products(self._stub.Search(gateway_pb2.SearchRequest(similar_to_id=item_id, page_size=TOP)))

    def latest_event(self, user: str) -> str:
        return self._stub.GetProfile(gateway_pb2.GetProfileRequest(user_id=user)).profile.recent[0].event_id

    def _products(self, answer: gateway_pb2.RecommendResponse | gateway_pb2.SearchResponse) -> list[DemoProduct]:
        return [self._by_id[result.product.id] for result in answer.results]


def wait_until_idle() -> None:
    """Waits for the background work of an import: retrieval builds its index some seconds after the last write."""
    deadline, quiet = time.monotonic() + _MOST_IDLING_S, 0
    while quiet < _QUIET_S and time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(1)
        quiet = quiet + 1 if time.process_time() - before < 0.1 else 0


def draw_sessions(shoppers: Sequence[Shopper], products: Sequence[DemoProduct], seed: int) -> list[Session]:
    by_shelf: dict[tuple[str, ...], list[DemoProduct]] = {}
    for product in products:
        by_shelf.setdefault(product.category_path, []).append(product)
    drawn = []
    for shopper in shoppers:
        random = Random(f"{seed}/wishes/{shopper.id}")
        shelf = random.choice(sorted(set(by_shelf) - set(shopper.shelves)))
        favourite = random.choice(sorted(shopper.shelves))
        before, after = (
            [_clicked(shopper, random.sample(by_shelf[of], min(20, len(by_shelf[of]))), random) for _ in range(count)]
            for of, count in ((favourite, BEFORE), (shelf, AFTER))
        )
        drawn.append(Session(shopper, shelf, before, after))
    return drawn


def history(shop: Shop, events: Sequence[DemoEvent], now: datetime, user: str) -> list[event_pb2.Event]:
    """The month of events of one shopper as events of `user`, shifted so that it ended ten hours before `now`."""
    shift = now - timedelta(hours=10) - (max(event.time for event in events) if events else now)
    return [shop.event(user, event.item_id, event.type, event.time + shift) for event in events]


def follow(
    shop: Shop, session: Session, month: Sequence[DemoEvent], products: Sequence[DemoProduct]
) -> list[tuple[float, float]]:
    """Measures one shopper; returns (ms, CPU ms) from each acknowledgement to the recommendation after it."""
    now, user = datetime.now(UTC), session.shopper.id
    step = timedelta(seconds=SESSION_STEP_S)
    before = [(product.id, now - (BEFORE - n) * step) for n, product in enumerate(session.before)]
    for name in (user, f"{user}/nightly", f"{user}/yesterday"):
        shop.record(history(shop, month, now, name))
    shop.record(shop.clicks(user, before))
    whole = [*before, *((product.id, now + n * step) for n, product in enumerate(session.after))]
    shop.record(shop.clicks(f"{user}/yesterday", [(id, moment - timedelta(days=1)) for id, moment in whole]))

    lasting = {p.id: true_utility(session.shopper, p) for p in products}
    current = {p.id: lasting[p.id] + NEW_INTEREST * (p.category_path == session.shelf) for p in products}
    best = sorted(products, key=lambda p: -current[p.id])[:TOP]
    session.oracle_share = _share(best, session.shelf)
    effects_ms, last = list[tuple[float, float]](), session.before[-1]
    for product in [None, *session.after]:
        if product is not None:
            (click,) = shop.clicks(user, [(product.id, datetime.now(UTC))])
            shop.record([click])
            last, began, cpu = product, time.perf_counter(), time.process_time()
        top = {"kairos": shop.recommended(user)}
        if product is not None:
            effects_ms.append(((time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3))
            if shop.latest_event(user) != click.event_id:
                raise RuntimeError("a recommendation was made without the click before it")
        top |= {"nightly": shop.recommended(f"{user}/nightly"), "last click": shop.similar_to(last.id)}
        for policy, shown in top.items():
            session.shares.setdefault(policy, []).append(_share(shown, session.shelf))
            session.utility.setdefault(policy, []).append(_of_oracle(shown, current))
    yesterday = shop.recommended(f"{user}/yesterday")
    later = {"kairos": yesterday, "nightly": yesterday, "last click": shop.similar_to(last.id)}
    session.day_after = {policy: _of_oracle(shown, lasting) for policy, shown in later.items()}
    return effects_ms


def summary(measured: Sequence[Session], policy: str) -> dict[str, object]:
    needed = [session.events_needed(policy) for session in measured]
    shares = np.array([session.shares[policy] for session in measured])
    oracle = float(np.mean([session.oracle_share for session in measured]))
    passed = [clicks for clicks, share in enumerate(shares.mean(axis=0)) if share > oracle / 2]
    return {
        "events_needed_by_the_mean": passed[0] if passed else None,
        "events_needed_for_a_strict_oracle": next((n for n, s in enumerate(shares.mean(axis=0)) if s > 0.5), None),
        "events_needed_median": float(np.median(needed)) if math.isfinite(np.median(needed)) else None,
        "passed_within_the_goal": round(float(np.mean([clicks <= GOAL_EVENTS for clicks in needed])), 3),
        "share_after_clicks": shares.mean(axis=0).round(3).tolist(),
        "utility_after_clicks": np.mean([w.utility[policy] for w in measured], axis=0).round(3).tolist(),
        "utility_a_day_later": round(float(np.mean([w.day_after[policy] for w in measured])), 3),
    }


def _clicked(shopper: Shopper, shown: Sequence[DemoProduct], random: Random) -> DemoProduct:
    """A multinomial logit, as in demo.shoppers."""
    weights = [math.exp(true_utility(shopper, product)) for product in shown]
    return random.choices(shown, weights)[0]


def _share(shown: Sequence[DemoProduct], shelf: tuple[str, ...]) -> float:
    return sum(product.category_path == shelf for product in shown) / TOP


def _of_oracle(shown: Sequence[DemoProduct], utility: dict[str, float]) -> float:
    """Mean utility, scaled to 0 for random products and 1 for the oracle's."""
    mean, best = float(np.mean(list(utility.values()))), float(np.mean(sorted(utility.values())[-TOP:]))
    return (sum(utility[product.id] for product in shown) / TOP - mean) / (best - mean)


def _percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(milliseconds, p)), 1) for p in (50, 99)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--shoppers", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    products = build_catalogue(arguments.seed, arguments.size)
    shoppers = build_shoppers(products, arguments.shoppers, arguments.seed)
    months: dict[str, list[DemoEvent]] = {shopper.id: [] for shopper in shoppers}
    for event in simulate_events(shoppers, products, DAYS, arguments.seed):
        if event.item_id:
            months[event.user_id].append(event)
    measured, effects_ms = draw_sessions(shoppers, products, arguments.seed), list[tuple[float, float]]()
    with (
        # As in the processes of the running suite: further threads of numpy would compete with the servers.
        threadpool_limits(1, "blas"),
        tempfile.TemporaryDirectory(prefix="kairos-adaptation-") as folder,
        in_process_suite(Path(folder)) as suite,
        grpc.insecure_channel(suite.gateway_target) as channel,
    ):
        shop = Shop(gateway_pb2_grpc.GatewayServiceStub(channel), products)
        shop.import_all(Path(folder))
        wait_until_idle()
        for session in tqdm(measured, desc="shoppers"):
            effects_ms += follow(shop, session, months[session.shopper.id], products)
    report: dict[str, object] = {
        "products": len(products), "shoppers": len(shoppers), "seed": arguments.seed, "goal_events": GOAL_EVENTS,
        "oracle_share": round(float(np.mean([session.oracle_share for session in measured])), 3),
        "effect_ms": _percentiles([latency for latency, _ in effects_ms]),
        "effect_cpu_ms": _percentiles([cpu for _, cpu in effects_ms]),
    }  # fmt: skip
    table = Table(title=f"{len(shoppers)} shoppers with a new interest; the oracle's share is {report['oracle_share']}")
    headings = [
        "",
        "events needed",
        "strictly",
        "within 2",
        *(f"share after {n}" for n in (0, 1, 2, 4)),
        "utility",
        "a day later",
    ]
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for policy in POLICIES:
        one = summary(measured, policy)
        report[policy] = one
        shares, utility = (np.array(one[name]) for name in ("share_after_clicks", "utility_after_clicks"))
        needed, strictly = (
            f"over {AFTER}" if one[name] is None else str(one[name])
            for name in ("events_needed_by_the_mean", "events_needed_for_a_strict_oracle")
        )
        table.add_row(
            policy, needed, strictly, f"{one['passed_within_the_goal']:.0%}",
            *(f"{shares[n]:.2f}" for n in (0, 1, 2, 4)), f"{utility[2]:.2f}", f"{one['utility_a_day_later']:.2f}",
        )  # fmt: skip
    Console().print(table)
    print(f"Acknowledgement → recommendation: {report['effect_ms']} ms, {report['effect_cpu_ms']} ms of CPU.")
    print(f"Goals: at most {GOAL_EVENTS} events; p99 of the latency at most {GOAL_EFFECT_P99_MS:.0f} ms.")
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
