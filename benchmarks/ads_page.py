"""What sponsored places cost a search: time, and relevance by human judgements.

    python -m benchmarks.ads_page --products P.csv.gz --judgements J.csv.gz --out R.json

P: product_uid, product_title. J: search_term, product_uid, relevance (1 to 3). A suite in this process serves the
products that are judged for `--queries` queries and `--others` further ones. 10,000 campaigns have five random
products of P each, also of those that are not served: they are as dense as in the whole catalogue. Budgets are large,
so that no campaign is kept out. Each query is sent with ads and, right before or after it, with `sponsored:
SPONSORED_MODE_OFF`, the baseline; it was sent before. The client is a process of its own.

NDCG@10 has gains 2^(relevance - 1) - 1, 0 for unjudged products: an ad without a judgement counts as wrong. The second
baseline sells the places without a floor of relevance. Intervals are 95 %, by the bootstrap over queries.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.ads_control import cents, publishing_control
from kairos.control.v1 import control_pb2, merchandising_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.control_access import ControlAccessSettings
from services.sponsored.domain.page import PageRules
from training.bootstrap import mean_interval, median_interval
from training.search.data import NDCG_DEPTH, Judgements, dcg, gain, read_judgements
from training.search.train import import_products

_SEED, _TIMEOUT_S, _ADVERTISERS, _TURN_S = 5, 60.0, 2_000, 0.5
# Queries at a time: a campaign that nobody asks for within a minute gives its lease back.
_CHUNK = 50
_MAP = "id=product_uid,title=product_title"


def campaigns_of(titles: Mapping[str, str], count: int, random: Random) -> control_pb2.Snapshot:
    """Of five random products each. Half of them want a word of the first product's title in the query."""
    ids, snapshot = sorted(titles), control_pb2.Snapshot(tenant="default", version=1)
    for number in range(count):
        chosen = random.sample(ids, 5)
        campaign = control_pb2.Campaign(
            advertiser=f"a{number % _ADVERTISERS}", payer="Payer", product_ids=chosen,
            bid=cents(random.randint(10, 200)), daily_budget=cents(10**9),
        )  # fmt: skip
        words = [word for word in titles[chosen[0]].split() if word.isalpha()]
        if words and random.random() < 0.5:
            campaign.targets.queries.append(merchandising_pb2.QueryCondition(contains=random.choice(words)))
        kind = control_pb2.RESOURCE_KIND_CAMPAIGN
        snapshot.resources.append(control_pb2.Resource(kind=kind, id=f"c{number}", version=1, campaign=campaign))
    return snapshot


