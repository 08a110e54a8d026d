"""What the picture benchmark counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.images import average_precision, by_chance, colours, figures_of, thumbnails, vote
from training.pictures.data import LabelledPictures

RED, BLUE = np.full((8, 8, 3), [200, 0, 0], np.uint8), np.full((8, 8, 3), [0, 0, 200], np.uint8)


def pictures(*pixels: npt.NDArray[np.uint8]) -> LabelledPictures:
    labels = [int(picture[0, 0, 2] > 0) for picture in pixels]
    return LabelledPictures(np.stack(pixels), np.array(labels), ("red", "blue"))


def test_average_precision() -> None:
    """Found at places 1 and 3 of 3: (1/1 + 2/3) / 2; nothing to find: 0."""
    found = average_precision(np.array([[True, False, True], [False, False, False]]))
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 2, 0])


def test_vote() -> None:
    """The class of the nearest neighbours, the nearer ones counting for more."""
    similarity = np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.8]], np.float32)
    assert vote(similarity, np.array([0, 1, 1]), 2).tolist() == [0, 1]


def test_colours_tell_red_from_blue() -> None:
    """Where the colour is the class, the colour histogram is right throughout."""
    shelf = pictures(RED, RED, BLUE, BLUE)
    assert figures_of(colours, shelf, shelf).means() == {"class_accuracy": 1.0, "p@10": 0.3333, "map": 1.0}


def test_chance() -> None:
    """The commonest class of train, and each class's share of the others."""
    found = by_chance(pictures(RED, RED, BLUE), pictures(RED, RED, BLUE)).means()
    assert (found["class_accuracy"], found["p@10"]) == (0.6667, round((0.5 + 0.5 + 0) / 3, 4))


def test_thumbnails_see_shapes() -> None:
    """Brightness by place, whatever the mean."""
    left, right = np.zeros((24, 24, 3), np.uint8), np.zeros((24, 24, 3), np.uint8)
    left[:, :12], right[:, 12:] = 200, 200
    brighter = (left.astype(int) + 40).clip(0, 255).astype(np.uint8)
    rows = thumbnails(LabelledPictures(np.stack([left, brighter, right]), np.array([0, 0, 1]), ("l", "r")))
    assert rows[0] @ rows[1] > 0.99
    assert rows[0] @ rows[2] < -0.99
