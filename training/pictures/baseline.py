"""A picture's vector without a model: the brightness of a small picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, unit_rows

_SIDE = 12


def thumbnails(pixels: npt.NDArray[np.uint8]) -> FloatArray:
    """`pixels` [n, height, width, 3] -> unit vectors [n, 144]: brightness on a grid of 12 x 12, centred."""
    n, height, width, _ = pixels.shape
    rows, columns = np.arange(height) * _SIDE // height, np.arange(width) * _SIDE // width
    cells = np.zeros((n, _SIDE, _SIDE))
    np.add.at(cells.transpose(1, 2, 0), np.ix_(rows, columns), pixels.mean(-1).transpose(1, 2, 0))
    flat = cells.reshape(n, -1)
    return unit_rows((flat - flat.mean(1, keepdims=True)).astype(np.float32))
