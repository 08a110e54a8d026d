"""What merchandising rules add to a search, and how long a preview takes.

    python -m benchmarks.rules --out R.json

A suite in this process serves the demo shop with 5,000 rules. Each query is sent with rules and, right before or after
it, with `rules: RULES_MODE_OFF`, the baseline. It was sent before, so that both find the same in retrieval's cache.
The client is a process of its own. The interval is 95 %, by the bootstrap over queries. The look-up alone is measured
in CPU time, without the suite. Then 1,000 queries are previewed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from demo.catalogue import DemoProduct, build_catalogue
from demo.loading import load_products
from kairos.control.v1 import merchandising_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.merchandising import MAX_PHRASE_WORDS
from services.common.query_words import query_words
from services.gateway.adapters.rules_file import load_rules
from services.gateway.domain.rule_index import RuleContext, RuleIndex
from training.bootstrap import median_interval

FloatArray = npt.NDArray[np.floating]

_TIMEOUT_S = 60.0
_BRANDS = 3


def rules_of(products: Sequence[DemoProduct], count: int, random: Random) -> list[dict[str, Any]]:
    """Rules in English and Chinese about words of the titles, with all kinds of conditions and of orders."""
    made = list[dict[str, Any]]()
    for number in range(count):
        product = random.choice(products)
        title = product.title_zh if number % 4 == 0 else product.title
        words = title.split()
        start = random.randrange(max(1, len(words) - 2))
        text = " ".join(words[start : start + random.randint(2, 3)])
        if not 1 <= len(query_words(text)) <= MAX_PHRASE_WORDS:
            text = product.brand
        kind = random.choice(("equals", "starts_with", "contains", "contains"))
        action: dict[str, Any] = random.choice((
            {"pin": {"product_id": product.id, "position": random.randint(1, 10)}},
            {"boost": {"products": {"filter": {"brands": [product.brand]}}, "multiplier": random.choice((0.5, 2.0))}},
            {"banner": {"payload": f"banner {number}"}},
        ))  # fmt: skip
        made.append({"id": f"rule-{number}", "trigger": {"queries": [{kind: text}]}, "actions": [action]})
    return _distinct(made)


def _distinct(rules: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of rules that would be refused as the same, one gets another banner."""
    seen = set[str]()
    for rule in rules:
        key = json.dumps([rule["trigger"], rule["actions"]])
        if key in seen:
            rule["actions"] = [{"banner": {"payload": rule["id"]}}]
        seen.add(json.dumps([rule["trigger"], rule["actions"]]))
    return list(rules)


def queries_of(products: Sequence[DemoProduct], count: int, random: Random) -> list[str]:
    """Words of titles, in both languages."""
    found = []
    for number in range(count):
        product = random.choice(products)
        words = (product.title_zh if number % 4 == 0 else product.title).split()
        start = random.randrange(max(1, len(words) - 2))
        found.append(" ".join(words[start : start + 3])[:64])
    return found


def look_up(index: RuleIndex, queries: Sequence[str], rounds: int) -> dict[str, float]:
    """Microseconds of CPU of a look-up, with the words of the query."""
    taken = []
    for _ in range(rounds):
        for query in queries:
            began = time.thread_time()
            index.matches(RuleContext((query_words(query),), now_s=1e9))
            taken.append((time.thread_time() - began) * 1e6)
    return _quantiles(taken)


def compared(target: str, queries: Sequence[str], rounds: int) -> dict[str, Any]:
    """Milliseconds of a search with and without rules, one right after the other, and what rules add."""
    with Connection(target, timeout_s=_TIMEOUT_S).stub() as stub:

        def search(query: str, is_on: bool) -> int:
            mode = gateway_pb2.RULES_MODE_ON if is_on else gateway_pb2.RULES_MODE_OFF
            answer = stub.Search(gateway_pb2.SearchRequest(query=query, rules=mode), timeout=_TIMEOUT_S)
            return len(answer.merchandising.applied_rules)

        taken = np.zeros((len(queries), rounds, 2))
        applied = [search(query, True) for query in queries]
        for round_ in range(rounds):
            for number, query in enumerate(queries):
                # In turn, so that neither is always the second one.
                for is_on in (True, False) if (round_ + number) % 2 else (False, True):
                    began = time.perf_counter()
                    search(query, is_on)
                    taken[number, round_, int(is_on)] = (time.perf_counter() - began) * 1e3
    groups = {
        "all": list(range(len(queries))),
        "no_rule_applies": [number for number, count in enumerate(applied) if not count],
        "rules_apply": [number for number, count in enumerate(applied) if count],
    }
    return {name: _compared(taken[rows]) for name, rows in groups.items() if rows} | {
        "mean_rules_applied": statistics.mean(applied)
    }


