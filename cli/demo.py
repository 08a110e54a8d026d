"""`make demo`: starts the suite on this machine, imports the demo shop, shows a tour, and trains on simulated shoppers.
In a terminal the suite then runs until Ctrl-C; otherwise the command ends after that.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import grpc
from rich.console import Console

from cli.demo_campaign import show_campaign
from cli.demo_rule import show_rule
from cli.demo_training import show_training
from cli.tour import TourFailed, run_tour
from demo.catalogue import build_catalogue
from demo.loading import RowsRejected, load_faq, load_products
from ops.client import Connection, explain_error
from ops.control import SuiteError, start, wait
from ops.settings import SuiteSettings
from ops.watching import prometheus
from services.common.settings import load_settings

COMMANDS = """
Try:
  .venv/bin/kairos search "coffee maker" --explain
  .venv/bin/kairos search 咖啡机 --locale zh
  .venv/bin/kairos chat
  .venv/bin/kairos events record --user me --item kitchen-mugs-0001 --type click
  .venv/bin/kairos recommend --user me --explain
  .venv/bin/kairos models list
  .venv/bin/kairos status
"""


def main() -> int:
    argparse.ArgumentParser("python -m cli.demo", description=__doc__).parse_args()
    console = Console()
    # SIGTERM ends the command in the same way as Ctrl-C: the suite is stopped below.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = load_settings(SuiteSettings)
        supervisor, state = start(settings)
    except SuiteError as error:
        console.print(f"[red]{error}")
        return 1
    try:
        connection = Connection(state.gateway)
        with tempfile.TemporaryDirectory() as folder:
            products = build_catalogue()
            load_products(connection, Path(folder), products)
            load_faq(connection)
            run_tour(connection, console)
            show_rule(connection, Connection(state.control), console)
            if settings.sponsored:
                show_campaign(connection, Connection(state.control), console, Path(folder))
            show_training(connection, console, settings, Path(folder), products)
        if sys.stdout.isatty():
            console.print(COMMANDS, highlight=False)
            with prometheus(state.metrics, settings.data_dir / "prometheus") as watching:
                console.print(
                    f"Prometheus: {watching}" if watching else "Install Prometheus to see metrics and alerts."
                )
                console.print("Press Ctrl-C to stop the suite.")
                wait(supervisor)
        return 0
    except KeyboardInterrupt:
        return 130
    except (RowsRejected, TourFailed, grpc.RpcError) as error:
        problem = explain_error(error) if isinstance(error, grpc.RpcError) else str(error)
        console.print(f"[red]The tour failed: {problem}")
        return 1
    finally:
        supervisor.terminate()
        supervisor.wait()


if __name__ == "__main__":
    sys.exit(main())
