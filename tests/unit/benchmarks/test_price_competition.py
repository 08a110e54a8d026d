"""The duopolies of benchmarks.price_competition, and its figures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import price_competition
from benchmarks.price_competition import measure, play, report
from benchmarks.price_duopoly import Markets, Rule
from benchmarks.results import Results


def test_the_duopoly_of_the_paper() -> None:
    """With its differentiation Nash and monopoly prices are those of Calvano et al., 1.473 and 1.925 times the cost."""
    markets = Markets.of(np.array([25.0]))
    assert (markets.nash[0], markets.monopoly[0]) == pytest.approx((147.3, 192.5), abs=0.15)
    assert markets.gain(markets.nash, markets.nash)[0] == 0
    assert markets.gain(markets.monopoly, markets.monopoly)[0] == pytest.approx(1)


def test_best_responders_meet_at_the_nash_equilibrium() -> None:
    """From the monopoly price both go down to it."""
    markets = Markets.drawn(1, 3)
    one = Rule(markets, "best responder")
    played = play(markets, one, one, 30, 1)
    assert played.own[-1] == pytest.approx(markets.nash, abs=0.2)


def test_the_whole_benchmark(tmp_path: Path) -> None:
    """Every game and pair is played, and a later run continues from the file."""
    results = Results(tmp_path / "c.json", {})
    for _ in range(2):
        measure(results, [1], days=2, markets=1, periods=20, watched=40)
    console = Console(file=io.StringIO(), width=160)
    report(results.parts, [1], console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(name in text for name in price_competition.OPPONENTS)
