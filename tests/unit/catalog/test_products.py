"""The catalogue of a file, and its pictures."""

from __future__ import annotations

from pathlib import Path

from catalog.products import image_path, read_catalogue


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
