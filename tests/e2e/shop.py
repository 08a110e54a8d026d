"""The shop over gRPC, as the tests call it. It records every acknowledged write."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import grpc

from catalog.mapping import parse_mapping
from catalog.rows import read_rows
from demo.catalogue import build_catalogue, write_catalogue
from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc

# One second more than the gateway's maximum: an answer at the last moment still arrives on a busy machine.
BUDGET_S = 3.0
# The time limit of a write, as of a shop's nightly job.
WRITE_S = 30.0
_PRODUCTS_IN_A_MESSAGE = 100
_TRIES = 10
# Maximum number of events or ids in one call.
_AT_ONCE = 1_000


@lru_cache
def catalogue_file(folder: Path, size: int) -> Path:
    """A small edition of the demo shop as an import file."""
    path = folder / f"demo-{size}.jsonl.gz"
    write_catalogue(path, build_catalogue(size=size))
    return path


def products_of(path: Path) -> list[product_pb2.Product]:
    mapping = parse_mapping("", None, "USD")
    return [mapping.product(row.values) for row in read_rows(path)]


@dataclass
class Shop:
    stub: gateway_pb2_grpc.GatewayServiceStub
    products: list[product_pb2.Product] = field(repr=False)

    def search(
        self, query: str, user: str = "", metadata: Sequence[tuple[str, str]] = ()
    ) -> gateway_pb2.SearchResponse:
        message = gateway_pb2.SearchRequest(query=query, user_id=user, page_size=20, explain=True)
        return self.stub.Search(message, timeout=BUDGET_S, metadata=tuple(metadata))

    def whole_search(self, query: str, user: str) -> gateway_pb2.SearchResponse:
        """A search that no late stage has changed; on a busy machine one may be."""
        for _ in range(_TRIES):
            answer = self.search(query, user)
            if not answer.degradations:
                return answer
        raise AssertionError(f"{_TRIES} searches were degraded: {answer.degradations}")

    def total(self) -> int:
        """Products, each variant counted."""
        request = gateway_pb2.SearchRequest(collapse=product_pb2.COLLAPSE_MODE_NONE)
        return self.stub.Search(request, timeout=BUDGET_S).total_size

    def import_all(self, products: Iterable[product_pb2.Product]) -> gateway_pb2.ImportProductsResponse:
        return self.stub.ImportProducts(_messages(list(products)), timeout=WRITE_S)

    def record(self, events: Sequence[event_pb2.Event]) -> gateway_pb2.RecordEventsResponse:
        return self.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events), timeout=WRITE_S)

    def click(self, user: str, ids: Sequence[str], token: str = "") -> None:
        """Clicks that count for the person. On a busy machine retrieval may be too late for the features of their
        products: such events count for popularity only, and others are sent.
        """
        for _ in range(_TRIES):
            answer = self.record(clicks(user, ids, token))
            if not answer.degradations:
                return
        raise AssertionError(f"{_TRIES} recordings were degraded: {answer.degradations}")

    def quote(self, ids: Sequence[str]) -> gateway_pb2.QuotePricesResponse:
        return self.stub.QuotePrices(gateway_pb2.QuotePricesRequest(product_ids=ids), timeout=BUDGET_S)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """The ids that GetProduct does not find."""
        missing = []
        for id in ids:
            try:
                self.stub.GetProduct(gateway_pb2.GetProductRequest(id=id), timeout=WRITE_S)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                missing.append(id)
        return missing

    def are_recorded(self, events: Sequence[event_pb2.Event]) -> bool:
        """Whether every event is reported as a duplicate when it is sent again."""
        answers = [self.record(events[start : start + _AT_ONCE]) for start in range(0, len(events), _AT_ONCE)]
        return sum(answer.duplicate_count for answer in answers) == len(events)

    def delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _AT_ONCE):
            message = gateway_pb2.DeleteProductsRequest(ids=ids[start : start + _AT_ONCE])
            self.stub.DeleteProducts(message, timeout=WRITE_S)


def clicks(user: str, ids: Iterable[str], token: str = "") -> list[event_pb2.Event]:
    return [
        event_pb2.Event(
            event_id=uuid.uuid4().hex, user_id=user, item_id=id, type=event_pb2.EVENT_TYPE_CLICK,
            attribution_token=token,
        )
        for id in ids
    ]  # fmt: skip


def new_user() -> str:
    return f"shopper-{uuid.uuid4().hex[:8]}"


@dataclass
class Writer:
    """Imports products and records clicks, one small batch after the other, while something else happens.

    A failed batch is sent again, as by a shop's own job. `product_ids` and `events` are the acknowledged ones,
    `tried` are the ids of all sent products.
    """

    shop: Shop
    prefix: str = field(default_factory=lambda: f"new-{uuid.uuid4().hex[:6]}")
    product_ids: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    events: list[event_pb2.Event] = field(default_factory=list)
    failures: list[grpc.StatusCode] = field(default_factory=list)
    # Acknowledgements that do not cover every row.
    unexpected: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Writer:
        self._threads = [threading.Thread(target=work) for work in (self._import_forever, self._record_forever)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _import_forever(self) -> None:
        for number in self._numbers():
            batch = [self._product(5 * number + place) for place in range(5)]
            self.tried += [product.id for product in batch]
            while not self._stop.is_set():
                try:
                    answer = self.shop.import_all(batch)
                except grpc.RpcError as error:
                    self._failed(error)
                    continue
                if answer.imported_count + answer.unchanged_count != len(batch):
                    self.unexpected.append(str(answer))
                self.product_ids += [product.id for product in batch]
                break

    def _record_forever(self) -> None:
        for number in self._numbers():
            batch = clicks(f"{self.prefix}-{number % 3}", [product.id for product in self.shop.products[:4]])
            while not self._stop.is_set():
                try:
                    answer = self.shop.record(batch)
                except grpc.RpcError as error:
                    self._failed(error)
                    continue
                if answer.recorded_count + answer.duplicate_count != len(batch):
                    self.unexpected.append(str(answer))
                self.events += batch
                break

    def _numbers(self) -> Iterator[int]:
        number = 0
        while not self._stop.wait(0.03):
            yield number
            number += 1

    def _failed(self, error: grpc.RpcError) -> None:
        self.failures.append(error.code())
        self._stop.wait(0.1)

    def _product(self, number: int) -> product_pb2.Product:
        product = product_pb2.Product(id=f"{self.prefix}-{number}", title=f"Folding umbrella {number}")
        product.price.currency_code, product.price.units = "USD", 20
        return product


def _messages(products: list[product_pb2.Product]) -> Iterator[gateway_pb2.ImportProductsRequest]:
    for start in range(0, len(products), _PRODUCTS_IN_A_MESSAGE):
        yield gateway_pb2.ImportProductsRequest(products=products[start : start + _PRODUCTS_IN_A_MESSAGE])
