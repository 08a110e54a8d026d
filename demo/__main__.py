"""`python -m demo --out DIR`: writes the catalogue, images and events of the demo shop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from demo.catalogue import build_catalogue, write_catalogue
from demo.pictures import write_pictures
from demo.shoppers import build_shoppers, simulate_events, write_events


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to. It is created if it is missing.")],
    seed: Annotated[int, typer.Option(help="Seed: the same seed gives the same shop.")] = 7,
    size: Annotated[int, typer.Option(help="Number of products.", min=1)] = 3000,
    shoppers: Annotated[int, typer.Option(help="Number of simulated shoppers.", min=0)] = 200,
    days: Annotated[int, typer.Option(help="Number of days with events.", min=0)] = 30,
) -> None:
    """Write catalogue.jsonl.gz, images/ and events.jsonl.gz."""
    products = build_catalogue(seed, size)
    write_catalogue(out / "catalogue.jsonl.gz", products)
    write_pictures(out / "images", products)
    events = simulate_events(build_shoppers(products, shoppers, seed), products, days, seed)
    write_events(out / "events.jsonl.gz", tqdm(events, desc="events", unit="event"))


if __name__ == "__main__":
    typer.run(main)
