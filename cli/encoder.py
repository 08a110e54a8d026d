"""`kairos encoder`: the model of the query encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from catalog.rows import FileRefused
from cli.calls import failed
from cli.options import Json

if TYPE_CHECKING:
    from training.compression.compress import Row

app = typer.Typer(no_args_is_help=True, help="The model of the query encoder.")
_console = Console()


@app.callback()
def encoder() -> None:
    """The model of the query encoder."""


@app.command()
def compress(
    products: Annotated[Path, typer.Option(help="Catalogue, as for `kairos catalog import`.")],
    judgements: Annotated[
        Path | None,
        typer.Option(help="CSV file with search_term, product_uid and relevance. Absent: queries made from titles."),
    ] = None,
    map: Annotated[str, typer.Option(help="Columns of the fields, as for `kairos catalog import`.")] = "",
    model: Annotated[Path | None, typer.Option(help="Folder of the model.", show_default="the embedded model")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pruned models, compress.json and compress.png.")] = Path(
        "var/models/compressed"
    ),
    queries: Annotated[int, typer.Option(help="Number of queries to measure with. 0: all.", min=0)] = 500,
    catalogue: Annotated[int, typer.Option(help="Number of products to search in. 0: all.", min=0)] = 4_000,
    lessons: Annotated[int, typer.Option(help="Number of products that pruning learns from.", min=64)] = 1_024,
    recovery_steps: Annotated[int, typer.Option(help="Steps of distillation after pruning. 0: none.", min=0)] = 40,
    rounds: Annotated[int, typer.Option(help="Number of repetitions of the time measurement.", min=1)] = 10,
    tolerance: Annotated[float, typer.Option(help="Accepted relative loss of NDCG@10.")] = 0.005,
    cut: Annotated[
        list[str], typer.Option(help='A way to prune, for example "heads=0.25,units=0.5,layers=1". May be repeated.')
    ] = [],  # noqa: B006 - Typer wants a list
    seed: Annotated[int, typer.Option(help="Seed of the random sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Prune and quantize the text encoder, measure size, latency and NDCG@10, and propose the smallest good one."""
    try:
        import torch

        from catalog.products import read_catalogue
        from services.query_encoder.settings import QueryEncoderSettings
        from services.query_encoder.wiring import embedded_model_dir
        from training.compression import compress as compression
        from training.compression.pruning import Cut
        from training.compression.report import document, plot
        from training.compression.sample import draw
        from training.search.data import read_judgements
    except ModuleNotFoundError as error:
        raise failed(f"{error}; install the extra kairos-suite[training]") from None
    torch.set_num_threads(1)
    encoder = QueryEncoderSettings()
    try:
        cuts = tuple(Cut.parse(text) for text in cut) or compression.CUTS
        settings = compression.Compression(cuts, recovery_steps, rounds, tolerance, seed)
        judged = read_judgements(judgements) if judgements else None
        sample = draw(read_catalogue(products, map), judged, queries, catalogue, lessons, seed)
        rows = compression.compress(model or encoder.model_dir or embedded_model_dir(), sample, out, settings)
    except (OSError, ValueError, FileRefused) as error:
        raise failed(str(error), exit_code=2) from None
    best = compression.proposed(rows, tolerance)
    report = json.dumps(document(rows, best, sample, settings), indent=2)
    (out / "compress.json").write_text(report + "\n")
    plot(rows, best, tolerance, out / "compress.png")
    if as_json:
        return print(report)
    kind = "judged queries" if judged else "queries made from titles"
    _print(rows, best, f"{len(sample.judgements):,} {kind} over {len(sample.products):,} products")
    _console.print(f"Smallest model within {tolerance:.1%} of fp32: {best.name}, {best.backend}. Serve it with")
    for name, value in compression.serving(best, encoder.model_version).items():
        _console.print(f"  {name}={value}", soft_wrap=True, highlight=False)
    if best.name != compression.UNPRUNED:
        _console.print("and change the catalogue to it (kairos catalog reembed): its vectors are of another model.")
    return None


def _print(rows: Sequence[Row], best: Row, title: str) -> None:
    table = Table(title=title)
    for heading in ("", "", "MB", "ms", "NDCG@10", "to fp32 (95 %)", "fused NDCG@10", "cosine"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for row in rows:
        share, low, high = row.change
        table.add_row(
            row.name, row.backend.removeprefix("onnx-"), f"{row.size_bytes / 1e6:.1f}",
            f"{row.latency_ms:.2f}", f"{row.ndcg:.4f}",
            f"{share:+.1%} ({low:+.1%} to {high:+.1%})", f"{row.fused_ndcg:.4f}", f"{row.cosine:.4f}",
            style="bold green" if row is best else None,
        )  # fmt: skip
    _console.print(table)
