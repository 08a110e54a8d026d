"""How the heads of a network make one score, changed while the ranker runs."""

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


def test_a_score_is_what_is_expected_of_a_showing() -> None:
    """Each task's probability times what it is worth; an item out of stock keeps its share."""
    tasks = {"click": np.array([0.5, 0.5]), "cart": np.array([0.2, 0.2]), "purchase": np.array([0.1, 0.1])}
    score = Objective(1, 2, 4, 0.5).score({k: v.astype(np.float32) for k, v in tasks.items()}, np.array([-1.0, 0.0]))
    assert score == pytest.approx([1.3, 0.65])


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Without a file the settings' weights hold; one that comes or changes is felt within a second."""
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


def test_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    """What cannot be read while the ranker runs leaves the last good weights; at the start it is refused by name."""
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
    """`ranker: network` without `model_dir` stops the start and says what is missing."""
    with pytest.raises(ValueError, match="model_dir is not set"):
        RankerSettings(ranker="network")
