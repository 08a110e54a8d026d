"""`python -m training.pictures --images DIR --out MODEL_DIR`: trains and exports an image encoder.

Without a catalogue, DIR has the files train/<class>/<picture>. With a catalogue, the image_uri of its products are
paths in DIR, and their categories are the classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from catalog.products import read_catalogue
from services.query_encoder.domain.picture import Preprocessing
from training.pictures.data import read_folder, read_products
from training.pictures.export import export
from training.pictures.model import new_network, save_network
from training.pictures.train import PictureTraining, train


def main(
    images: Annotated[Path, typer.Option(help="Folder of the pictures.")],
    out: Annotated[Path, typer.Option(help="The model's folder; an interrupted training resumes in it.")],
    catalog: Annotated[Path | None, typer.Option(help="The shop's catalogue, as for `kairos catalog import`.")] = None,
    map: Annotated[str, typer.Option(help="As for `kairos catalog import`.")] = "",
    epochs: int = PictureTraining.epochs,
    seed: int = PictureTraining.seed,
    max_minutes: Annotated[float, typer.Option(help="Reduces the epochs to fit. 0: no limit.")] = 0,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    preprocessing = Preprocessing.of(new_network(seed)[1])
    try:
        if catalog is None:
            pictures = read_folder(images / "train", preprocessing)
        else:
            pictures = read_products(read_catalogue(catalog, map), images, preprocessing)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    settings = PictureTraining(epochs=epochs, seed=seed, max_minutes=max_minutes)
    trained = train(pictures, settings, out / "checkpoint.pt")
    save_network(out, trained.network, trained.preprocessing, trained.report)
    print(export(out))


if __name__ == "__main__":
    typer.run(main)
