"""CPU time of one search in each service: the input of `benchmarks.scale` and of docs/how-to/scale.md.

    python -m benchmarks.request_costs --out R.json

Starts the suite under Ray Serve with the demo shop and its shoppers' events, lets known shoppers search from several
threads without a pause, and divides the CPU seconds of each process by the number of answers. The client's CPU does not
count; Ray's own processes and HAProxy have rows of their own. The caches of the stages are off. The cores are busy on
purpose: on an idle machine one search after the other costs up to twice as much, since the caches of an idle core are
cold.

Retrieval is also measured alone by the size of the catalogue, with random vectors, the hardest case for an HNSW graph.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil
from qdrant_edge import EdgeShard
from rich.console import Console

from benchmarks import caches
from benchmarks.closed_load import Load, Phase
from benchmarks.scale_model import POOLS
from demo.catalogue import build_catalogue
from demo.loading import load_shop
from ops.client import Connection
from ops.control import start
from ops.processes import suite_processes
from ops.settings import SuiteSettings
from services.common.arrays import FloatArray, unit_rows
from services.common.convert import product_to_proto
from services.common.product import Product
from services.retrieval.domain.candidates import IndexedProduct
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.ports import Vectors
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_retriever

CANDIDATES = 200
_TIMEOUT_S = 60.0
_WARM_UP_S = 20.0
_DIMENSIONS = 384
_SHOPPERS = 100


def costs(seconds: float, threads: int, size: int) -> dict[str, Any]:
    """Milliseconds of CPU of a search, by service."""
    catalogue = build_catalogue(size=size)
    with tempfile.TemporaryDirectory(prefix="kairos-costs-") as name:
        supervisor, state = start(SuiteSettings.on_free_ports(Path(name) / "suite"))
        try:
            connection = Connection(state.gateway, timeout_s=_TIMEOUT_S)
            users = load_shop(connection, Path(name), catalogue, _SHOPPERS)
            titles = [" ".join(product.title.split()[:4]) for product in catalogue]
            measured, rest = Phase("measured"), Phase("after it")
            with Load(connection, threads, titles, users) as load:
                time.sleep(_WARM_UP_S)
                before, began = _cpu_seconds(Path(name) / "suite"), time.monotonic()
                load.enter(measured)
                time.sleep(seconds)
                load.enter(rest)
                after, took_s = _cpu_seconds(Path(name) / "suite"), time.monotonic() - began
        finally:
            supervisor.terminate()
            supervisor.wait()
    if measured.errors:
        raise SystemExit(f"searches failed, so their cost is unknown: {dict(measured.errors)}")
    answered = len(measured.seconds)
    cpu_ms = defaultdict[str, float](float)
    for process, cpu_s in after.items():
        service = process if process in (*POOLS, "haproxy") else "ray"
        cpu_ms[service] += 1e3 * (cpu_s - before.get(process, 0)) / answered
    return {
        "searches": answered, "degradations": dict(measured.degradations),
        "searches_per_second": round(answered / took_s, 1), "threads": threads, "products": size,
        "cpu_ms": {service: round(ms, 2) for service, ms in cpu_ms.items()},
    }  # fmt: skip


def _cpu_seconds(data_dir: Path) -> dict[str, float]:
    """CPU seconds by the name of the process."""
    seconds = defaultdict[str, float](float)
    for process in suite_processes(data_dir):
        seconds[process.name] += process.cpu_seconds
    return seconds


def retrieval_costs(size: int, searches: int = 200) -> dict[str, float]:
    """Of one process with `size` products and an optimised index: CPU milliseconds a search, bytes a product."""
    random, draw = Random(size), np.random.default_rng(size)
    words = sorted({word for product in build_catalogue() for word in product.title.split()})
    with tempfile.TemporaryDirectory(prefix="kairos-costs-") as name:
        settings = RetrievalSettings(data_dir=Path(name))
        index = build_retriever(settings).index
        for start in range(0, size, 1_000):
            count = min(1_000, size - start)
            products = [Product(f"p{start + number}", " ".join(random.sample(words, 8))) for number in range(count)]
            indexed = [
                IndexedProduct(product, product_to_proto(product).SerializeToString(), product.id.encode())
                for product in products
            ]
            index.upsert("default", indexed, Vectors(_random_vectors(draw, count), "random@1"))
        index.close()
        (generation,) = Path(name).glob("default/generation-*")
        shard = EdgeShard.load(str(generation))
        shard.optimize()
        shard.close()
        resident = psutil.Process().memory_info().rss
        retriever = build_retriever(settings)
        try:
            times = list[float]()
            for vector in _random_vectors(draw, searches):
                text = " ".join(random.sample(words, 3))
                query = RetrievalQuery(text, vector[None], "random@1", limit=CANDIDATES, with_vectors=True)
                began = time.process_time()
                retriever.retrieve("default", query)
                times.append(time.process_time() - began)
            grown = psutil.Process().memory_info().rss - resident
        finally:
            retriever.index.close()
    return {
        "products": size,
        "cpu_ms": round(1e3 * statistics.median(times), 2),
        "bytes_per_product": round(grown / size),
    }


def _random_vectors(draw: np.random.Generator, count: int) -> FloatArray:
    """[count, dimensions], unit rows."""
    return unit_rows(draw.normal(size=(count, _DIMENSIONS)).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of searches; 0 measures retrieval alone")
    parser.add_argument("--threads", type=int, default=4, help="that search without a pause")
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[5_000, 20_000, 50_000], help="of retrieval's catalogues"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    caches.switch_off()
    report: dict[str, Any] = {"retrieval": [retrieval_costs(size) for size in arguments.sizes]}
    if arguments.seconds:
        report["suite"] = costs(arguments.seconds, arguments.threads, arguments.size)
    Console().print_json(data=report)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
