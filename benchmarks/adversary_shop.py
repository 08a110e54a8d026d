"""The demo shop under attack: a suite in this process, its honest shoppers, and what a product's places are worth."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from catalog.rows import column_names
from demo.catalogue import DemoProduct, build_catalogue, write_catalogue
from demo.loading import load_events, load_products
from demo.pictures import write_pictures
from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from ops.in_process import in_process_suite

PAGE = 24
TIMEOUT_S = 60.0
_SHOPPERS, _BESTSELLERS = 200, 5
# Popular items are read again so often.
_REFRESH_S = 0.3


def worth(ids: Sequence[str], target: str) -> float:
    """1 for the first place, less for a lower one as in DCG, 0 beyond the page."""
    return 1 / math.log2(2 + ids.index(target)) if target in ids[:PAGE] else 0.0


def mean_worth(pages: Sequence[Sequence[str]], target: str) -> float:
    return sum(worth(ids, target) for ids in pages) / len(pages)


@dataclass
class Shop:
    """`bestsellers`: products that most honest shoppers acted on."""

    stub: Any
    products: Sequence[DemoProduct]
    bestsellers: Sequence[str]
    calls: int = field(default=0)

    def search(self, query: str, **fields: Any) -> list[str]:
        self.calls += 1
        answer = self.stub.Search(gateway_pb2.SearchRequest(query=query, page_size=PAGE, **fields), timeout=TIMEOUT_S)
        return [result.product.id for result in answer.results]

    def recommend(self, placement: str, **fields: Any) -> list[str]:
        self.calls += 1
        message = gateway_pb2.RecommendRequest(placement=placement, page_size=PAGE, **fields)
        return [result.product.id for result in self.stub.Recommend(message, timeout=TIMEOUT_S).results]

    def product(self, id: str) -> product_pb2.Product:
        answer: gateway_pb2.GetProductResponse = self.stub.GetProduct(
            gateway_pb2.GetProductRequest(id=id), timeout=TIMEOUT_S
        )
        return answer.product

    def put(self, product: product_pb2.Product, image: bytes = b"") -> None:
        """Raises ValueError if the gateway rejects it."""
        self.calls += 1
        message = gateway_pb2.ImportProductsRequest(products=[product], images=[image] if image else [])
        answer = self.stub.ImportProducts(iter([message]), timeout=TIMEOUT_S)
        if answer.rejected_count:
            raise ValueError(f"{product.id}: {answer.rejected[0].reason}")

    def record(self, events: Sequence[event_pb2.Event]) -> None:
        for first in range(0, len(events), 100):
            self.calls += 1
            message = gateway_pb2.RecordEventsRequest(events=events[first : first + 100])
            self.stub.RecordEvents(message, timeout=TIMEOUT_S)


def build(folder: Path, products: int, shoppers: int = _SHOPPERS, **settings: Any) -> list[str]:
    """A shop with honest shoppers, for `opened`; with an image encoder its products have pictures.

    Returns the bestsellers.
    """
    catalogue = build_catalogue(size=products)
    with _suite(folder / "state", **settings) as (connection, suite):
        if "encoder" in settings:
            _load_with_pictures(connection, folder, catalogue)
        else:
            load_products(connection, folder, catalogue)
        load_events(connection, folder, catalogue, shoppers)
        suite.wait_until_counted()
        with connection.stub() as stub:
            log = stub.ReadLog(_log_request(), timeout=TIMEOUT_S)
    counts = Counter(event.item_id for event in log.events if event.item_id)
    return [id for id, _ in counts.most_common(_BESTSELLERS)]


def _load_with_pictures(connection: Connection, folder: Path, catalogue: list[DemoProduct]) -> None:
    file = folder / "pictured.jsonl.gz"
    write_catalogue(file, catalogue)
    write_pictures(folder / "images", catalogue)
    mapping = parse_mapping("", column_names(file), "USD")
    CatalogImport(connection, mapping, Rejects(folder / "rejects.jsonl"), images=folder).run(file, quiet=True)


def _log_request() -> gateway_pb2.ReadLogRequest:
    return gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_EVENTS, page_size=500)


@contextlib.contextmanager
def opened(
    folder: Path, products: int, bestsellers: Sequence[str], is_copy: bool = False, **settings: Any
) -> Iterator[tuple[Shop, Any]]:
    """(shop, suite). With `is_copy` nothing that happens in it is kept."""
    state = folder / "state"
    if is_copy:
        state = folder / "copy"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(folder / "state", state)
    with _suite(state, **settings) as (connection, suite), connection.stub() as stub:
        yield Shop(stub, build_catalogue(size=products), bestsellers), suite
    if is_copy:
        shutil.rmtree(state, ignore_errors=True)


@contextlib.contextmanager
def _suite(state: Path, **settings: Any) -> Iterator[tuple[Connection, Any]]:
    gateway = {"search": {"popular_refresh_s": _REFRESH_S}, **settings.pop("gateway", {})}
    # Exploration would move products by chance.
    with in_process_suite(state, ranker={"exploration": 0.0}, random=Random(0), gateway=gateway, **settings) as suite:
        yield Connection(suite.gateway_target, timeout_s=TIMEOUT_S), suite
