"""Fuzzes a gateway over all real stages, in this process, and prints what it found.

    python -m tests.fuzz --minutes 60 --seed 1

The exit status is 1 if there is a finding. A finding names its case; a short one is a line for seeds.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop
from rich.console import Console
from tqdm import tqdm

from demo.catalogue import build_catalogue
from demo.loading import load_products
from ops.client import Connection
from ops.in_process import in_process_suite
from services.gateway.domain.budget import Stage
from tests.fuzz.running import Report, fuzz, fuzzed_gateway

# Numbers of cases of one seed.
_CASES = 10**9


async def _run(target: str, folder: Path, numbers: Iterator[int], seconds: float) -> Report:
    async with fuzzed_gateway({stage.value: target for stage in Stage}) as gateway:
        connection = Connection(f"127.0.0.1:{gateway.port}", "write", timeout_s=60.0)
        await asyncio.to_thread(load_products, connection, folder, build_catalogue(size=200))
        return await fuzz(gateway, numbers, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only this case, after the kept ones")
    arguments = parser.parse_args()
    numbers: Iterator[int] = itertools.count(arguments.seed * _CASES)
    if arguments.case is not None:
        numbers = iter([arguments.case])
    with (
        tempfile.TemporaryDirectory(prefix="kairos-fuzz-") as name,
        in_process_suite(Path(name)) as suite,
        tqdm(numbers, desc="cases", unit=" cases") as bar,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        report = runner.run(_run(suite.stages_target, Path(name), iter(bar), 60 * arguments.minutes))
    console = Console()
    console.print(f"{report.cases} cases in {report.seconds:.0f} s: {dict(report.codes)}")
    console.print(f"memory grew by {report.grown_mb:.0f} MB; long steps: {report.long_steps}")
    console.print(f"defects of stages: {report.stage_defects or 'none'}; findings: {len(report.findings)}")
    for finding in report.findings:
        console.print(finding, markup=False, soft_wrap=True)
    raise SystemExit(bool(report.findings or report.stage_defects or report.long_steps["cpu"]))


if __name__ == "__main__":
    main()
