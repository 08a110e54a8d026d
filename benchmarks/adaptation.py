"""How soon recommendations follow a shopper whose wish changes, and whether what was always liked is forgotten.

    python -m benchmarks.adaptation --out R.json

Shoppers of the demo shop have a month behind them (`demo.shoppers`). Each then clicks four products of a shelf that
they are fond of, and right after that wishes for another one, which they never cared for, and clicks products there.
After each click the gateway recommends ten products; what counts is the share of them that lie on the wished shelf.

An oracle knows the true utilities and the wish; a strict one would show the wished shelf alone. "nightly" is the same
system with the profile of the night before. "last click" recommends what is most like the product clicked last. The
utility of ten products is told from 0, what ten products drawn by lot would have, to 1, what the oracle's have: during
the wish, and a day after it. The latency is from the acknowledgement of a click to the recommendation that knows of it;
beside it stands the CPU time of that stretch, of client, gateway and all stages together: it does not grow with what
else the machine does.
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
BEFORE = 4  # clicks on an old love, right before the wish changes
AFTER = 10  # clicks on the new wish
WISH = 3.0  # utility of the wished shelf, as in demo.shoppers
SESSION_STEP_S = 45
_BATCH = 500
# Longer than retrieval waits before it builds the index.
_QUIET_S, _MOST_IDLING_S = 5, 120
POLICIES = ("kairos", "nightly", "last click")


@dataclass
class Wishes:
    """One shopper's clicks, and what is measured with them. Lists have a value for 0, 1, 2 … clicks on the new wish."""

    shopper: Shopper
    shelf: tuple[str, ...]
    before: list[DemoProduct]
    after: list[DemoProduct]
    oracle_share: float = 0.0
    shares: dict[str, list[float]] = field(default_factory=dict)
    utility: dict[str, list[float]] = field(default_factory=dict)
    day_after: dict[str, float] = field(default_factory=dict)

    def events_needed(self, policy: str) -> float:
        """Clicks until the share passes half of the oracle's; infinite where it never does."""
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

    def clicks(self, user: str, acts: Sequence[tuple[str, datetime]]) -> list[event_pb2.Event]:
        return [self.event(user, item_id, "click", moment) for item_id, moment in acts]

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

    def like(self, item_id: str) -> list[DemoProduct]:
        return self._products(self._stub.Search(gateway_pb2.SearchRequest(similar_to_id=item_id, page_size=TOP)))

    def newest_act(self, user: str) -> str:
        return self._stub.GetProfile(gateway_pb2.GetProfileRequest(user_id=user)).profile.recent[0].event_id

    def _products(self, answer: gateway_pb2.RecommendResponse | gateway_pb2.SearchResponse) -> list[DemoProduct]:
        return [self._by_id[result.product.id] for result in answer.results]


def wait_until_idle() -> None:
    """What an import leaves to do (the index is built when nobody writes any more) is no part of a shopper's wait."""
    deadline, quiet = time.monotonic() + _MOST_IDLING_S, 0
    while quiet < _QUIET_S and time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(1)
        quiet = quiet + 1 if time.process_time() - before < 0.1 else 0


def draw_wishes(shoppers: Sequence[Shopper], products: Sequence[DemoProduct], seed: int) -> list[Wishes]:
    by_shelf: dict[tuple[str, ...], list[DemoProduct]] = {}
    for product in products:
        by_shelf.setdefault(product.category_path, []).append(product)
    drawn = []
    for shopper in shoppers:
        random = Random(f"{seed}/wishes/{shopper.id}")
        shelf = random.choice(sorted(set(by_shelf) - set(shopper.shelves)))
        old_love = random.choice(sorted(shopper.shelves))
        before, after = (
            [_clicked(shopper, random.sample(by_shelf[of], min(20, len(by_shelf[of]))), random) for _ in range(count)]
            for of, count in ((old_love, BEFORE), (shelf, AFTER))
        )
        drawn.append(Wishes(shopper, shelf, before, after))
    return drawn


def history(shop: Shop, events: Sequence[DemoEvent], now: datetime, user: str) -> list[event_pb2.Event]:
    """The month of one shopper, which ended yesterday, as `user`'s."""
    shift = now - timedelta(hours=10) - (max(event.time for event in events) if events else now)
    return [shop.event(user, event.item_id, event.type, event.time + shift) for event in events]


