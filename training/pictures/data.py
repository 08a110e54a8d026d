"""Labelled pictures: a folder for each class, read once into memory as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from services.common.errors import InvalidArgument
from services.query_encoder.domain.picture import PictureLimits, Preprocessing, decode


@dataclass(frozen=True)
class LabelledPictures:
    """`pixels`: uint8 of shape [n, height, width, 3]; `labels`: int64 of shape [n], numbers of `classes`."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_folder(folder: Path, preprocessing: Preprocessing, classes: Sequence[str] = ()) -> LabelledPictures:
    """`folder/<class>/<picture>`. With `classes`, folders of other names are left out. Raises ValueError for none."""
    names = tuple(classes) or tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    files = [(path, number) for number, name in enumerate(names) for path in sorted((folder / name).glob("*"))]
    rows, labels = [], []
    for path, number in tqdm(files, desc=f"reading {folder.name}", unit=" pictures"):
        pixels = read_picture(path, preprocessing)
        if pixels is not None:
            rows.append(pixels)
            labels.append(number)
    if not rows:
        raise ValueError(f"{folder} holds no picture; it needs a folder for each class, with JPEG, PNG or WebP in it")
    return LabelledPictures(np.stack(rows), np.array(labels, np.int64), names)


def read_picture(path: Path, preprocessing: Preprocessing) -> npt.NDArray[np.uint8] | None:
    """Shape [height, width, 3]; None for a file that is no picture, which is said and left out."""
    try:
        return preprocessing.scaled(decode(path.read_bytes(), path.name, PictureLimits(), preprocessing.side))
    except InvalidArgument as error:
        tqdm.write(f"left out: {error}")
        return None
