"""A version of the shopper model in the real services: Recommend finds and ranks by it, and does without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.convert import vectors_to_proto
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from tests.unit.ranker.shopper_folders import write_version

Stub = gateway_pb2_grpc.GatewayServiceStub
BUDGET_S = 60.0
TITLES = {
    "boot": "Leather winter boot", "lamp": "Desk lamp", "kettle": "Steel kettle", "rope": "Climbing rope",
    "tent": "Tent for two", "mug": "Blue mug",
}  # fmt: skip
# Who acts on the boot turns to the rope first, and then to the tent: no text says so.
VECTORS = {"boot": (1, 0), "rope": (3, 0), "tent": (2, 0), "kettle": (0, 1), "lamp": (0, 1), "mug": (-1, 0)}
SHOPPER = ranker_pb2.CANDIDATE_SOURCE_SHOPPER
FITTED = {
    "query": 0.0, "history": 0.0, "price": 0.0, "popularity": 0.0, "availability": 0.0, "shopper": 1.0,
    "neighbours": 0.0,
}  # fmt: skip


class Shop:
    def __init__(self, stub: Stub, folder: Path) -> None:
        self.stub, self._registry = stub, ModelRegistry(folder / "ranker" / "models" / "default" / "shopper")

    def has(self, *ids: str) -> None:
        products = [product_pb2.Product(id=id, title=TITLES.get(id, f"New {id}")) for id in ids]
        message = gateway_pb2.ImportProductsRequest(products=products)
        assert self.stub.ImportProducts(iter([message]), timeout=BUDGET_S).rejected_count == 0

    def learns(self, digest: str) -> str:
        """Publishes a version with its item vectors, and promotes it. A product that comes later is near the rope."""
        text = self.stub.ListProducts(gateway_pb2.ListProductsRequest(with_vectors=True), timeout=BUDGET_S).vectors
        rows = np.zeros((text.values.shape[1], 2), np.float32)

        def save(folder: Path) -> None:
            write_version(folder, VECTORS, digest, text.model_version, rows.tolist(), (2.5, 0), FITTED)

        number, version = self._registry.publish(save, {}), f"shopper@{digest}"
        mapped = vectors_to_proto(np.concatenate([rows, [[2.5, 0]]]).astype(np.float32), text.model_version)
        begin = gateway_pb2.BeginItemVectorsRequest(model_version=version, dimensions=2, map=mapped)
        self.stub.BeginItemVectors(begin, timeout=BUDGET_S)
        vectors = vectors_to_proto(np.array(list(VECTORS.values()), np.float32), version)
        store = gateway_pb2.StoreItemVectorsRequest(
            model_version=version, ids=list(VECTORS), vectors=vectors, is_complete=True
        )
        assert self.stub.StoreItemVectors(store, timeout=BUDGET_S).stored_count == len(VECTORS)
        self._registry.take_step(StepKind.PROMOTED, number, lambda now: now.promoted(number).alone())
        return version

    def records(self, item_id: str, user_id: str, session_id: str) -> None:
        event = event_pb2.Event(
            event_id=f"{item_id}/{user_id}", item_id=item_id, user_id=user_id, session_id=session_id,
            type=event_pb2.EVENT_TYPE_CLICK,
        )  # fmt: skip
        self.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[event]), timeout=BUDGET_S)

    def recommends(self, **fields: object) -> gateway_pb2.RecommendResponse:
        return self.stub.Recommend(gateway_pb2.RecommendRequest(**fields), timeout=BUDGET_S)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("suite")
    with in_process_suite(folder) as suite, Connection(suite.gateway_target).stub() as stub:
        made = Shop(stub, folder)
        made.has(*TITLES)
        yield made


def until(holds: Callable[[], bool]) -> None:
    """Within seconds: the ranker follows the registry once a second."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ids(answer: gateway_pb2.RecommendResponse) -> list[str]:
    return [result.product.id for result in answer.results]


def test_from_a_version_to_its_end(shop: Shop) -> None:
    """Recommend orders by the model as soon as it is promoted, finds new products by its map, and reports its loss."""
    # Each is asked once: what was shown without a click loses score.
    for user in ("waiting", "u", "later", "last"):
        shop.records("boot", user_id=user, session_id=f"of {user}")
    assert not any(SHOPPER in result.sources for result in shop.recommends(user_id="waiting").results)

    version = shop.learns("a" * 12)
    until(lambda: any(SHOPPER in result.sources for result in shop.recommends(user_id="waiting").results))
    answer = shop.recommends(user_id="u", explain=True)
    assert not answer.degradations
    assert ids(answer)[:2] == ["rope", "tent"]
    assert answer.results[0].explanation.text.endswith(
        "It is here because you looked at or bought “Leather winter boot”."
    )
    # The session's events serve a request without a person.
    assert ids(shop.recommends(session_id="of u"))[:2] == ["rope", "tent"]
    # Nobody, on the page of a product.
    similar = shop.recommends(placement="similar-items", item_ids=["boot"])
    assert SHOPPER in next(result.sources for result in similar.results if result.product.id == "rope")

    shop.has("harness")
    assert ids(shop.recommends(user_id="later"))[:3] == ["rope", "harness", "tent"]

    shop.stub.DropItemVectors(gateway_pb2.DropItemVectorsRequest(model_version=version), timeout=BUDGET_S)
    lost = shop.recommends(user_id="last")
    assert lost.results
    assert not any(SHOPPER in result.sources for result in lost.results)
    assert [each.stage for each in lost.degradations] == [common_pb2.STAGE_RETRIEVAL]
