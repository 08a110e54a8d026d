"""How many replicas, shards, cores and GiB a shop of some size takes: the arithmetic of docs/scaling.md.

    python -m benchmarks.sizing [--core-hour 0.03 --gib-hour 0.004] [--costs R.json]

From what benchmarks.request_costs measured. A price is an input: without one, only cores and GiB are told.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.scale import COSTS
from benchmarks.scale_model import POOLS

PRODUCTS = (10**5, 10**7, 10**9)
REQUESTS = (10, 10**3, 10**5)
# Share of a core that is used at the peak: queues are short, and a third of the machines may fail.
UTILISATION = 0.6
# At least so many of each, for one may die.
LEAST = 2
# GiB that one replica asks for in deploy/k8s.
REPLICA_GIB = {"gateway": 0.25, "query_encoder": 1.0, "retrieval": 0.5, "ranker": 0.5, "pricing": 1.0}
# Of a product in a Qdrant server: 384 float16, a graph of 32 links at the lowest level, 50 terms of number and weight,
# filters. Payload lies on the disk.
PRODUCT_BYTES = 2 * 384 + 4 * 34 + 8 * 50 + 200
# Beyond some millions of products: int8 in memory, float16 on the disk.
QUANTIZED_FROM, QUANTIZED_BYTES = 5 * 10**6, 384 + 4 * 34 + 8 * 50 + 200
# Products of one shard, a choice: quantised, what a node of 32 GiB holds with room to spare.
SHARD = 20 * 10**6
COPIES = 2
# Up to here retrieval keeps the products itself, in one process.
EMBEDDED = 10**6


@dataclass(frozen=True)
class Size:
    """`replicas` of each service; Qdrant's `shards`, each in two copies, with `engine_cores` in all."""

    replicas: Mapping[str, int]
    shards: int
    engine_cores: int
    gib: float

    @property
    def cores(self) -> int:
        return sum(self.replicas.values()) + self.engine_cores


def size_of(products: int, requests_s: float, cpu_ms: Mapping[str, float], search_ms: float) -> Size:
    """`cpu_ms`: of one request, by service. `search_ms`: of Qdrant for one shard.

    What retrieval takes of its own beside the engine is what its measured figure has above `search_ms`.
    """
    embedded = products <= EMBEDDED and _replicas(requests_s, cpu_ms["retrieval"]) <= LEAST
    own_ms = cpu_ms if embedded else {**cpu_ms, "retrieval": max(cpu_ms["retrieval"] - search_ms, 0.5)}
    replicas = {name: max(LEAST, _replicas(requests_s, own_ms[name])) for name in POOLS}
    memory = sum(REPLICA_GIB[name] * count for name, count in replicas.items())
    if embedded:
        replicas["retrieval"] = 1  # an embedded index belongs to one process
        return Size(replicas, 0, 0, memory + products * 2 * PRODUCT_BYTES / 2**30)
    shards = math.ceil(products / SHARD)
    # Every shard is asked for each search, in one of its copies.
    cores = max(COPIES * shards, _replicas(requests_s * shards, search_ms))
    a_product = QUANTIZED_BYTES if products >= QUANTIZED_FROM else PRODUCT_BYTES
    return Size(replicas, shards, cores, memory + COPIES * products * a_product / 2**30)


def _replicas(requests_s: float, cpu_ms: float) -> int:
    return math.ceil(requests_s * cpu_ms / 1e3 / UTILISATION)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--search-ms", type=float, default=3.0, help="CPU of Qdrant for a search in one shard")
    parser.add_argument("--core-hour", type=float, help="price of a core for an hour")
    parser.add_argument("--gib-hour", type=float, help="price of a GiB of memory for an hour")
    arguments = parser.parse_args()
    cpu_ms = json.loads(arguments.costs.read_text())["suite"]["cpu_ms"]
    table = Table("products", "requests/s", *POOLS, "shards", "engine cores", "cores", "GiB", "a month")
    for products in PRODUCTS:
        for requests_s in REQUESTS:
            size = size_of(products, requests_s, cpu_ms, arguments.search_ms)
            month = ""
            if arguments.core_hour is not None and arguments.gib_hour is not None:
                month = f"{730 * (size.cores * arguments.core_hour + size.gib * arguments.gib_hour):,.0f}"
            counts = [f"{size.replicas[name]:,}" for name in POOLS]
            numbers = (f"{size.shards:,}", f"{size.engine_cores:,}", f"{size.cores:,}", f"{size.gib:,.0f}")
            table.add_row(f"{products:,}", f"{requests_s:,}", *counts, *numbers, month)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
