"""Results of compression as JSON and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

from training.compression.compress import Compression, Row
from training.compression.sample import Sample


def document(rows: Sequence[Row], best: Row, sample: Sample, settings: Compression) -> dict[str, Any]:
    return {
        "settings": asdict(settings),
        "queries": len(sample.judgements),
        "products": len(sample.products),
        "rows": [_plain(row) for row in rows],
        "proposed": {"name": best.name, "backend": best.backend, "model_dir": str(best.model_dir.resolve())},
    }


def _plain(row: Row) -> dict[str, Any]:
    change = [round(value, 5) for value in row.change]
    rounded = {name: round(value, 4) for name, value in asdict(row).items() if isinstance(value, float)}
    return asdict(row) | rounded | {"model_dir": str(row.model_dir), "change": change}


def plot(rows: Sequence[Row], best: Row, tolerance: float, path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    bound = (1 - tolerance) * rows[0].ndcg
    for axis, (label, of) in zip(
        axes, (("MB", lambda row: row.size_bytes / 1e6), ("ms, one query", lambda row: row.latency_ms)), strict=True
    ):
        for row in rows:
            colour = "tab:orange" if row.backend == "onnx-int8" else "tab:blue"
            axis.scatter(of(row), row.ndcg, color=colour, edgecolors="black" if row is best else "none", s=45)
            axis.annotate(row.name, (of(row), row.ndcg), fontsize=6, xytext=(5, -2), textcoords="offset points")
        axis.axhline(bound, linestyle=":", color="grey")
        axis.set(xlabel=label)
    axes[0].set(ylabel="NDCG@10", title="blue fp32, orange int8; dotted: tolerance")
    chart.savefig(path, dpi=120)
    pyplot.close(chart)
