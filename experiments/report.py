"""The report of an experiment: ID.json, and ID.html with its plots in it."""

from __future__ import annotations

import html
import io
import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.analysis import Analysis, Comparison
from services.common.experiment import LOWER_IS_BETTER, OF_PRICES, Metric
from services.common.versions import replace_file

NAMES: dict[Metric, str] = {
    "click_through": "answers with a click",
    "add_to_cart": "units with a cart",
    "conversion": "units with a purchase",
    "revenue": "revenue a unit",
    "click_position": "position of clicks",
    "satisfaction": "satisfaction",
    "latency": "slow answers",
    "degradation": "degraded answers",
}
_SHARES: frozenset[Metric] = frozenset(
    ("click_through", "add_to_cart", "conversion", "satisfaction", "latency", "degradation")
)
# Of an interleaving: which kind of acts decides who won an answer.
_WON: dict[Metric, str] = {
    "click_through": "answers won by clicks",
    "add_to_cart": "answers won by carts",
    "conversion": "answers won by purchases",
}


# Of a switchback.
_OF_PRICES: dict[Metric, str] = {"revenue": "revenue of a product and day", "profit": "profit of a product and day"}


def names_of(found: Analysis) -> dict[Metric, str]:
    return {"interleaving": _WON, "switchback": _OF_PRICES}.get(found.mode, NAMES)


def counted_of(found: Analysis) -> tuple[str, str]:
    """What `units` and `answers` of an arm are."""
    return ("blocks", "days") if found.mode == "switchback" else ("units", "answers")


def document(found: Analysis) -> dict[str, Any]:
    """As JSON has it: NaN is null."""
    made: dict[str, Any] = json.loads(json.dumps(asdict(found)), parse_constant=lambda _: None)
    return made


def write_report(folder: Path, found: Analysis) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{found.id}.json", json.dumps(document(found), indent=1) + "\n")
    replace_file(folder / f"{found.id}.html", page(found))


def page(found: Analysis) -> str:
    """One HTML page that needs no other file."""
    names = names_of(found)
    arms = [
        [
            arm.name, f"{arm.share:g}", f"{arm.units:,}", f"{arm.answers:,}",
            *(value_text(metric, arm.values[metric], found.currency) for metric in found.metrics),
            f"{_number(arm.latency_p50_ms)} / {_number(arm.latency_p95_ms)}", ", ".join(arm.versions) or "-",
        ]
        for arm in found.arms
    ]  # fmt: skip
    head = ["arm", "share", *counted_of(found), *names.values(), "latency p50 / p95, ms", "model versions"]
    compared = [comparison_row(one, found.currency, names) for one in found.comparisons]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            f"<title>{html.escape(found.id)}</title>",
            "<style>body{font:15px sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
            "table{border-collapse:collapse}svg{max-width:100%}"
            "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}</style>",
            f"<h1>{html.escape(found.id)}</h1>",
            *(f"<p><strong>{html.escape(line)}</strong></p>" for line in verdict_lines(found)),
            *(f"<p>{html.escape(note)}</p>" for note in found.notes),
            "<h2>Arms</h2>", _table(head, arms),
            f"<h2>Compared with {html.escape(found.control_arm)}</h2>",
            _table(["arm", "metric", "difference", "interval at any time", "relative", "p", "verdict", "variance left"],
                   compared),
            _intervals(found), "<h2>While it ran</h2>", _looks(found), "</html>",
        ]
    )  # fmt: skip


def verdict_lines(found: Analysis) -> list[str]:
    """What the experiment says, in sentences."""
    lines = [f"Invalid: {problem}." for problem in found.problems]
    lines += [f"Guardrail broken: {broken}." for broken in found.broken]
    for arm, verdict in found.verdicts.items():
        lines.append(f"{arm} against {found.control_arm}, {names_of(found)[found.primary_metric]}: {verdict}.")
    return lines


def comparison_row(one: Comparison, currency: str, names: dict[Metric, str]) -> list[str]:
    bounds = (value_text(one.metric, bound, currency, signed=True) for bound in (one.low, one.high))
    return [
        one.arm, names[one.metric] + (" (lower is better)" if one.metric in LOWER_IS_BETTER else ""),
        value_text(one.metric, one.difference, currency, signed=True), " to ".join(bounds),
        "-" if math.isnan(one.relative) else f"{one.relative:+.1%}", f"{one.p_value:.2g}", one.judgement(),
        f"{one.variance_left:.2f}",
    ]  # fmt: skip


def value_text(metric: Metric, value: float, currency: str, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if math.isnan(value):
        return "-"
    if metric in _SHARES:
        return f"{value:{sign}.2%}"
    return f"{value:{sign}.2f} {currency}".rstrip() if metric in OF_PRICES else f"{value:{sign}.2f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _intervals(found: Analysis) -> str:
    """Relative differences of all metrics, as far as the control arm's value is not 0; of an interleaving, those of the
    arms' shares of the answers that one of them won.
    """
    is_share = found.mode == "interleaving"
    drawn = [one for one in found.comparisons if is_share or (one.difference and not math.isnan(one.relative))]
    if not drawn:
        return "<p>Too little is known for a comparison.</p>"
    pyplot = _pyplot()
    chart, axis = pyplot.subplots(figsize=(10, 0.8 + 0.35 * len(drawn)), layout="constrained")
    for row, one in enumerate(drawn):
        scale = 100.0 if is_share else 100 * one.relative / one.difference
        low, high = sorted((one.low * scale, one.high * scale))
        axis.plot([low, high], [row, row], color="black")
        axis.plot([scale * one.difference], [row], marker="o", color="tab:blue")
    axis.axvline(0, color="grey", linestyle=":")
    axis.set_yticks(range(len(drawn)), [f"{one.arm}: {names_of(found)[one.metric]}" for one in drawn])
    axis.invert_yaxis()
    axis.set(xlabel=f"difference from {found.control_arm}, %, with its interval")
    return _svg(chart)


def _looks(found: Analysis) -> str:
    looks = [look for look in found.looks if look.intervals]
    if not looks:
        return "<p>There is nothing to draw yet.</p>"
    pyplot = _pyplot()
    chart, axis = pyplot.subplots(figsize=(10, 3), layout="constrained")
    for arm in found.verdicts:
        known = [(look.at_s, look.intervals[arm]) for look in looks if arm in look.intervals]
        times = [datetime.fromtimestamp(at_s, UTC) for at_s, _ in known]
        lines = axis.plot(times, [value for _, (value, _, _) in known], label=arm, marker=".")
        axis.fill_between(
            times, [low for _, (_, low, _) in known], [high for _, (_, _, high) in known], alpha=0.2,
            color=lines[0].get_color(),
        )  # fmt: skip
    axis.axhline(0, color="grey", linestyle=":")
    axis.set(ylabel=f"{names_of(found)[found.primary_metric]}: difference")
    axis.tick_params(axis="x", labelrotation=20)
    axis.legend()
    return _svg(chart)


def _pyplot() -> Any:
    # Imported here: only the report needs Matplotlib.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _svg(chart: Any) -> str:
    written = io.StringIO()
    chart.savefig(written, format="svg")
    _pyplot().close(chart)
    found = written.getvalue()
    return found[found.index("<svg") :]
