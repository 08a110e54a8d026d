"""The report of `benchmarks.load`: tables in the terminal, and a page of HTML with plots."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.load_goals import Report
from benchmarks.load_phases import HALF, IN_FLIGHT, OVERLOAD, closed_name
from benchmarks.load_summary import BIN_S, merged

_OUTCOMES = ("phase", "sent/s", "whole/s", "degraded", "refused", "errors", "in time")
_LATENCIES = (
    "phase", "p50", "p90", "p99", "p99.9", "refusal p50", "refusal p99", "client CPU", "client lag p50", "lag p99",
)  # fmt: skip
_COSTS = ("phase", "all", "by process")
_DETAILS = ("phase", "degradations", "errors", "whole / sent of each kind")
_GOALS = ("goal", "wanted", "measured", "each", "holds")
# Processes that cost less are not listed.
_LEAST_MS = 0.1
_STYLE = "body{font:15px sans-serif;max-width:75em;margin:2em auto}td,th{padding:.2em .6em;text-align:right}" \
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"  # fmt: skip


def print_report(console: Console, report: Report) -> None:
    for title, headings, rows in _tables(report):
        table = Table(*headings, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    in_flight, rate = report.saturation
    _, cpu_ms, _ = _costs(("", report.parts[closed_name(in_flight)]))
    console.print(f"saturation: {rate:.1f} whole answers/s with {in_flight} in flight, {cpu_ms} ms of CPU each")


def _tables(report: Report) -> list[tuple[str, Sequence[str], Iterable[Sequence[str]]]]:
    """(title, headings, rows)."""
    return [
        ("Degradations and errors", _DETAILS, map(_detail, report.parts.items())),
        ("Latency of answers in ms, from the time at which a call was due", _LATENCIES,
         map(_latencies, report.parts.items())),
        ("CPU of the suite in ms for one whole answer", _COSTS, map(_costs, report.parts.items())),
        ("Outcomes", _OUTCOMES, map(_outcomes, report.parts.items())),
        ("Goals", _GOALS, _goal_rows(report)),
    ]  # fmt: skip


def write_html(path: Path, report: Report, settings: dict[str, Any]) -> None:
    """One file without links to others."""
    parts = [
        "<!doctype html><meta charset='utf-8'><title>Load</title>",
        f"<style>{_STYLE}</style><h1>Load</h1>",
        f"<p>{html.escape(', '.join(f'{name} {value}' for name, value in settings.items()))}</p>",
        _plots(report),
        *(f"<h2>{title}</h2>{_html_table(headings, rows)}" for title, headings, rows in reversed(_tables(report))),
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _outcomes(part: tuple[str, dict[str, Any]]) -> Sequence[str]:
    name, phase = part
    in_time = "" if phase["in_time_share"] is None else f"{phase['in_time_share']:.4f}"
    counts = (phase["degraded"], phase["refused"], sum(phase["errors"].values()))
    return name, f"{phase['sent_per_s']:.1f}", f"{phase['whole_per_s']:.1f}", *map(str, counts), in_time


def _latencies(part: tuple[str, dict[str, Any]]) -> Sequence[str]:
    name, phase = part
    refusals, client = phase["refusal_latency"], phase["client"]
    answers = (phase["latency"][percentile] for percentile in ("p50", "p90", "p99", "p99.9"))
    return (
        name, *(f"{value:.1f}" for value in (*answers, refusals["p50"], refusals["p99"])),
        f"{client['cpu_share']:.1%}", *(f"{client['lag'][percentile]:.1f}" for percentile in ("p50", "p99")),
    )  # fmt: skip


def _costs(part: tuple[str, dict[str, Any]]) -> Sequence[str]:
    name, phase = part
    ms = {of: 1e3 * seconds / phase["whole"] for of, seconds in phase["suite_cpu_s"].items()} if phase["whole"] else {}
    largest = sorted(ms, key=ms.__getitem__, reverse=True)
    listed = ", ".join(f"{of} {ms[of]:.1f}" for of in largest if ms[of] >= _LEAST_MS)
    return name, f"{sum(ms.values()):.1f}" if ms else "", listed


def _detail(part: tuple[str, dict[str, Any]]) -> Sequence[str]:
    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{name} {count}" for name, count in counts.items())

    name, phase = part
    kinds = ", ".join(f"{kind} {of['whole']}/{of['sent']}" for kind, of in phase["by_kind"].items())
    return name, listed(phase["degradations"]), listed(phase["errors"]), kinds


def _goal_rows(report: Report) -> Iterable[Sequence[str]]:
    for goal in report.goals():
        each = ", ".join(f"{value:.3g}" for value in goal.values)
        yield goal.name, goal.wanted, f"{goal.value:.4g}", each, "yes" if goal.holds else "NO"


def _html_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(headings, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _plots(report: Report) -> str:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, ((rates, outcomes), (curve, recovery)) = pyplot.subplots(2, 2, figsize=(12, 8), layout="constrained")
    rates.plot(IN_FLIGHT, [report.parts[closed_name(count)]["whole_per_s"] for count in IN_FLIGHT], "o-")
    rates.set(title="closed loop", xlabel="calls in flight", ylabel="whole answers/s", ylim=(0, None))

    def mean(multiple: float, name: str) -> float:
        return float(np.mean([phase[name] / phase["sent"] for phase in report.of(multiple)]))

    labels, below = [f"{multiple:g} ×" for multiple in report.multiples], np.zeros(len(report.multiples))
    for name in ("whole", "degraded", "refused"):
        shares = np.array([mean(multiple, name) for multiple in report.multiples])
        outcomes.bar(labels, shares, bottom=below, label=name)
        below += shares
    outcomes.bar(labels, 1 - below, bottom=below, label="errors")
    outcomes.set(title="outcomes", xlabel="multiple of saturation", ylabel="share of calls")
    outcomes.legend(loc="lower left")
    for multiple in report.multiples:
        histogram = merged(phase["latency"]["histogram_us"] for phase in report.of(multiple))
        if histogram.get_total_count():
            nines = 100 * (1 - np.logspace(0, -3.5, 80))
            curve.plot(1 / (1 - nines / 100), [histogram.get_value_at_percentile(p) / 1e3 for p in nines],
                       label=f"{multiple:g} ×")  # fmt: skip
    ticks = [1, 2, 10, 100, 1_000]
    curve.set(title="latency of answers", xlabel="percentile", ylabel="ms", xscale="log", ylim=(0, None))
    curve.set_xticks(ticks, [f"{100 * (1 - 1 / tick):g}" for tick in ticks])
    curve.legend()
    for number, bins in enumerate(report.recoveries(), 1):
        whole_shares = [whole / sent if sent else np.nan for sent, whole in bins]
        recovery.plot(BIN_S * np.arange(len(bins)), whole_shares, ".-", label=f"round {number}")
    recovery.set(title=f"whole answers after {OVERLOAD:g} × fell to {HALF:g} × saturation", xlabel="seconds after",
                 ylabel="share in each 100 ms", ylim=(-0.05, 1.05))  # fmt: skip
    recovery.legend()
    written = io.StringIO()
    chart.savefig(written, format="svg")
    pyplot.close(chart)
    return written.getvalue()[written.getvalue().index("<svg") :]
