"""State of another layout is refused: nothing in it is read, changed or removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from services.common.context import check_tenant
from services.common.errors import InvalidArgument, Unavailable
from services.common.product import Product
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.layout import LAYOUT
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.settings import EdgeSettings, RetrievalSettings
from services.retrieval.wiring import build_handler, retriever_over
from tests.integration.retrieval_engines import indexed


def files(folder: Path) -> dict[str, bytes]:
    """Without the lock files, which are empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_size
    }


def before_layouts(folder: Path) -> None:
    """The layout of 0.1.0 after a switch: no version, and a collection with the role "beside"."""
    tenant = folder / "default"
    (tenant / "collection-2" / "generation-2").mkdir(parents=True)
    (tenant / "generation-1").mkdir()
    (tenant / "generation-1" / "segment").write_text("points")
    manifest = {"generation": "generation-1", "model_version": "m@1", "dimensions": 3}
    (tenant / "manifest.json").write_text(json.dumps(manifest))
    (tenant / "collection-2" / "manifest.json").write_text(json.dumps(manifest | {"generation": "generation-2"}))
    (tenant / "roles.json").write_text(json.dumps({"live": 2, "beside": 1}))


def without_the_first_collection(folder: Path) -> None:
    """The same after the older collection was dropped."""
    before_layouts(folder)
    (folder / "default" / "manifest.json").unlink()


def of_a_later_version(folder: Path) -> None:
    (folder / "layout.json").write_text(json.dumps({"layout": LAYOUT + 1}))


def damaged(folder: Path) -> None:
    (folder / "layout.json").write_text("[")


@pytest.mark.parametrize("write", [before_layouts, without_the_first_collection, of_a_later_version, damaged])
def test_a_folder_of_another_layout(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """Edge: the start is refused, the message names the folder and the remedy, and the folder stays as it was."""
    folder = tmp_path / "retrieval"
    folder.mkdir()
    write(folder)
    before = files(folder)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"Import the catalogue again") as caught:
            build_handler(RetrievalSettings(data_dir=folder))
        assert str(folder) in str(caught.value)
        assert files(folder) == before


def test_a_folder_of_this_layout(tmp_path: Path) -> None:
    """Edge: a folder that this version made opens again; folders of others in it, as lost+found, do not matter."""
    (tmp_path / "lost+found").mkdir()
    for _ in range(2):
        retriever = retriever_over(EdgeCollections(tmp_path, EdgeSettings()), RetrievalSettings())
        retriever.index.upsert("default", indexed([Product(id="p", title="lamp")]), None)
        retriever.index.close()
    assert json.loads((tmp_path / "layout.json").read_text()) == {"layout": LAYOUT}


def test_no_tenant_has_the_name_of_a_file(tmp_path: Path) -> None:
    """Edge: what lies beside the folders of the tenants can be no tenant's name."""
    retriever = retriever_over(EdgeCollections(tmp_path, EdgeSettings()), RetrievalSettings())
    retriever.index.upsert("default", indexed([Product(id="p", title="lamp")]), None)
    names = {path.name for path in tmp_path.iterdir()}
    retriever.index.close()
    assert names > {"default"}
    for name in names - {"default"}:
        with pytest.raises(InvalidArgument, match=r"^context\.tenant: "):
            check_tenant(name)


def test_a_server_of_another_layout() -> None:
    """Server: a collection without this layout's number is neither read nor written, and the health check fails."""
    client = QdrantClient(":memory:")
    client.create_collection("shop-default", vectors_config={}, metadata={"model_version": "m@1"})
    retriever = retriever_over(ServerCollections(client, "shop-"), RetrievalSettings())
    for call in (
        retriever.index.check,
        lambda: retriever.index.upsert("default", indexed([Product(id="p", title="lamp")]), None),
        lambda: retriever.index.model_version("default"),
    ):
        with pytest.raises(Unavailable, match=r"shop-default .*Import the catalogue again"):
            call()
    assert client.count("shop-default").count == 0
    retriever.index.upsert("another", indexed([Product(id="p", title="lamp")]), None)
    client.delete_collection("shop-default")
    retriever.index.check()
