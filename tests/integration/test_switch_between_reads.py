"""A switch of the collections at the moment in which a search chooses one of them."""

from __future__ import annotations

from pathlib import Path

from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collection, Pair
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.index import QdrantIndex
from services.retrieval.adapters.points import DENSE
from services.retrieval.settings import Bm25Settings, EdgeSettings

TENANT = "default"


class SwitchedAfterEachRead(EdgeCollections):
    """After each read of the roles, the staged collection becomes the live one."""

    def known_pair(self, tenant: str) -> Pair:
        pair = super().known_pair(tenant)
        self.switch(tenant)
        return pair

    def get(self, tenant: str) -> Collection | None:
        live = super().get(tenant)
        self.switch(tenant)
        return live


def test_the_model_of_the_query_is_kept(tmp_path: Path) -> None:
    """A search whose vector is of either collection is answered by that one, whichever was live when it began."""
    collections = SwitchedAfterEachRead(tmp_path, EdgeSettings())
    collections.create(TENANT).begin_vectors(DENSE, "old@1", 3)
    collections.create_staged(TENANT, "new@2", 2)
    index = QdrantIndex(collections, Bm25Encoder(Bm25Settings()), lambda tenant: True)
    try:
        for model_version in ("old@1", "old@1", "new@2", "new@2"):
            assert index.pinned(TENANT, model_version).model_version(TENANT) == model_version
            collections.switch(TENANT)
    finally:
        index.close()
