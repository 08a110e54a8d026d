"""Sponsored places: incentives, revenue, efficiency, pacing, leases, invalid clicks, exact bills, time of an auction.

    python -m benchmarks.ads --out R.json

Everything is simulated with seeds and needs no running suite. Rules for clicks were chosen with the seeds 0 to 4; the
figures are of the seeds 100 to 104. Each part has its baseline in the same run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.ads_auction import auction_time, incentives, mechanisms
from benchmarks.ads_budgets import leases, pacing
from benchmarks.ads_clicks import clicks

_FIRST_SEED = 100


def measure(options: argparse.Namespace) -> dict[str, Any]:
    seed = _FIRST_SEED if options.seed is None else options.seed
    return {
        "incentives": incentives(options.auctions, seed),
        "mechanisms": mechanisms(options.auctions, seed),
        "time": auction_time(options.campaigns, 300, 500, seed),
        "pacing": pacing(options.paced, seed),
        "leases": leases(options.runs, seed),
        "clicks": [clicks(options.visitors, seed + number) for number in range(5)],
    }


def show(report: dict[str, Any]) -> Table:
    table = Table("figure", "value", box=None)
    for name, part in report["incentives"].items():
        text = f"{part['gain_cents_max']:.3f} cents a page at most, {part['gain_share']:.2%} in all"
        table.add_row(f"gain of another bid than the value, {name}", text)
    for name, part in report["mechanisms"].items():
        revenue, share = part["revenue_cents"], part["efficiency"]
        text = f"{revenue['mean']:.3f} ± {revenue['half']:.3f} cents a page / {share['mean']:.4f} ± {share['half']:.4f}"
        table.add_row(f"revenue / efficiency, {name}", text)
    time = report["time"]
    for name, key in (("", "selection_ms"), (", all campaigns in one auction", "worst_case_ms")):
        text = f"{time[key]['p50']:.2f} / {time[key]['p99']:.2f} ms"
        table.add_row(f"selection with {time['campaigns']:,} campaigns, CPU p50 / p99{name}", text)
    pacing, without = report["pacing"], report["pacing"]["without"]
    table.add_row(
        f"budget spent in {pacing['days']} days, least / mean",
        f"{pacing['spent_share_min']:.3f} / {pacing['spent_share_mean']:.3f}",
    )
    text = f"{pacing['hour_most']:.2f} ({without['hour_most']:.2f}, ended at {without['last_hour_median']:.0f}:00)"
    table.add_row("most that an hour took of its share (without pacing)", text)
    table.add_row("clicks for the budget, ratio to no pacing", f"{pacing['clicks_ratio']:.2f}")
    for name in ("leases", "without"):
        part = report["leases"][name]
        beyond, spent = f"{part['clicks_beyond_max']:.0f} / {part['clicks_beyond_mean']:.1f}", part["spent_share_mean"]
        table.add_row(f"unpaid clicks, 10 replicas with kills, {name}, most / mean", f"{beyond}, {spent:.1%} spent")
    parts = report["clicks"]
    for name, key in (("fraudulent clicks billed", "fraudulent_billed"), ("honest clicks refused", "honest_refused")):
        values = [part[key] for part in parts]
        table.add_row(
            f"{name}, mean / worst of {len(parts)} days", f"{sum(values) / len(values):.2%} / {max(values):.2%}"
        )
    is_equal = all(part["is_equal_when_read_again"] for part in parts)
    table.add_row("bills equal to the cent after the log was read three times", "yes" if is_equal else "no")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auctions", type=int, default=1_000)
    parser.add_argument("--campaigns", type=int, default=10_000, help="of the auction whose time is taken")
    parser.add_argument("--paced", type=int, default=20, help="campaigns, over ten days each")
    parser.add_argument("--runs", type=int, default=30, help="hours with ten replicas")
    parser.add_argument("--visitors", type=int, default=20_000, help="of a day")
    parser.add_argument("--seed", type=int, help=f"default: {_FIRST_SEED}")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    report = measure(options)
    Console().print(show(report))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
