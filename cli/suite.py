"""`kairos up`, `kairos down` and `kairos status`: the suite on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.options import DataDir, Json
from ops.control import SuiteError, health, start, stop, wait
from ops.processes import SuiteProcess, suite_processes
from ops.settings import SuiteSettings
from ops.state import SuiteState, read_state
from services.common.settings import load_settings

_console = Console(stderr=True)


def up(
    data_dir: DataDir = None,
    detach: Annotated[bool, typer.Option(help="Return when the suite is ready, and leave it running.")] = False,
    as_json: Json = False,
) -> None:
    """Start the suite on this machine: the stages as Ray Serve applications, and the gateway."""
    try:
        supervisor, state = start(_settings(data_dir))
    except SuiteError as error:
        _console.print(f"[red]{error}")
        raise typer.Exit(1) from None
    _console.print(f"Ready: gateway {state.gateway}, metrics {state.metrics}, control {state.control}")
    if as_json:
        addresses = {"gateway": state.gateway, "metrics": state.metrics, "control": state.control}
        print(json.dumps(addresses), flush=True)
    if not detach:
        _console.print("Press Ctrl-C to stop it.")
        wait(supervisor)


def down(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Stop all processes of the suite."""
    count = stop(_settings(data_dir).data_dir.resolve())
    if as_json:
        print(json.dumps({"stopped_processes": count}))
    _console.print("Stopped." if count else "The suite was not running.")


def status(
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print whether the suite runs, and the memory of each process. Exit code 1 if the gateway does not serve."""
    folder = _settings(data_dir).data_dir.resolve()
    state, processes = read_state(folder), suite_processes(folder)
    answers = health(state) if state else {}
    if as_json:
        document = {
            "running": state is not None,
            "gateway": state.gateway if state else None,
            "control": state.control if state else None,
            "health": answers,
            "processes": [vars(process) for process in processes],
            "resident_bytes": sum(process.resident_bytes for process in processes),
        }
        print(json.dumps(document, indent=2))
    else:
        _print_status(state, answers, processes)
    raise typer.Exit(0 if state and answers.get("gateway") == "SERVING" else 1)


def _settings(data_dir: Path | None) -> SuiteSettings:
    return load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {})


def _print_status(state: SuiteState | None, answers: dict[str, str], processes: list[SuiteProcess]) -> None:
    console = Console()
    console.print(f"gateway {state.gateway}" if state else "[yellow]the suite is not running")
    if state:
        console.print(f"control {state.control}")
    for name, answer in answers.items():
        console.print(f"  {name:<10} [{'green' if answer == 'SERVING' else 'red'}]{answer}")
    table = Table("process", "pid", "resident MB", "CPU s", title="Processes of the suite")
    for process in processes:
        row = process.name, str(process.pid), f"{process.resident_bytes / 1e6:,.0f}", f"{process.cpu_seconds:,.1f}"
        table.add_row(*row)
    total = sum(process.resident_bytes for process in processes)
    table.add_section()
    table.add_row("all", str(len(processes)), f"{total / 1e6:,.0f}", "")
    console.print(table)