def asked(target: str, queries: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """For each query the ids of both pages, the sponsored ones, and milliseconds [rounds, (without, with ads)]."""
    found = []
    with Connection(target, timeout_s=_TIMEOUT_S).stub() as stub:

        def search(query: str, is_on: bool) -> gateway_pb2.SearchResponse:
            mode = gateway_pb2.SPONSORED_MODE_ON if is_on else gateway_pb2.SPONSORED_MODE_OFF
            return stub.Search(gateway_pb2.SearchRequest(query=query, sponsored=mode), timeout=_TIMEOUT_S)

        for first in range(0, len(queries), _CHUNK):
            chunk = queries[first : first + _CHUNK]
            for query in chunk:
                search(query, True)
            # Campaigns that were asked for the first time have a lease now.
            time.sleep(4 * _TURN_S)
            for number, query in enumerate(chunk):
                taken, pages = np.zeros((rounds, 2)), dict[bool, gateway_pb2.SearchResponse]()
                for round_ in range(rounds):
                    # In turn, so that neither is always the second one.
                    for is_on in (True, False) if (round_ + number) % 2 else (False, True):
                        began = time.perf_counter()
                        pages[is_on] = search(query, is_on)
                        taken[round_, int(is_on)] = (time.perf_counter() - began) * 1e3
                ads = [result.product.id for result in pages[True].results if result.HasField("sponsored")]
                ids = {is_on: [result.product.id for result in page.results] for is_on, page in pages.items()}
                found.append(
                    {"query": query, "with": ids[True], "without": ids[False], "ads": ads, "ms": taken.tolist(),
                     "degraded": len(pages[True].degradations)}
                )  # fmt: skip
    return found


def cpu_added(target: str, queries: Sequence[str]) -> dict[str, float]:
    """Milliseconds of CPU of a search, of this process: of the suite with what it does in the background, and of the
    client. On busy cores they say more than times.
    """
    taken = {True: [0.0], False: [0.0]}
    with Connection(target, timeout_s=_TIMEOUT_S).stub() as stub:
        for round_ in range(4):
            is_on = bool(round_ % 2)
            mode = gateway_pb2.SPONSORED_MODE_ON if is_on else gateway_pb2.SPONSORED_MODE_OFF
            began = time.process_time()
            for query in queries:
                stub.Search(gateway_pb2.SearchRequest(query=query, sponsored=mode), timeout=_TIMEOUT_S)
            # Impressions are sent after a fifth of a second.
            time.sleep(1)
            taken[is_on].append((time.process_time() - began) * 1e3 / len(queries))
    return {"with_ms": sum(taken[True]) / 2, "without_ms": sum(taken[False]) / 2}


def time_added(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    taken = np.array([row["ms"] for row in rows])
    off, on = taken[:, :, 0], taken[:, :, 1]
    return {
        "searches": off.size, "without_ms_p50": float(np.median(off)), "with_ms_p50": float(np.median(on)),
        "added_ms_p50": float(np.median(on - off)), "added_ms_interval": median_interval(on - off, seed=0),
    }  # fmt: skip


def quality(rows: Sequence[Mapping[str, Any]], judgements: Judgements) -> dict[str, Any]:
    """NDCG@10 with and without ads; and how relevant ads are, beside the organic results that they moved."""
    with_ads, without, of_ads, of_moved, shown = [], [], [], [], 0
    for row in rows:
        judged = judgements[row["query"]]
        gains = {id: gain(relevance) for id, relevance in judged.items()}
        ideal = dcg(sorted(gains, key=gains.__getitem__, reverse=True), gains)
        if ideal > 0:
            with_ads.append(dcg(row["with"], gains) / ideal)
            without.append(dcg(row["without"], gains) / ideal)
        shown += len(row["ads"])
        for id in row["ads"]:
            before = row["without"][row["with"].index(id)]
            of_ads += [judged[one] for one in (id,) if one in judged]
            of_moved += [judged[one] for one in (before,) if one in judged]
    fall = np.array(without) - np.array(with_ads)
    return {
        "queries": len(without), "pages_with_ads": sum(bool(row["ads"]) for row in rows) / len(rows), "ads": shown,
        "ndcg_without": float(np.mean(without)), "ndcg_with": float(np.mean(with_ads)),
        "fall": float(fall.mean()), "fall_interval": mean_interval(fall, seed=0),
        "fall_share": float(fall.mean() / np.mean(without)),
        "judged_ads": len(of_ads), "relevance_of_ads": float(np.mean(of_ads)) if of_ads else None,
        "relevance_of_moved": float(np.mean(of_moved)) if of_moved else None,
        "degraded": sum(row["degraded"] for row in rows),
    }  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    random, judgements = Random(_SEED), read_judgements(options.judgements)
    queries = random.sample(sorted(judgements), min(options.queries, len(judgements)))
    with gzip.open(options.products, "rt", encoding="utf-8", newline="") as lines:
        catalogue = {row["product_uid"]: row["product_title"] for row in csv.DictReader(lines)}
    titles = _served(catalogue, {id for query in queries for id in judgements[query]}, options.others, random)
    snapshot = campaigns_of(catalogue, options.campaigns, random)
    report: dict[str, Any] = {"campaigns": options.campaigns, "products": len(titles)}
    with tempfile.TemporaryDirectory(prefix="kairos-ads-") as name, publishing_control(snapshot) as (_, control):
        folder = Path(name)
        served = folder / "products.csv"
        with served.open("w", newline="") as file:
            csv.writer(file).writerows([("product_uid", "product_title"), *titles.items()])
        floors: dict[str, dict[str, Any]] = {
            "default": {}, "without_floor": {"relevance_floor": 0.0, "maximum_loss": 1.0},
        }  # fmt: skip
        for name, page in floors.items():
            access = {of: ControlAccessSettings(target=control, folder=folder / of) for of in ("gateway", "sponsored")}
            sponsored = {"control": access["sponsored"], "turn_s": _TURN_S, "page": page}
            gateway = {"control": access["gateway"]}
            with in_process_suite(folder / "state", gateway=gateway, sponsored=sponsored) as suite:
                if name == "default":
                    import_products(suite, served, _MAP, folder)
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
                    rows = client.submit(asked, suite.gateway_target, queries, options.rounds).result()
                cpu = cpu_added(suite.gateway_target, queries[:_CHUNK])
            report[name] = {"time": time_added(rows), "cpu": cpu, **quality(rows, judgements)}
    report["bound"] = PageRules.maximum_loss
    return report


def _served(catalogue: Mapping[str, str], wanted: set[str], others: int, random: Random) -> dict[str, str]:
    rest = sorted(catalogue.keys() - wanted)
    chosen = wanted.union(random.sample(rest, min(others, len(rest))))
    return {id: title for id, title in catalogue.items() if id in chosen}


def show(report: Mapping[str, Any]) -> Table:
    table = Table("figure", "default", "without a floor", box=None)
    parts = [report["default"], report["without_floor"]]
    low_high = [part["fall_interval"] for part in parts]
    added = [part["time"]["added_ms_interval"] for part in parts]
    lines = {
        "pages with ads": [f"{part['pages_with_ads']:.1%}" for part in parts],
        "added to a search, ms p50": [
            f"{part['time']['added_ms_p50']:+.2f} [{low:.2f}, {high:.2f}]"
            for part, (low, high) in zip(parts, added, strict=True)
        ],
        "a search without ads, ms p50": [f"{part['time']['without_ms_p50']:.1f}" for part in parts],
        "CPU of a search without / with ads, ms": [
            f"{part['cpu']['without_ms']:.1f} / {part['cpu']['with_ms']:.1f}" for part in parts
        ],
        "NDCG@10 without / with ads": [f"{part['ndcg_without']:.4f} / {part['ndcg_with']:.4f}" for part in parts],
        "fall": [
            f"{part['fall_share']:.1%}, {part['fall']:.4f} [{low:.4f}, {high:.4f}]"
            for part, (low, high) in zip(parts, low_high, strict=True)
        ],
        "relevance of judged ads / of what they moved": [
            f"{part['relevance_of_ads'] or 0:.2f} ({part['judged_ads']}) / {part['relevance_of_moved'] or 0:.2f}"
            for part in parts
        ],
        "degraded answers": [str(part["degraded"]) for part in parts],
    }
    for name, values in lines.items():
        table.add_row(name, *values)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--judgements", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--others", type=int, default=2_000, help="products that no chosen query has a judgement for")
    parser.add_argument("--campaigns", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    report = measure(options)
    Console().print(f"{report['campaigns']:,} campaigns, {report['products']:,} products; pages of {NDCG_DEPTH}")
    Console().print(show(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
