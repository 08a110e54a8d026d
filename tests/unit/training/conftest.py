"""A folder of pictures that a network learns in seconds: discs and bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and validation/, classes disc and bar, in any colour."""
    root = tmp_path_factory.mktemp("shapes")
    random = np.random.default_rng(3)
    for part, count in (("train", 12), ("validation", 12)):
        for name in ("disc", "bar"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (60, 60), tuple(random.integers(0, 120, 3).tolist()))
                canvas, colour = ImageDraw.Draw(image), tuple(random.integers(140, 255, 3).tolist())
                left = int(random.integers(2, 20))
                box = (left, left, left + 35, left + 35) if name == "disc" else (left + 10, 2, left + 18, 58)
                (canvas.ellipse if name == "disc" else canvas.rectangle)(box, fill=colour)
                image.save(folder / f"{number}.png")
    return root
