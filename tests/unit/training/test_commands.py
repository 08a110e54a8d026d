"""The training commands on a shop's own files: catalogue, pictures and events in, model folders out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer

from demo.catalogue import build_catalogue, write_catalogue
from demo.pictures import write_pictures
from demo.shoppers import build_shoppers, simulate_events, write_events
from services.query_encoder.adapters.onnx_pictures import OnnxPictureEncoder
from services.query_encoder.domain.picture_limits import PictureLimits
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.catalogue import picture_path, read_catalogue
from training.pictures.__main__ import main as train_pictures
from training.product_tower.__main__ import chosen_together
from training.product_tower.__main__ import main as train_tower
from training.product_tower.model import load_tower
from training.product_tower.parts import parts_of


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """catalogue.jsonl.gz, images/, events.jsonl.gz; some pictures are missing, one row is bad."""
    folder = tmp_path_factory.mktemp("shop")
    products = build_catalogue(size=72)
    write_catalogue(folder / "catalogue.jsonl.gz", products)
    write_pictures(folder / "images", products[10:])
    write_events(folder / "events.jsonl.gz", simulate_events(build_shoppers(products, 40), products, 20))
    return folder


def test_from_a_catalogue_to_a_tower(shop: Path) -> None:
    """Both commands in turn; what they write is read back and tells products apart, with and without pictures."""
    eye_dir = shop / "eye"
    train_pictures(shop, eye_dir, catalog=shop / "catalogue.jsonl.gz", epochs=1)
    train_tower(
        shop / "catalogue.jsonl.gz", shop / "events.jsonl.gz", shop / "registry", images=shop, picture_model=eye_dir,
        steps=20,
    )  # fmt: skip
    version = shop / "registry" / "product_tower" / "0001"
    report = json.loads((version / "training.json").read_text())
    assert report["text_model"] == QueryEncoderSettings().model_version
    assert report["picture_model"].startswith("eye@")
    tower, prices = load_tower(version)
    products = read_catalogue(shop / "catalogue.jsonl.gz")
    eye = OnnxPictureEncoder(eye_dir, PictureLimits(), threads=1)
    parts = parts_of(products, prices, build_encoder(QueryEncoderSettings(), threads=1), eye, shop)
    assert parts.present.sum(0).tolist() == [72, 62, 72]
    assert len(np.unique(tower.vectors(parts).round(4), axis=0)) == 72


def test_a_catalogue_with_bad_rows(tmp_path: Path) -> None:
    """What an import would reject is left out; of the same id the first row counts."""
    file = tmp_path / "p.csv"
    file.write_text("id,title,price\n1,Mug,5\n,No id,5\n2,Cup,-3\n1,Again,6\n3,Jug,\n")
    assert [(product.id, product.title) for product in read_catalogue(file)] == [("1", "Mug"), ("3", "Jug")]


def test_pictures_stay_in_their_folder(tmp_path: Path) -> None:
    """A path that leads out of the folder is no picture of the shop."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "1.png").write_bytes(b"one")
    (tmp_path / "secret.png").write_bytes(b"secret")
    file = tmp_path / "p.csv"
    file.write_text("id,title,image_uri\n1,a,1.png\n2,b,../secret.png\n3,c,\n4,d,none.png\n")
    found = [picture_path(product, images) for product in read_catalogue(file)]
    assert [path.name if path else None for path in found] == ["1.png", None, None, None]


def test_chosen_together(tmp_path: Path) -> None:
    """By shopper and shelf; searches, unknown items and other shoppers are apart."""
    catalogue, events = tmp_path / "p.csv", tmp_path / "e.jsonl"
    catalogue.write_text("id,title,category\na,A,Mugs\nb,B,Mugs\nc,C,Sofas\n")
    rows = [("u", "a", "click"), ("u", "b", "purchase"), ("u", "c", "cart"), ("v", "b", "click"), ("u", "x", "click")]
    lines = [
        {"event_id": str(n), "user_id": user, "item_id": item, "type": kind}
        for n, (user, item, kind) in enumerate(rows)
    ]
    lines.append({"event_id": "s", "user_id": "u", "type": "search", "query": "mug"})
    events.write_text("\n".join(map(json.dumps, lines)))
    assert chosen_together(read_catalogue(catalogue), events) == [[0, 1], [2], [1]]


def test_nothing_to_learn_from(shop: Path, tmp_path: Path) -> None:
    """Events without two choices on one shelf, and a catalogue without pictures, say so."""
    (tmp_path / "e.jsonl").write_text("")
    with pytest.raises(typer.BadParameter, match="two products"):
        train_tower(shop / "catalogue.jsonl.gz", tmp_path / "e.jsonl", tmp_path)
    with pytest.raises(typer.BadParameter, match="image_uri"):
        train_pictures(tmp_path, tmp_path / "eye", catalog=shop / "catalogue.jsonl.gz")
