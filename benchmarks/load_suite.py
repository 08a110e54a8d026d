"""The suite that the load benchmarks measure: started under Ray Serve with a shop, or one that runs already."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load_traffic import Visit, demo_visits
from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from catalog.rows import column_names
from demo.catalogue import build_catalogue
from demo.loading import load_shop
from ops.client import Connection
from ops.control import start
from ops.processes import suite_processes
from ops.settings import SuiteSettings
from ops.state import SuiteState
from training.search.data import read_judgements

SHOPPERS = 100
# The columns of DATA/products.csv.gz, as for `kairos catalog import --map`.
_MAPPING = "id=product_uid,title=product_title"
# Of imports, and of calls that prepare a phase.
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Measured:
    """A suite with a shop. `data_dir` is None for a suite that somebody else has started."""

    connection: Connection
    data_dir: Path | None

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds by the name of the process; empty if the processes are unknown."""
        seconds = defaultdict[str, float](float)
        for process in suite_processes(self.data_dir) if self.data_dir else ():
            seconds[process.name] += process.cpu_seconds
        return seconds


@contextlib.contextmanager
def running_suite(settings: SuiteSettings) -> Iterator[SuiteState]:
    """Starts the suite, and stops it at the end. The exported encoder is kept in var/models between runs."""
    os.environ.setdefault("KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR", str(Path("var/models").resolve()))
    # SIGTERM would end this process without the suite.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    supervisor, state = start(settings)
    try:
        yield state
    finally:
        supervisor.terminate()
        supervisor.wait()


@contextlib.contextmanager
def shop_suite(target: str, size: int, data: Path | None) -> Iterator[tuple[Measured, list[Visit]]]:
    """(suite, what its shoppers do). The shop is the demo shop with `size` products, or that of the folder `data`.

    With `target` the gateway at that address is measured, which must have the products of the shop already.
    """
    catalogue = [] if data else build_catalogue(size=size)
    visits = [Visit(query) for query in read_judgements(judgements_file(data))] if data else []
    visits = visits or demo_visits(catalogue, SHOPPERS)
    if target:
        yield Measured(Connection(target, timeout_s=_TIMEOUT_S), None), visits
        return
    with tempfile.TemporaryDirectory(prefix="kairos-load-") as name:
        settings = SuiteSettings.on_free_ports(Path(name) / "suite")
        with running_suite(settings) as state:
            connection = Connection(state.gateway, timeout_s=_TIMEOUT_S)
            if data:
                import_data(connection, data, Path(name))
            else:
                load_shop(connection, Path(name), catalogue, SHOPPERS)
            yield Measured(connection, settings.data_dir), visits


def judgements_file(data: Path) -> Path:
    return data / "judgements.csv.gz"


def import_data(connection: Connection, data: Path, folder: Path) -> None:
    """Imports DATA/products.csv.gz; products that are stored already cost little. `folder` takes the rejected rows."""
    products = data / "products.csv.gz"
    mapping = parse_mapping(_MAPPING, column_names(products), "USD")
    CatalogImport(connection, mapping, Rejects(folder / "rejects.jsonl")).run(products)
