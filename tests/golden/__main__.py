"""Record the answers of this code, or compare them with those of an earlier recording.

    python -m tests.golden record --out F.json
    python -m tests.golden compare F.json
    python -m tests.golden record --out F.json --products P.csv.gz --map id=upc,title=name --exact --state FOLDER

Without --products it is the demo shop, in the size of the tests. `compare` asks what the recording holds,
prints every difference, and ends with 1 where there is one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from demo.catalogue import build_catalogue, write_catalogue
from ops.in_process import InProcessSuite
from tests.golden.recording import Recording, differences
from tests.golden.recording import record as record_plan
from tests.golden.requests import build_plan
from tests.golden.suite import DEMO_SIZE, Catalogue, golden_suite

app = typer.Typer(add_completion=False, help=__doc__)
Products = Annotated[Path | None, typer.Option(help="A file that `kairos catalog import` reads.")]
Mapping = Annotated[str, typer.Option("--map", help="As in `kairos catalog import`.")]
Currency = Annotated[str, typer.Option(help="Of prices without one.")]
Exact = Annotated[
    bool, typer.Option("--exact", help="Compare all vectors: for catalogues beyond some 10,000 products.")
]
State = Annotated[Path | None, typer.Option(help="Keeps the imported catalogue here for the next run.")]
Shuffle = Annotated[int | None, typer.Option(help="A seed: send the requests in another order.")]


@app.command()
def record(
    out: Annotated[Path, typer.Option(help="File to write.")],
    products: Products = None,
    mapping: Mapping = "",
    currency: Currency = "USD",
    exact: Exact = False,
    count: Annotated[int, typer.Option(help="Requests.", min=1)] = 500,
    state: State = None,
    shuffle: Shuffle = None,
) -> None:
    """Write requests and answers."""
    with _suite(products, mapping, currency, exact, state) as (suite, catalogue):
        recording = record_plan(suite, build_plan(catalogue.products(), count), shuffle)
    recording.write(out)
    typer.echo(f"{out}: {len(recording.answers)} answers")


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(help="A recording.")],
    products: Products = None,
    mapping: Mapping = "",
    currency: Currency = "USD",
    exact: Exact = False,
    state: State = None,
    shuffle: Shuffle = None,
) -> None:
    """Ask again, print every difference."""
    expected = Recording.read(file)
    with _suite(products, mapping, currency, exact, state) as (suite, _):
        found = record_plan(suite, expected.plan, shuffle)
    lines = list(differences(expected, found))
    for line in lines:
        typer.echo(line)
    changed = {line.partition(":")[0] for line in lines}
    typer.echo(f"{len(expected.answers)} requests, {len(changed)} answers differ")
    raise typer.Exit(1 if lines else 0)


@contextmanager
def _suite(
    products: Path | None, mapping: str, currency: str, exact: bool, state: Path | None
) -> Iterator[tuple[InProcessSuite, Catalogue]]:
    """(suite, what it has imported)."""
    with tempfile.TemporaryDirectory(prefix="golden") as folder:
        path = products
        if path is None:
            path = Path(folder) / "demo.jsonl.gz"
            write_catalogue(path, build_catalogue(size=DEMO_SIZE))
        catalogue = Catalogue(path, mapping, currency, exact)
        with golden_suite(state or Path(folder) / "state", catalogue) as suite:
            yield suite, catalogue


if __name__ == "__main__":
    app()
