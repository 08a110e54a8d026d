"""Labelled pictures at the model's resolution: from a folder for each class, or from a catalogue's categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from catalog.products import image_path
from services.common.errors import InvalidArgument
from services.common.product import Product
from services.query_encoder.domain.image import ImageLimits, Preprocessing, decode


@dataclass(frozen=True)
class LabelledPictures:
    """`pixels`: uint8 of shape [n, height, width, 3]; `labels`: int64 of shape [n], numbers of `classes`."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_folder(folder: Path, preprocessing: Preprocessing, classes: Sequence[str] = ()) -> LabelledPictures:
    """Reads `folder/<class>/<picture>`; with `classes`, only these. Raises ValueError if there is no picture."""
    names = tuple(classes) or tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    files = [(path, number) for number, name in enumerate(names) for path in sorted((folder / name).glob("*"))]
    return _read(files, names, preprocessing, f"{folder} needs a folder for each class, with JPEG, PNG or WebP in it")


def read_products(products: Sequence[Product], images: Path, preprocessing: Preprocessing) -> LabelledPictures:
    """The pictures of products with a category, which is the class. Raises ValueError if there is no picture."""
    found = [(product.category, image_path(product, images)) for product in products if product.category]
    names = tuple(sorted({category for category, path in found if path is not None}))
    files = [(path, names.index(category)) for category, path in found if path is not None]
    return _read(files, names, preprocessing, f"the catalogue's image_uri name no file in {images}")


def _read(
    files: Sequence[tuple[Path, int]], names: tuple[str, ...], preprocessing: Preprocessing, remedy: str
) -> LabelledPictures:
    rows, labels = [], []
    for path, number in tqdm(files, desc="reading pictures", unit=" pictures", mininterval=2):
        pixels = read_picture(path, preprocessing)
        if pixels is not None:
            rows.append(pixels)
            labels.append(number)
    if not rows:
        raise ValueError(f"there is no picture: {remedy}")
    return LabelledPictures(np.stack(rows), np.array(labels, np.int64), names)


def read_picture(path: Path, preprocessing: Preprocessing) -> npt.NDArray[np.uint8] | None:
    """Shape [height, width, 3]; None, with a message, for a file that is not a picture."""
    try:
        return preprocessing.scaled(decode(path.read_bytes(), path.name, ImageLimits(), preprocessing.side))
    except InvalidArgument as error:
        tqdm.write(f"skipped: {error}")
        return None
