"""The training commands on a shop's own catalogue and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from catalog.products import image_path, read_catalogue
from demo.catalogue import build_catalogue, write_catalogue
from demo.pictures import write_pictures
from demo.shoppers import build_shoppers, simulate_events, write_events
from services.query_encoder.adapters.onnx_image_encoder import OnnxImageEncoder
from training.pictures.__main__ import main as train_pictures


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """catalogue.jsonl.gz, images/, events.jsonl.gz; the pictures of the first 48 products are missing."""
    folder = tmp_path_factory.mktemp("shop")
    products = build_catalogue(size=72)
    write_catalogue(folder / "catalogue.jsonl.gz", products)
    write_pictures(folder / "images", products[48:])
    write_events(folder / "events.jsonl.gz", simulate_events(build_shoppers(products, 40), products, 20))
    return folder


def test_an_image_encoder_from_a_catalogue(shop: Path) -> None:
    """The command trains on the pictures of the catalogue, and its model can be served."""
    model_dir = shop / "picture_model"
    train_pictures(shop, model_dir, catalog=shop / "catalogue.jsonl.gz", epochs=1)
    encoder = OnnxImageEncoder(model_dir, threads=1)
    assert encoder.model_version.startswith("picture_model@")
    products = read_catalogue(shop / "catalogue.jsonl.gz")
    assert sum(image_path(product, shop) is not None for product in products) == 24


def test_a_catalogue_with_bad_rows(tmp_path: Path) -> None:
    """Rows that an import would reject are skipped, wrong prices left out; the first row of an id counts."""
    file = tmp_path / "p.csv"
    file.write_text("id,title,price\n1,Mug,5\n,No id,5\n2,Cup,-3\n1,Again,6\n3,Jug,\n")
    products = read_catalogue(file)
    assert [(product.id, product.title) for product in products] == [("1", "Mug"), ("2", "Cup"), ("3", "Jug")]
    assert products[1].price is None


def test_pictures_stay_in_their_folder(tmp_path: Path) -> None:
    """A path out of the folder of pictures is ignored."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "1.png").write_bytes(b"one")
    (tmp_path / "secret.png").write_bytes(b"secret")
    file = tmp_path / "p.csv"
    file.write_text("id,title,image_uri\n1,a,1.png\n2,b,../secret.png\n3,c,\n4,d,none.png\n")
    found = [image_path(product, images) for product in read_catalogue(file)]
    assert [path.name if path else None for path in found] == ["1.png", None, None, None]


def test_a_catalogue_without_pictures(shop: Path, tmp_path: Path) -> None:
    """A catalogue without pictures in the folder is refused, and the message names the field."""
    with pytest.raises(typer.BadParameter, match="image_uri"):
        train_pictures(tmp_path, tmp_path / "model", catalog=shop / "catalogue.jsonl.gz")