def _compared(taken: FloatArray) -> dict[str, Any]:
    """`taken` [queries, rounds, 2]: without and with rules."""
    off, on = taken[:, :, 0], taken[:, :, 1]
    return {
        "searches": off.size, "with_rules_ms": _quantiles(on.ravel()), "without_ms": _quantiles(off.ravel()),
        "added_ms_p50": float(np.median(on - off)), "added_ms_interval": median_interval(on - off, seed=0),
        "ratio_p50": float(np.median(on) / np.median(off)),
    }  # fmt: skip


def _quantiles(values: Sequence[float] | FloatArray) -> dict[str, float]:
    return {f"p{percent}": float(np.percentile(values, percent)) for percent in (50, 95, 99)}


def measure(rule_count: int, size: int, query_count: int, rounds: int, previews: int) -> dict[str, Any]:
    random, products = Random(7), build_catalogue(size=size)
    rules, queries = rules_of(products, rule_count, random), queries_of(products, query_count, random)
    with tempfile.TemporaryDirectory(prefix="kairos-rules-") as name:
        folder = Path(name)
        file = folder / "rules.yaml"
        # JSON is YAML.
        file.write_text(json.dumps({"rules": rules}, ensure_ascii=False))
        began = time.perf_counter()
        index = RuleIndex(load_rules(file))
        read_s = time.perf_counter() - began
        report: dict[str, Any] = {
            "rules": len(index.rules), "products": size, "read_s": read_s,
            "look_up_us": look_up(index, queries, 20),
        }  # fmt: skip
        with in_process_suite(folder / "state", gateway={"merchandising_rules": file}) as suite:
            connection = Connection(suite.gateway_target, timeout_s=_TIMEOUT_S)
            load_products(connection, folder, products)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
                report["search"] = client.submit(compared, suite.gateway_target, queries, rounds).result()
            with connection.stub() as stub:
                report["preview"] = _preview(stub, products, queries_of(products, previews, random))
    return report


def _preview(stub: Any, products: Sequence[DemoProduct], queries: Sequence[str]) -> dict[str, Any]:
    """One rule that half of the queries or more have, and one that few have."""
    brands = list(dict.fromkeys(product.brand for product in products))[:_BRANDS]
    message = gateway_pb2.PreviewRulesRequest(queries=queries)
    boost = merchandising_pb2.Boost(multiplier=2)
    boost.products.filter.brands.extend(brands)
    message.rules.add(id="often", actions=[merchandising_pb2.RuleAction(boost=boost)])
    rare = message.rules.add(id="seldom", actions=[merchandising_pb2.RuleAction(boost=boost)])
    rare.trigger.queries.add(contains=brands[0])
    began, cpu_began = time.perf_counter(), time.process_time()
    answer = stub.PreviewRules(message, timeout=_TIMEOUT_S)
    return {
        "queries": len(set(queries)), "seconds": time.perf_counter() - began, "previews": len(answer.previews),
        "cpu_ms": (time.process_time() - cpu_began) * 1e3 / max(1, len(answer.previews)),
        "is_complete": answer.is_complete,
        "changed": sum(list(one.item_ids_before) != list(one.item_ids_after) for one in answer.previews),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=5_000)
    parser.add_argument("--products", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--previews", type=int, default=1_000, help="queries to preview, at most 1,000")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    report = measure(options.rules, options.products, options.queries, options.rounds, options.previews)
    table = Table("figure", "value", box=None)
    search, preview = report["search"], report["preview"]
    table.add_row("rules, read in", f"{report['rules']:,}, {report['read_s']:.2f} s")
    table.add_row("look-up, CPU p50 / p99", f"{report['look_up_us']['p50']:.0f} / {report['look_up_us']['p99']:.0f} µs")
    for name in ("no_rule_applies", "rules_apply", "all"):
        if not (part := search.get(name)):
            continue
        medians = f"{part['with_rules_ms']['p50']:.2f} / {part['without_ms']['p50']:.2f} ms"
        table.add_row(f"{name} ({part['searches']}): with rules / without, p50", medians)
        low, high = part["added_ms_interval"]
        added = f"{part['added_ms_p50']:.2f} ms [{low:.2f}, {high:.2f}], ratio {part['ratio_p50']:.3f}"
        table.add_row("  added, p50", added)
    table.add_row("preview", f"{preview['previews']:,} of {preview['queries']:,} queries in {preview['seconds']:.1f} s")
    table.add_row("  CPU of a query, of all stages", f"{preview['cpu_ms']:.1f} ms")
    Console().print(table)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
