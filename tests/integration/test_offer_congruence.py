"""Offers beside the products: one suite for both engines, at the port and over real gRPC."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from qdrant_client import QdrantClient

from kairos.common.v1 import common_pb2, offer_pb2
from kairos.retrieval.v1 import retrieval_pb2
from ops.backup.qdrant_dump import dump, restore
from services.common.convert_offers import offer_to_proto
from services.common.errors import InvalidArgument
from services.common.money import Money
from services.common.offers import Offer, OfferSource
from services.common.product import Product
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collections
from services.retrieval.adapters.edge import EdgeCollection
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.index import QdrantIndex
from services.retrieval.adapters.points import point_id
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.domain.offers.book import TOMBSTONE_S
from services.retrieval.ports import OfferUpdate, Vectors
from services.retrieval.settings import Bm25Settings, EdgeSettings
from tests.integration.retrieval_engines import ENGINES, collections_of, indexed, new_tenant
from tests.integration.test_retrieval_congruence import stub
from tests.unit.retrieval.offers.random_offers import book_of, updates

if TYPE_CHECKING:
    from tests.integration.test_retrieval_congruence import Stub

__all__ = ["stub"]  # the fixture

TENANT = "default"
NOW_NS = time.time_ns()
LAMPS = [Product(id, f"Lamp {id}") for id in ("a", "b", "c")]
EURO = Money("EUR", Decimal("19.90"))
STAFF = Offer(NOW_NS, "staff", "ulm", price=EURO, stock=3)
VECTORS = Vectors(np.eye(3, dtype=np.float32), "m@1")


class Shop:
    """An index with three products."""

    def __init__(self, collections: Collections, tenant: str = TENANT) -> None:
        self.collections, self.tenant = collections, tenant
        self.index = QdrantIndex(collections, Bm25Encoder(Bm25Settings()))
        self.write()

    def write(self, products: Sequence[Product] = LAMPS) -> None:
        vectors = Vectors(VECTORS.values[: len(products)], VECTORS.model_version)
        self.index.upsert(self.tenant, indexed(products), vectors)

    def update(self, *offers: tuple[str, Offer]) -> OfferUpdate:
        return self.index.update_offers(self.tenant, offers)

    def offers(self, *, staged: bool = False) -> list[set[Offer]]:
        pair = self.collections.pair(self.tenant)
        collection = pair.staged if staged else pair.live
        assert collection is not None
        found = collection.offers([point_id(lamp.id) for lamp in LAMPS])
        return [set(found.get(point_id(lamp.id), ())) for lamp in LAMPS]


@pytest.fixture(params=ENGINES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(collections_of(request.param, tmp_path))


def test_what_became_of_offers(shop: Shop) -> None:
    """An answer counts new and stale offers and names unknown products; what it counts as new is stored."""
    later = replace(STAFF, updated_at_ns=NOW_NS + 1, price=None, stock=0)
    assert shop.update(("a", STAFF), ("x", STAFF), ("b", later), ("b", STAFF)) == OfferUpdate(2, 1, ["x"])
    assert shop.update(("a", STAFF), ("b", STAFF)) == OfferUpdate(0, 2, [])
    assert shop.offers() == [{STAFF}, {later}, set()]


def test_a_tenant_without_products(shop: Shop) -> None:
    """Offers of a tenant that has no catalogue are all of unknown products."""
    assert shop.index.update_offers("nobody", [("a", STAFF)]) == OfferUpdate(0, 0, ["a"])


def test_an_import_keeps_offers(shop: Shop) -> None:
    """A product that is imported again keeps its offers, and loses what only made older ones stale for a week."""
    old = Offer(NOW_NS - (TOMBSTONE_S + 60) * 10**9, place_id="ulm", is_removed=True)
    shop.update(("a", STAFF), ("a", old))
    shop.write([replace(LAMPS[0], title="Another title")])
    assert shop.offers()[0] == {STAFF}
    assert shop.update(("a", STAFF)).stale == 1


def test_a_removal_takes_the_offers(shop: Shop) -> None:
    """A product that is removed and imported again has no offers."""
    shop.update(("a", STAFF), ("b", STAFF))
    shop.index.remove(TENANT, ["a"])
    shop.write()
    assert shop.offers() == [set(), {STAFF}, set()]
    assert shop.update(("a", STAFF)).updated == 1


def test_a_refused_batch_changes_nothing(shop: Shop) -> None:
    """A batch beyond the bounds is refused with the place of the offer, and nothing is stored."""
    shop.update(("a", STAFF))
    dollars = replace(STAFF, place_id="", price=Money("USD", Decimal(1)))
    with pytest.raises(InvalidArgument, match=r"offers\[2\]\.price\.currency_code"):
        shop.update(("c", replace(STAFF, place_id="")), ("x", dollars), ("b", dollars))
    assert shop.offers() == [{STAFF}, set(), set()]


def test_reembedding_keeps_offers(shop: Shop) -> None:
    """The staged collection gets the offers that a product has, and those that come while it is there."""
    shop.update(("a", STAFF))
    shop.index.reembedding.begin(TENANT, "m@2", 3)
    new = Vectors(np.eye(3, dtype=np.float32)[::-1].copy(), "m@2")
    shop.index.reembedding.store(TENANT, [lamp.id for lamp in LAMPS], [b""] * 3, new)
    later = replace(STAFF, updated_at_ns=NOW_NS + 1, stock=0)
    shop.update(("a", later), ("b", STAFF))
    assert shop.offers(staged=True) == shop.offers() == [{later}, {STAFF}, set()]
    shop.index.reembedding.switch(TENANT, "m@2")
    assert shop.update(("a", STAFF), ("c", STAFF)) == OfferUpdate(1, 1, [])
    assert shop.offers() == shop.offers(staged=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Collections]]:
    engines = [collections_of(engine, tmp_path_factory.mktemp(engine)) for engine in ENGINES]
    yield engines
    for collections in engines:
        collections.close()


@settings(max_examples=4)
@given(updates)
def test_both_engines_agree(both: list[Collections], entries: list[tuple[int, Offer]]) -> None:
    """Any updates, in batches, lead to the same offers in both engines, with every field as it was sent."""
    expected, tenant = [set(book_of(entries).offers_of(row)) for row in range(len(LAMPS))], new_tenant()
    for collections in both:
        shop = Shop(collections, tenant)
        for start in range(0, len(entries), 5):
            shop.update(*((LAMPS[row].id, offer) for row, offer in entries[start : start + 5]))
        assert shop.offers() == expected


def test_offers_survive_the_death_of_the_process(tmp_path: Path) -> None:
    """Edge: the folder as a killed process leaves it, without a flush, has every offer that was acknowledged."""
    shop = Shop(EdgeCollections(tmp_path / "shop", EdgeSettings()))
    computed = replace(STAFF, source=OfferSource.PRICING, stock=None, base_price=Money("EUR", Decimal("19.999")))
    shop.update(("a", STAFF), ("a", computed), ("b", replace(STAFF, is_removed=True, price=None, stock=None)))
    shutil.copytree(tmp_path / "shop", tmp_path / "copy")
    acknowledged = shop.offers()
    shop.collections.close()
    shop.collections = EdgeCollections(tmp_path / "copy", EdgeSettings())
    assert shop.offers() == acknowledged
    assert len(acknowledged[0]) == 2
    shop.collections.close()


def test_offers_that_come_while_a_copy_is_optimised(tmp_path: Path) -> None:
    """Edge: an optimised copy has the offers that came while it was made, those of a removed product excepted."""
    shop = Shop(EdgeCollections(tmp_path, EdgeSettings()))
    shop.update(("a", STAFF), ("b", STAFF))
    collection = shop.collections.get(TENANT)
    assert isinstance(collection, EdgeCollection)
    later = replace(STAFF, updated_at_ns=NOW_NS + 1, stock=0)

    def meanwhile(_: Path) -> bool:
        shop.update(("a", later), ("b", later), ("c", STAFF))
        shop.index.remove(TENANT, ["b"])
        return True

    assert collection.optimize(meanwhile)
    shop.collections.close()
    again = EdgeCollections(tmp_path, EdgeSettings())
    shop.collections = again
    assert shop.offers() == [{later}, set(), {STAFF}]
    again.close()


def test_a_backup_has_the_offers(tmp_path: Path) -> None:
    """Server: offers are in a dump, and in the collection that is restored from it."""
    client = QdrantClient(":memory:")
    shop = Shop(ServerCollections(client, "shop-"))
    shop.update(("a", STAFF), ("b", STAFF))
    dump(client, "shop-", tmp_path / "dump")
    shop.update(("a", replace(STAFF, updated_at_ns=NOW_NS + 1, is_removed=True)))
    restore(client, "shop-", tmp_path / "dump")
    shop.collections = ServerCollections(client, "shop-")
    assert shop.offers() == [{STAFF}, {STAFF}, set()]


ONE_EURO = common_pb2.Money(currency_code="EUR", units=1)


def stocked(id: str, price_list: str = "", **fields: object) -> offer_pb2.Offer:
    message = offer_to_proto(id, Offer(NOW_NS, price_list, stock=1))
    message.MergeFrom(offer_pb2.Offer(**fields))  # type: ignore[arg-type]
    return message


async def test_over_grpc(stub: Stub) -> None:
    """UpdateOffers counts what it did, and the same call again finds everything stored."""
    request = retrieval_pb2.UpdateOffersRequest(offers=[stocked("shoe"), stocked("x"), stocked("boot", "staff")])
    answer = await stub.UpdateOffers(request)
    assert (answer.updated_count, answer.stale_count, list(answer.missing_ids)) == (2, 0, ["x"])
    assert (await stub.UpdateOffers(request)).stale_count == 2


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"product_id": "x" * 129}, "product_id"),
        ({"place_id": "y" * 65}, "place_id"),
        ({"updated_at": Timestamp(seconds=NOW_NS // 10**9 + 90_000)}, "updated_at"),
        ({"price": common_pb2.Money(currency_code="EUR", nanos=1)}, "price"),
        ({"price": common_pb2.Money(currency_code="eur")}, "price.currency_code"),
        ({"price": common_pb2.Money(currency_code="EUR", units=10**12 + 1)}, "price"),
        ({"source": 9}, "source"),
        ({"fulfilments": [7]}, "fulfilments[0]"),
        ({"base_price": ONE_EURO}, "base_price"),
        ({"source": 3, "price": ONE_EURO}, "place_id"),
        ({"source": 3, "place_id": "rival"}, "price"),
        ({"source": 3, "place_id": "rival", "price": ONE_EURO, "sale_price": ONE_EURO}, "sale_price"),
        ({"source": 3, "place_id": "rival", "price": ONE_EURO, "fulfilments": [1]}, "fulfilments"),
        ({"source": 3, "place_id": "rival", "price": ONE_EURO, "price_list_id": "staff"}, "price_list_id"),
    ],
)
async def test_a_wrong_offer(stub: Stub, fields: dict[str, object], path: str) -> None:
    """An offer beyond its bounds is refused by its field, and the batch stores nothing."""
    good = stocked("shoe")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.UpdateOffers(retrieval_pb2.UpdateOffersRequest(offers=[good, stocked("shoe", **fields)]))  # type: ignore[arg-type]
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"offers[1].{path}: " in (refusal.value.details() or "")
    assert (await stub.UpdateOffers(retrieval_pb2.UpdateOffersRequest(offers=[good]))).updated_count == 1


@pytest.mark.parametrize("count", [0, 1_001])
async def test_the_size_of_a_batch(stub: Stub, count: int) -> None:
    """A batch has 1 to 1,000 offers."""
    with pytest.raises(grpc.aio.AioRpcError, match="send 1 to 1000"):
        await stub.UpdateOffers(retrieval_pb2.UpdateOffersRequest(offers=[stocked("shoe")] * count))
