"""Constraints of exposure in the training of the ranker network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training.evaluation.fairness import exposure_of
from training.ranking.constraints import Constraints, Lagrangian

PAGES = 12
GROUPS = {f"i{n}": "ab"[n % 2] for n in range(20)}


def trained(constraints: Constraints) -> np.ndarray:
    """Shares of exposure of a and b, after scores that favour a were trained with the penalty and a pull to their
    start.
    """
    random = torch.Generator().manual_seed(1)
    start = torch.randn(PAGES, 20, generator=random) + torch.tensor([1.0, 0.0] * 10)
    scores = start.clone().requires_grad_()
    lagrangian = Lagrangian(constraints, list(GROUPS))
    items, is_real = np.tile(np.arange(20), (PAGES, 1)), torch.ones(PAGES, 20, dtype=torch.bool)
    optimizer = torch.optim.Adam([scores], 0.05)
    for _ in range(80):
        loss = 0.01 * (scores - start).square().mean() + lagrangian.penalty(scores, is_real, items)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    order = np.argsort(-scores.detach().numpy(), axis=1)
    exposure = np.zeros((PAGES, 20))
    np.put_along_axis(exposure, order, np.tile(exposure_of(np.arange(1, 21)), (PAGES, 1)), axis=1)
    of_groups = np.array([exposure[:, 0::2].sum(), exposure[:, 1::2].sum()])
    return np.asarray(of_groups / of_groups.sum())


def test_groups_get_what_is_due() -> None:
    """Without a constraint a has most of the exposure; with one, what it says."""
    assert trained(Constraints(GROUPS))[0] > 0.62
    assert trained(Constraints(GROUPS, due={"a": 0.5, "b": 0.5})) == pytest.approx([0.5, 0.5], abs=0.07)


def test_a_maximum_holds_and_nothing_else() -> None:
    """A group of products that may do harm gets at most its share; a maximum above what it has changes nothing."""
    free = trained(Constraints(GROUPS))
    assert trained(Constraints(GROUPS, most={"a": 0.3}))[0] <= 0.36
    assert trained(Constraints(GROUPS, most={"a": 0.9})) == pytest.approx(free, abs=0.02)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"groups": GROUPS, "due": {"a": 1.5}}, "due.a"),
        ({"groups": GROUPS, "most": {"x": 0.1}}, "'x'"),
        ({"groups": GROUPS, "due": {"a": 0.6, "b": 0.6}}, "more than 1"),
        ({"group": {}}, "no constraints"),
    ],
)
def test_bad_constraints(content: object, named: str, tmp_path: Path) -> None:
    """The message names what is wrong."""
    file = tmp_path / "constraints.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=named):
        Constraints.load(file)
