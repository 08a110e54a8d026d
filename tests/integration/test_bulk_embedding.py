"""Vectors of a whole catalogue: the same from one process and from Ray Data's actors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest
import typer
from typer.testing import CliRunner

from catalog.products import read_catalogue
from catalog.rows import FileRefused
from cli.reembedding import COLUMNS, read_vectors
from services.common.arrays import FloatArray
from services.common.convert import vectors_from_proto
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.bulk_embedding import BATCH, batches_of, main

VERSION = "m@1"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of several batches, with a Chinese product, a row that an import would reject, and an id that occurs
    twice.
    """
    path = tmp_path_factory.mktemp("catalog") / "products.csv"
    rows = [f"{n},Red running shoes {n},{n}" for n in range(BATCH + 20)]
    rows += ["zh,跑步鞋 红色,7", "bad,,1", "0,Another title,3"]
    path.write_text("\n".join(["sku,name,price", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return build_encoder(QueryEncoderSettings(), threads=1)


def embedded(catalog: Path, out: Path, *more: str) -> dict[str, FloatArray]:
    """The rows that the command writes, by id."""
    arguments = ["--catalog", str(catalog), "--map", "id=sku,title=name,price=price", "--model-version", VERSION]
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [*arguments, "--out", str(out), *more])
    assert result.exit_code == 0, result.output
    vectors: dict[str, FloatArray] = {}
    for message in read_vectors(out, VERSION):
        rows = vectors_from_proto(message.vectors, "vectors")
        vectors |= dict(zip(message.ids, rows, strict=True))
    return vectors


def test_one_process(catalog: Path, tmp_path: Path, minilm: Encoder) -> None:
    """Every product that an import accepts has the vector of the served encoder, zero for an unknown language."""
    vectors = embedded(catalog, tmp_path / "out")
    products = read_catalogue(catalog, "id=sku,title=name,price=price")
    assert list(vectors) == [entry.id for entry in products]
    assert not vectors["zh"].any()
    expected = minilm.encode(
        [product_text(entry) for entry in products], QueryEncoderSettings().max_product_tokens, "product"
    )
    # An int8 model sees a padded batch a little otherwise; float16 rounds.
    cosines = np.sum(np.stack(list(vectors.values())) * expected, axis=1)
    assert cosines[:-1].min() > 0.98


def test_on_ray(catalog: Path, tmp_path: Path) -> None:
    """Ray Data's actors write the same vectors, ids and fingerprints as one process."""
    here = embedded(catalog, tmp_path / "here")
    there = embedded(catalog, tmp_path / "there", "--workers", "1")
    assert here.keys() == there.keys()
    for id, vector in here.items():
        np.testing.assert_array_equal(vector, there[id])
    tables = [
        pyarrow.dataset.dataset(tmp_path / name, format="parquet").to_table(["id", "fingerprint"]).sort_by("id")
        for name in ("here", "there")
    ]
    assert tables[0] == tables[1]


def test_batches_say_what_an_import_would(catalog: Path, tmp_path: Path) -> None:
    """The image is part of a product's fingerprint, as in an import."""
    (tmp_path / "a.png").write_bytes(b"picture")
    file = tmp_path / "p.csv"
    file.write_text("id,title,image_uri\n1,Shoe,a.png\n2,Boot,gone.png\n")
    with_pictures = next(batches_of(file, "", "USD", tmp_path))["fingerprint"].to_pylist()
    without = next(batches_of(file, "", "USD", None))["fingerprint"].to_pylist()
    assert with_pictures[0] != without[0]
    assert with_pictures[1] == without[1]


def test_a_folder_that_is_not_empty(catalog: Path, tmp_path: Path) -> None:
    """A folder that is not empty is refused, so that vectors of two runs are never mixed."""
    (tmp_path / "something").touch()
    with pytest.raises(AssertionError, match=r"is[\s│]+not[\s│]+empty"):
        embedded(catalog, tmp_path)


def test_bad_vector_files(tmp_path: Path) -> None:
    """A file that is missing, is not Parquet, lacks a column or is of another model is refused with its name."""
    path = tmp_path / "v.parquet"
    with pytest.raises(FileRefused, match="does not exist"):
        list(read_vectors(path, VERSION))
    path.write_text("id,vector\n")
    with pytest.raises(FileRefused, match="not a Parquet"):
        list(read_vectors(path, VERSION))
    columns: dict[str, list[object]] = {"id": ["1"], "fingerprint": [b""], "vector": [[1.0]], "model_version": ["m@2"]}
    for name in COLUMNS:
        pyarrow.parquet.write_table(pyarrow.table({key: columns[key] for key in COLUMNS if key != name}), path)
        with pytest.raises(FileRefused, match=f"no column '{name}'"):
            list(read_vectors(path, VERSION))
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(FileRefused, match="'m@2', not of 'm@1'"):
        list(read_vectors(path, VERSION))
