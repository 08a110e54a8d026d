"""The report of a version: report.json, report.html with its plots in it, and curves for TensorBoard."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

from training.shopper.assessment import Assessment
from training.shopper.data import Catalogue, ShopperLog
from training.shopper.settings import TrainSettings
from training.shopper.train import Trained

Document = Mapping[str, Any]
REPORT = "report.json"
_SPLIT = (
    "The newest event of each person on a product that is new to the person is held back; the figures are of a model "
    "and of counts without these events. The version itself is then fitted on all events, with as many epochs."
)


def document(trained: Trained, assessment: Assessment, catalogue: Catalogue, settings: TrainSettings) -> dict[str, Any]:
    """What the report says, as JSON has it."""
    weights = assessment.weights
    return {
        "data": data_of(trained.log, catalogue),
        "split": _SPLIT,
        "validation": {name: asdict(quality) for name, quality in assessment.methods.items()},
        "weights": None if weights is None else weights.document("newest events of persons"),
        "training": {
            "epochs": trained.epochs, "seconds": trained.seconds, "validation_ndcg": list(trained.curve),
            "losses": list(trained.losses),
        },
        "settings": asdict(settings),
    }  # fmt: skip


def data_of(log: ShopperLog, catalogue: Catalogue) -> dict[str, Any]:
    counts = log.counts(catalogue.size)
    return {
        "products": catalogue.size, "products_with_events": int((counts > 0).sum()),
        "products_with_text": 0 if catalogue.text is None else int(catalogue.text.any(axis=1).sum()),
        "products_with_picture": 0 if catalogue.image is None else int(catalogue.image.any(axis=1).sum()),
        "persons": len(log.persons), "events": len(log), "queries": int((log.queries > 0).sum()),
        "from_s": float(log.times_s.min(initial=float("inf"))) if len(log) else None,
        "to_s": float(log.times_s.max(initial=float("-inf"))) if len(log) else None,
    }  # fmt: skip


def write_document(folder: Path, report: Document) -> None:
    """Writes the JSON only. Pages and plots are drawn once, after the version is judged."""
    (folder / REPORT).write_text(json.dumps(report, indent=1, default=list) + "\n", "utf-8")


def write_report(folder: Path, report: Document) -> None:
    """`report`: of `document`, with anything else that the caller wants to be in it."""
    write_document(folder, report)
    (folder / "report.html").write_text(page(report), "utf-8")
    write_curves(folder / "curves", report)


def write_curves(folder: Path, report: Document) -> None:
    """Loss and validation by epoch, as TensorBoard reads them."""
    # Imported here: only the report needs TensorBoard.
    from torch.utils.tensorboard import SummaryWriter

    training = report["training"]
    board: Any = SummaryWriter(str(folder))
    first = len(training["validation_ndcg"])
    for epoch, value in enumerate(training["validation_ndcg"], 1):
        board.add_scalar("validation NDCG@10", value, epoch)
    for at, loss in enumerate(training["losses"]):
        fit, epoch = ("all events", at - first + 1) if at >= first else ("without the newest events", at + 1)
        board.add_scalar(f"loss/{fit}", loss, epoch)
    board.close()


def page(report: Document) -> str:
    """One HTML page that needs no other file."""
    rows = [
        [name, *(f"{own[key]:.4f}" for key in ("hit_rate", "ndcg", "recall")), *map(_interval, _intervals(own))]
        for name, own in report["validation"].items()
    ]
    others = {name: value for name, value in report.items() if name not in ("validation", "training", "split")}
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Shopper model</title>',
            "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
            "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}svg{max-width:100%}</style>",
            "<h1>Shopper model</h1>",
            "<h2>On the newest events of persons</h2>",
            _table(["method", "HR@10", "NDCG@10", "recall@200", "HR@10, 95 %", "NDCG@10, 95 %"], rows),
            f"<p>{html.escape(report['split'])}</p>",
            _bars(report["validation"]),
            "<h2>Training</h2>",
            f"<p>{report['training']['epochs']} epochs, {report['training']['seconds']:.0f} seconds.</p>",
            _lines(report["training"]),
            *(part for name, value in others.items() for part in (f"<h2>{html.escape(name)}</h2>", _values(value))),
            "</html>",
        ]
    )


def _intervals(own: Document) -> list[tuple[float, float]]:
    return [own["hit_rate_interval"], own["ndcg_interval"]]


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _values(value: object) -> str:
    if not isinstance(value, Mapping):
        return f"<p>{html.escape(str(value))}</p>"
    return _table(["", ""], [[str(name), str(one)] for name, one in value.items()])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _bars(methods: Document) -> str:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(1, 2, figsize=(10, 0.6 + 0.5 * len(methods)), layout="constrained", sharey=True)
    for axis, key, label in zip(axes, ("hit_rate", "ndcg"), ("HR@10", "NDCG@10"), strict=True):
        values = [own[key] for own in methods.values()]
        bounds = [own[f"{key}_interval"] for own in methods.values()]
        apart = [
            [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)],
            [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)],
        ]
        axis.barh(list(methods), values, xerr=apart, color="tab:blue", ecolor="black", capsize=3)
        axis.set(xlabel=label)
        axis.invert_yaxis()
    # Shared axes would be inverted twice.
    axes[0].set_ylim(len(methods) - 0.5, -0.5)
    return _svg(chart)


def _lines(training: Document) -> str:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3), layout="constrained")
    curve, losses = training["validation_ndcg"], training["losses"]
    left.plot(range(1, len(curve) + 1), curve, marker="o")
    left.axvline(training["epochs"], linestyle=":", color="grey")
    left.set(xlabel="epoch", ylabel="validation NDCG@10", title="dotted: the chosen epoch")
    right.plot(range(1, len(curve) + 1), losses[: len(curve)], label="without the newest events")
    right.plot(range(1, len(losses) - len(curve) + 1), losses[len(curve) :], label="all events")
    right.set(xlabel="epoch", ylabel="loss")
    right.legend()
    return _svg(chart)


def _svg(chart: Any) -> str:
    from matplotlib import pyplot

    written = io.StringIO()
    chart.savefig(written, format="svg")
    pyplot.close(chart)
    found = written.getvalue()
    return found[found.index("<svg") :]
