"""Updates of offers: how many a second, how soon a search has them, what they cost in memory.

    python -m benchmarks.offers --products 50000 --out R.json

Parts, for each number of generated products, all on Qdrant Edge:

- "stream": offers through the gateway's UpdateOffers, with all services in one process;
- "index": batches of 1,000 at the index, and after each batch the effective offers that a search reads: "visible" is
  the time from the call until they have the batch;
- "book": the offers of memory alone.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.results import Results
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.convert import product_to_proto
from services.common.convert_offers import offer_to_proto
from services.common.money import Money
from services.common.offers import Offer
from services.common.process import keep_freed_memory
from services.common.product import Product
from services.common.visibility import SEES_ALL
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.index import QdrantIndex
from services.retrieval.domain.candidates import IndexedProduct
from services.retrieval.domain.catalogue.effective import EffectiveOffers, own_offers
from services.retrieval.domain.offers.book import OfferBook
from services.retrieval.domain.offers.context import OfferContext
from services.retrieval.settings import Bm25Settings, EdgeSettings

GOALS = {"updates_per_s": 5_000.0, "visible_s": 1.0, "view_ms": 1.0, "megabytes_a_million": 250.0}
TENANT = "default"
_BATCH, _IMPORT = 1_000, 500
# Lists and places of the offers, and the context that searches use: its chain has four places.
_LISTS, _PLACES = ("", "club"), ("", *(f"store-{number}" for number in range(9)))
_CONTEXT = OfferContext("club", "EUR", "store-1")


def offers(products: int, seed: int = 0) -> Iterator[tuple[str, int, Offer]]:
    """(product id, its number, offer) without end; each is later than the one before."""
    chance = np.random.default_rng(seed)
    for time_ns in itertools.count(time.time_ns() - 10**15):
        number = int(chance.integers(products))
        price = Money("EUR", Decimal(int(chance.integers(100, 100_000))) / 100)
        offer = Offer(
            time_ns,
            _LISTS[int(chance.integers(len(_LISTS)))],
            _PLACES[int(chance.integers(len(_PLACES)))],
            price=price,
            stock=int(chance.integers(20)),
        )
        yield f"p{number}", number, offer


def fill(folder: Path, products: int) -> None:
    """An index of products without vectors."""
    index = QdrantIndex(EdgeCollections(folder, EdgeSettings()), Bm25Encoder(Bm25Settings()))
    for start in range(0, products, _IMPORT):
        batch = [Product(f"p{number}", "Lamp") for number in range(start, min(start + _IMPORT, products))]
        indexed = [IndexedProduct(product, product_to_proto(product).SerializeToString()) for product in batch]
        index.upsert(TENANT, indexed, None)
    index.close()


def measure_stream(folder: Path, products: int, count: int) -> dict[str, float]:
    sent = [offer_to_proto(id, offer) for id, _, offer in itertools.islice(offers(products), count)]
    messages = [gateway_pb2.UpdateOffersRequest(offers=sent[at : at + _BATCH]) for at in range(0, count, _BATCH)]
    with in_process_suite(folder) as suite, Connection(suite.gateway_target).stub() as stub:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        answer = stub.UpdateOffers(iter(messages), timeout=3_600)
        seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    assert answer.updated_count + answer.stale_count == count, answer
    return {"updates_per_s": count / seconds, "updates_per_cpu_s": count / cpu_s}


def measure_index(folder: Path, products: int, count: int) -> dict[str, float]:
    began_s = time.perf_counter()
    collections = EdgeCollections(folder, EdgeSettings())
    opened_s = time.perf_counter() - began_s
    index = QdrantIndex(collections, Bm25Encoder(Bm25Settings()))
    catalogue, generated = collections.catalogue(TENANT), offers(products, 1)
    assert catalogue is not None

    def search() -> None:
        """What a search reads of the offers."""
        with catalogue.reading(_CONTEXT, time.time(), SEES_ALL):
            pass

    for id, _, offer in itertools.islice(generated, 3 * _BATCH):
        # So that the list and the place have offers.
        index.update_offers(TENANT, [(id, offer)])
    search()
    visible, views = list[float](), list[float]()
    for _ in range(count // _BATCH):
        batch = [(id, offer) for id, _, offer in itertools.islice(generated, _BATCH)]
        began_s = time.perf_counter()
        index.update_offers(TENANT, batch)
        stored_s = time.perf_counter()
        search()
        visible.append(time.perf_counter() - began_s)
        views.append(time.perf_counter() - stored_s)
    index.close()
    updates_per_s = len(visible) * _BATCH / sum(visible)
    return {"updates_per_s": updates_per_s, "visible_s": max(visible), "open_s": opened_s} | _of_views(views)


def measure_book(products: int, count: int) -> dict[str, float]:
    """Views between batches of 50 updates: 5,000 updates and 100 searches a second."""
    book, base = OfferBook(), base_offers(products)
    generated = [(number, offer) for _, number, offer in itertools.islice(offers(products), count)]
    tracemalloc.start()
    for row, offer in generated:
        book.update(row, offer)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    built_s = _seconds(lambda: book.view(_CONTEXT, time.time(), base))
    later = [(row, replace(offer, updated_at_ns=time.time_ns())) for row, offer in generated[:5_000]]
    views = list[float]()
    began_s = time.perf_counter()
    for start in range(0, len(later), 50):
        for row, offer in later[start : start + 50]:
            book.update(row, offer)
        views.append(_seconds(lambda: book.view(_CONTEXT, time.time(), base)))
    updates_s = time.perf_counter() - began_s - sum(views)
    return {
        "offers": float(len(book)),
        "megabytes_a_million": held / len(book),
        "updates_per_s": len(later) / updates_s,
        "first_view_ms": built_s * 1e3,
    } | _of_views(views)


def base_offers(products: int) -> EffectiveOffers:
    prices, stocks = np.full(products, np.nan), np.full(products, -1, np.int64)
    return own_offers(prices, np.zeros(products, np.uint16), stocks)


def _of_views(seconds: Sequence[float]) -> dict[str, float]:
    return {"view_ms": float(np.median(seconds)) * 1e3, "view_p95_ms": float(np.percentile(seconds, 95)) * 1e3}


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, nargs="+", default=[50_000])
    parser.add_argument("--offers", type=int, default=50_000, help="Offers of each part.")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    # As every service does: large arrays are made of memory that the process has already.
    keep_freed_memory()
    results = Results(arguments.out, {"offers": arguments.offers})
    table = Table("products", "part", "figure", "value", "goal")
    for products in arguments.products:
        with tempfile.TemporaryDirectory() as name:
            for part, figures in _measured(results, Path(name), products, arguments.offers):
                for figure, value in figures.items():
                    table.add_row(f"{products:,}", part, figure, f"{value:,.2f}", f"{GOALS.get(figure, '')}")
    Console().print(table)


def _measured(results: Results, folder: Path, products: int, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    def filled(measure: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
        def work() -> dict[str, float]:
            if not (folder / "retrieval").is_dir():
                fill(folder / "retrieval", products)
            return measure() | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

        return work

    parts = {
        "book": lambda: measure_book(products, max(count, products)),
        "stream": filled(lambda: measure_stream(folder, products, count)),
        "index": filled(lambda: measure_index(folder / "retrieval", products, count)),
    }
    for part, work in parts.items():
        yield part, results.part(f"{part}, {products} products", work)


if __name__ == "__main__":
    main()
