"""The objective combines a network's heads into one score, and can change while the ranker runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from services.ranker.adapters.objective_file import ObjectiveFile
from services.ranker.domain.objective import Objective
from services.ranker.settings import ObjectiveSettings, RankerSettings

DEFAULT = ObjectiveSettings(click=1, cart=2, purchase=4, out_of_stock=0.5)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def write(file: Path, text: str, stamp: int) -> None:
    file.write_text(text, encoding="utf-8")
    # File systems may count time in larger steps than a test takes.
    os.utime(file, (stamp, stamp))


def test_a_score_is_the_expected_value_of_an_impression() -> None:
    """A score sums each task's probability times its weight; an item out of stock keeps a fraction of its score."""
    tasks = {"click": np.array([0.5, 0.5]), "cart": np.array([0.2, 0.2]), "purchase": np.array([0.1, 0.1])}
    score = Objective(1, 2, 4, 0.5).score({k: v.astype(np.float32) for k, v in tasks.items()}, np.array([-1.0, 0.0]))
    assert score == pytest.approx([1.3, 0.65])


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Without a file the settings' weights are used; a new or changed file takes effect within a second."""
    file, clock = tmp_path / "objective.yaml", Clock()
    objective = ObjectiveFile(file, DEFAULT, clock)
    assert objective() == Objective(1, 2, 4, 0.5)
    write(file, "purchase: 9\n", 1)
    assert objective().purchase == 4
    clock.now_s += 1
    assert objective() == Objective(1, 2, 9, 0.5)
    write(file, '{"click": 0, "purchase": 7}', 2)
    clock.now_s += 1
    assert objective() == Objective(0, 2, 7, 0.5)


def test_an_invalid_file_changes_nothing(tmp_path: Path) -> None:
    """An invalid file keeps the last valid weights while the ranker runs; at start it is an error that names it."""
    file, clock = tmp_path / "objective.yaml", Clock()
    write(file, "click: 3\n", 1)
    objective = ObjectiveFile(file, DEFAULT, clock)
    for stamp, text in enumerate(("clicks: 3", "click: -1", "- 1", "click: [", "out_of_stock: 2"), start=2):
        write(file, text, stamp)
        clock.now_s += 1
        assert objective().click == 3
        with pytest.raises(ValueError, match=r"objective\.yaml"):
            ObjectiveFile(file, DEFAULT)
    write(file, "click: 5\n", 99)
    clock.now_s += 1
    assert objective().click == 5


def test_a_network_needs_its_folder() -> None:
    """`ranker: network` without `model_dir` fails at start, with an error that names the missing setting."""
    with pytest.raises(ValueError, match="model_dir is not set"):
        RankerSettings(ranker="network")
