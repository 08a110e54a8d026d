"""`python -m training.pictures --images DIR --out MODEL_DIR`: trains on DIR/train, writes what the encoder serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from services.query_encoder.domain.picture import Preprocessing
from training.pictures.data import read_folder
from training.pictures.export import export
from training.pictures.model import new_network, save_network
from training.pictures.train import PictureTraining, train


def main(
    images: Annotated[Path, typer.Option(help="Holds train/<class>/<picture>.")],
    out: Annotated[Path, typer.Option(help="The model's folder; an interrupted training goes on in it.")],
    epochs: int = PictureTraining.epochs,
    seed: int = PictureTraining.seed,
    max_minutes: Annotated[float, typer.Option(help="Fewer epochs where they would take longer. 0: no bound.")] = 0,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    pictures = read_folder(images / "train", Preprocessing.of(new_network(seed)[1]))
    settings = PictureTraining(epochs=epochs, seed=seed, max_minutes=max_minutes)
    trained = train(pictures, settings, out / "checkpoint.pt")
    save_network(out, trained.network, trained.preprocessing, trained.report)
    print(export(out))


if __name__ == "__main__":
    typer.run(main)