def follow(
    shop: Shop, wishes: Wishes, month: Sequence[DemoEvent], products: Sequence[DemoProduct]
) -> list[tuple[float, float]]:
    """Measures one shopper; gives (milliseconds, of CPU) from each acknowledgement to the recommendation after it."""
    now, user = datetime.now(UTC), wishes.shopper.id
    step = timedelta(seconds=SESSION_STEP_S)
    before = [(product.id, now - (BEFORE - n) * step) for n, product in enumerate(wishes.before)]
    for name in (user, f"{user}/nightly", f"{user}/yesterday"):
        shop.record(history(shop, month, now, name))
    shop.record(shop.clicks(user, before))
    whole = [*before, *((product.id, now + n * step) for n, product in enumerate(wishes.after))]
    shop.record(shop.clicks(f"{user}/yesterday", [(id, moment - timedelta(days=1)) for id, moment in whole]))

    worth = {p.id: true_utility(wishes.shopper, p) for p in products}
    wished = {p.id: worth[p.id] + WISH * (p.category_path == wishes.shelf) for p in products}
    best = sorted(products, key=lambda p: -wished[p.id])[:TOP]
    wishes.oracle_share = _share(best, wishes.shelf)
    felt_ms, last = list[tuple[float, float]](), wishes.before[-1]
    for product in [None, *wishes.after]:
        if product is not None:
            (click,) = shop.clicks(user, [(product.id, datetime.now(UTC))])
            shop.record([click])
            last, began, cpu = product, time.perf_counter(), time.process_time()
        top = {"kairos": shop.recommended(user)}
        if product is not None:
            felt_ms.append(((time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3))
            if shop.newest_act(user) != click.event_id:
                raise RuntimeError("a recommendation was made without the click before it")
        top |= {"nightly": shop.recommended(f"{user}/nightly"), "last click": shop.like(last.id)}
        for policy, shown in top.items():
            wishes.shares.setdefault(policy, []).append(_share(shown, wishes.shelf))
            wishes.utility.setdefault(policy, []).append(_of_oracle(shown, wished))
    yesterday = shop.recommended(f"{user}/yesterday")
    later = {"kairos": yesterday, "nightly": yesterday, "last click": shop.like(last.id)}
    wishes.day_after = {policy: _of_oracle(shown, worth) for policy, shown in later.items()}
    return felt_ms


def summary(measured: Sequence[Wishes], policy: str) -> dict[str, object]:
    needed = [wishes.events_needed(policy) for wishes in measured]
    shares = np.array([wishes.shares[policy] for wishes in measured])
    oracle = float(np.mean([wishes.oracle_share for wishes in measured]))
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
    """0: as good as by lot. 1: as good as the oracle's."""
    by_lot, best = float(np.mean(list(utility.values()))), float(np.mean(sorted(utility.values())[-TOP:]))
    return (sum(utility[product.id] for product in shown) / TOP - by_lot) / (best - by_lot)


def _percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(milliseconds, p)), 1) for p in (50, 99)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
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
    measured, felt_ms = draw_wishes(shoppers, products, arguments.seed), list[tuple[float, float]]()
    with (
        # As the running suite's processes have it: other threads of numpy's spin beside those that serve.
        threadpool_limits(1, "blas"),
        tempfile.TemporaryDirectory(prefix="kairos-adaptation-") as folder,
        in_process_suite(Path(folder)) as suite,
        grpc.insecure_channel(suite.gateway_target) as channel,
    ):
        shop = Shop(gateway_pb2_grpc.GatewayServiceStub(channel), products)
        shop.import_all(Path(folder))
        wait_until_idle()
        for wishes in tqdm(measured, desc="shoppers"):
            felt_ms += follow(shop, wishes, months[wishes.shopper.id], products)
    report: dict[str, object] = {
        "products": len(products), "shoppers": len(shoppers), "seed": arguments.seed, "goal_events": GOAL_EVENTS,
        "oracle_share": round(float(np.mean([wishes.oracle_share for wishes in measured])), 3),
        "until_felt_ms": _percentiles([latency for latency, _ in felt_ms]),
        "until_felt_cpu_ms": _percentiles([cpu for _, cpu in felt_ms]),
    }  # fmt: skip
    table = Table(title=f"{len(shoppers)} shoppers whose wish changes; the oracle's share is {report['oracle_share']}")
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
    print(f"Acknowledged → felt: {report['until_felt_ms']} ms, of CPU {report['until_felt_cpu_ms']} ms.")
    print(f"Goals: within {GOAL_EVENTS} events; felt within {GOAL_EFFECT_P99_MS:.0f} ms, p99.")
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
