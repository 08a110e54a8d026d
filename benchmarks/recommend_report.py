"""Rows of `benchmarks.recommend_quality`: ranks by user, their figures with intervals, a table and a plot."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.baselines.evaluation import gains, hits
from training.bootstrap import mean_interval

KAIROS = "Kairos"
CANDIDATES = 200
# The rank of an item that was not among the first 255; one byte a rank.
MISS = 255

Ranks = npt.NDArray[np.uint8]
Rows = Mapping[str, Mapping[str, Any]]


def packed(ranks: npt.NDArray[np.integer]) -> str:
    """Ranks from 0 in a few kilobytes of text; those from `MISS` on are equal."""
    return base64.b85encode(zlib.compress(np.minimum(ranks, MISS).astype(np.uint8).tobytes(), 9)).decode()


def unpacked(text: str) -> Ranks:
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8)


def figures(ranks: Ranks, seed: int) -> dict[str, Any]:
    """Each metric with its 95 % interval by the bootstrap over users."""
    values = {"hr@10": hits(ranks), "ndcg@10": gains(ranks), f"recall@{CANDIDATES}": hits(ranks, CANDIDATES)}
    return {
        name: {"value": round(float(own.mean()), 5), "interval_95": mean_interval(own, seed, digits=5)}
        for name, own in values.items()
    }


def difference(ours: Ranks, other: Ranks, seed: int) -> dict[str, Any]:
    """Of the mean metrics, ours − other, with the paired 95 % interval."""
    values = {"hr@10": hits(ours) - hits(other), "ndcg@10": gains(ours) - gains(other)}
    return {
        name: {"value": round(float(own.mean()), 5), "interval_95": mean_interval(own, seed, digits=5)}
        for name, own in values.items()
    }


def summary(rows: Rows, served: str, seed: int) -> dict[str, Any]:
    """Figures by row, and `served` − each other row if it was measured."""
    ranks = {name: unpacked(row["ranks"]) for name, row in rows.items()}
    found: dict[str, Any] = {"figures": {name: figures(own, seed) for name, own in ranks.items()}}
    if served in ranks:
        found[f"{served} minus"] = {
            name: difference(ranks[served], own, seed) for name, own in ranks.items() if name != served
        }
    return found


def show(title: str, found: Mapping[str, Any], rows: Rows, served: str) -> None:
    table = Table(title=title)
    columns = ("HR@10", "95 %", "NDCG@10", "95 %", f"recall@{CANDIDATES}", f"{served} − it, NDCG@10", "p50 / p95 ms")
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name, own in found["figures"].items():
        versus = found.get(f"{served} minus", {}).get(name)
        latency = rows[name]["report"].get("latency_ms")
        table.add_row(
            name, _digits(own["hr@10"]["value"]), _interval(own["hr@10"]), _digits(own["ndcg@10"]["value"]),
            _interval(own["ndcg@10"]), _digits(own[f"recall@{CANDIDATES}"]["value"]),
            f"{versus['ndcg@10']['value']:+.4f} ({_interval(versus['ndcg@10'], '+')})" if versus else "",
            f"{latency['p50']:.0f} / {latency['p95']:.0f}" if latency else "",
        )  # fmt: skip
    Console(width=180).print(table)


def plot(title: str, found: Mapping[str, Any], path: Path) -> None:
    """NDCG@10 and HR@10 with intervals."""
    mpl.use("Agg")
    from matplotlib import pyplot

    names = list(found["figures"])
    chart, axes = pyplot.subplots(1, 2, figsize=(13, 1.5 + 0.35 * len(names)), layout="constrained", sharey=True)
    for axis, metric in zip(axes, ("ndcg@10", "hr@10"), strict=True):
        own = [found["figures"][name][metric] for name in names]
        values = np.array([one["value"] for one in own])
        bounds = np.array([one["interval_95"] for one in own]).T
        colors = ["tab:blue" if name.startswith(KAIROS) else "tab:grey" for name in names]
        bars = axis.barh(names, values, color=colors, xerr=np.abs(bounds - values), ecolor="black")
        axis.bar_label(bars, fmt="%.4f", padding=3)
        axis.set(title=metric.upper(), xlim=(0, max(*bounds[1], 1e-3) * 1.15))
    axes[0].invert_yaxis()
    chart.suptitle(title)
    chart.savefig(path)
    pyplot.close(chart)


def _digits(value: float) -> str:
    return f"{value:.4f}"


def _interval(figure: Mapping[str, Any], sign: str = "") -> str:
    low, high = figure["interval_95"]
    return f"{low:{sign}.4f} to {high:{sign}.4f}"
