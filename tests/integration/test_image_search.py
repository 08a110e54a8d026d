"""Images through all real services, without Ray: from files on disk to visually similar products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from catalog.rows import column_names
from demo.catalogue import DemoProduct, build_catalogue, write_catalogue
from demo.pictures import draw, write_pictures
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from training.pictures.export import export
from training.pictures.model import new_network, save_network


@pytest.fixture(scope="module")
def products() -> list[DemoProduct]:
    return build_catalogue(size=150)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, products: list[DemoProduct]) -> Path:
    """The files of the demo shop; one image is missing and one is damaged."""
    folder = tmp_path_factory.mktemp("shop")
    write_catalogue(folder / "catalogue.jsonl.gz", products)
    write_pictures(folder / "images", products)
    (folder / "images" / f"{products[0].id}.png").unlink()
    (folder / "images" / f"{products[1].id}.png").write_bytes(b"<html>not found</html>")
    return folder


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """To a suite with an untrained image encoder: equal images have equal vectors nevertheless."""
    model = tmp_path_factory.mktemp("image_encoder")
    save_network(model, *new_network(seed=0), {})
    export(model)
    with in_process_suite(tmp_path_factory.mktemp("suite"), encoder={"image_model_dir": model}) as suite:
        yield Connection(suite.gateway_target, timeout_s=20)


@pytest.fixture(scope="module")
def job(connection: Connection, shop: Path) -> CatalogImport:
    file = shop / "catalogue.jsonl.gz"
    done = CatalogImport(
        connection, parse_mapping("", column_names(file), "USD"), Rejects(shop / "rejects.jsonl"), images=shop
    )
    done.run(file, quiet=True)
    return done


def search(connection: Connection, **fields: object) -> gateway_pb2.SearchResponse:
    with connection.stub() as stub:
        message = gateway_pb2.SearchRequest(explain=True, **fields)  # type: ignore[arg-type]
        answer: gateway_pb2.SearchResponse = stub.Search(message, timeout=connection.timeout_s)
        return answer


def test_import(job: CatalogImport, products: list[DemoProduct], shop: Path) -> None:
    """Products are imported with their images; a missing image is counted, a damaged one rejected with a reason."""
    assert (job.summary.imported, job.summary.rejected, job.missing_images) == (len(products) - 1, 1, 1)
    assert "not a JPEG, PNG or WebP" in (shop / "rejects.jsonl").read_text()


def test_the_image_of_a_product(job: CatalogImport, connection: Connection, products: list[DemoProduct]) -> None:
    """The image of a product finds first that product, or one with the same drawing."""
    answer = search(connection, image=draw(products[20]))
    assert answer.results[0].stage_scores.image == pytest.approx(1, abs=0.01)
    assert not answer.degradations


def test_similar_to_a_product(job: CatalogImport, connection: Connection, products: list[DemoProduct]) -> None:
    """Similar products do not include the product itself. One without an image is compared by its text, as a
    degradation.
    """
    answer = search(connection, similar_to_id=products[20].id, page_size=20)
    assert len(answer.results) == 20
    assert products[20].id not in [result.product.id for result in answer.results]
    assert not answer.degradations
    without = search(connection, similar_to_id=products[0].id)
    assert [degradation.fallback for degradation in without.degradations] == ["similar text"]
    with pytest.raises(grpc.RpcError) as caught:
        search(connection, similar_to_id="nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_image_and_a_text(job: CatalogImport, connection: Connection, products: list[DemoProduct]) -> None:
    """Image and text of a product together find that product first."""
    wanted = products[20]
    answer = search(connection, query=wanted.title, image=draw(wanted))
    assert answer.results[0].product.id == wanted.id


def test_a_path_out_of_the_folder(connection: Connection, shop: Path, tmp_path: Path) -> None:
    """A catalogue cannot make the import send files from outside the given folder."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    file = tmp_path / "evil.csv"
    file.write_text(f"id,title,image_uri\n1,a,../secret.png\n2,b,{tmp_path / 'secret.png'}\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    mapping = parse_mapping("", column_names(file), "USD")
    job = CatalogImport(connection, mapping, Rejects(tmp_path / "rejects.jsonl"), images=inner)
    job.run(file, quiet=True)
    assert (job.missing_images, job.summary.imported) == (2, 2)
