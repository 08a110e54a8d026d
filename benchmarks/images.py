"""Image encoder: same-class retrieval and class accuracy on held-out photographs.

    python -m benchmarks.images --images DIR --out R.json [--max-minutes 12] [--model MODEL_DIR]

DIR has the folders train/<class>/ and validation/<class>/. The encoder is trained from scratch on train/ alone,
exported, and measured as served, with ONNX Runtime. Each picture of validation/ is a query for the other pictures of
its class (P@10, mAP); its class is predicted by a vote of its 15 nearest pictures of train/. Baselines with the same
vote and ranking: colour histograms, thumbnails, the untrained network; and the majority class. Prints a table, writes
JSON and a plot.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from services.common.arrays import unit_rows
from services.query_encoder.adapters.onnx_image_encoder import OnnxImageEncoder
from services.query_encoder.domain.image import Preprocessing
from training.bootstrap import mean_interval
from training.pictures.baseline import thumbnails
from training.pictures.data import LabelledPictures, read_folder
from training.pictures.export import export
from training.pictures.model import new_network, save_network
from training.pictures.settings import PictureTraining
from training.pictures.train import train

NEIGHBOURS = 15
DEPTH = 10
# A neighbour's vote has the weight exp(cosine / _TEMPERATURE).
_TEMPERATURE = 0.1
_BINS = 6
KAIROS, UNTRAINED, COLOURS, THUMBNAILS, MAJORITY = (
    "kairos: ResNet trained on train/", "the same ResNet, untrained", "colour histogram", "thumbnail of 12 by 12",
    "majority class, any order",
)  # fmt: skip

# [pictures, dimensions], unit rows.
Vectors = npt.NDArray[np.float32]
Embedding = Callable[[LabelledPictures], Vectors]


@dataclass(frozen=True)
class Figures:
    """By validation picture: `correct` (1 if the class is right), `precision` (P@10), `average` (average precision)."""

    correct: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    average: npt.NDArray[np.float64]

    def means(self) -> dict[str, float]:
        return {
            "class_accuracy": round(float(self.correct.mean()), 4),
            "p@10": round(float(self.precision.mean()), 4),
            "map": round(float(self.average.mean()), 4),
        }


def figures_of(embedding: Embedding, seen: LabelledPictures, unseen: LabelledPictures) -> Figures:
    known, queries = embedding(seen), embedding(unseen)
    predicted = vote(queries @ known.T, seen.labels, len(seen.classes))
    similarity = queries @ queries.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    same = unseen.labels[order] == unseen.labels[:, np.newaxis]
    return Figures((predicted == unseen.labels).astype(float), same[:, :DEPTH].mean(1), average_precision(same))


def vote(similarity: Vectors, labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64]:
    """[rows]: the class by a weighted vote of the nearest neighbours; `similarity` [rows, known pictures]."""
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = np.exp((np.take_along_axis(similarity, nearest, 1) - similarity.max(1, keepdims=True)) / _TEMPERATURE)
    votes = np.stack([np.where(labels[nearest] == label, weights, 0).sum(1) for label in range(classes)], 1)
    predicted: npt.NDArray[np.int64] = votes.argmax(1)
    return predicted


def average_precision(same: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """[rows]: of rankings `same` [rows, positions]; 0 without a relevant picture."""
    hits = np.cumsum(same, axis=1)
    positions = np.arange(1, same.shape[1] + 1)
    found: npt.NDArray[np.float64] = (hits / positions * same).sum(1) / np.maximum(same.sum(1), 1)
    return found


def by_chance(seen: LabelledPictures, unseen: LabelledPictures) -> Figures:
    """The most frequent class; for P@10 and mAP the expectation of a random order, the share of the class."""
    commonest = np.bincount(seen.labels).argmax()
    counts = np.bincount(unseen.labels, minlength=len(unseen.classes))
    share = (counts[unseen.labels] - 1) / (len(unseen) - 1)
    return Figures((unseen.labels == commonest).astype(float), share, share)


def colours(pictures: LabelledPictures) -> Vectors:
    """Square roots of the shares of 6 x 6 x 6 colours: their cosine is the Bhattacharyya coefficient."""
    bins = pictures.pixels.astype(np.int64) * _BINS // 256
    codes = (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]
    rows = [np.bincount(code.ravel(), minlength=_BINS**3) for code in tqdm(codes, desc="colours", unit=" pictures")]
    return unit_rows(np.sqrt(np.stack(rows)).astype(np.float32))


def served(folder: Path) -> Embedding:
    encoder = OnnxImageEncoder(folder, threads=1)

    def embed(pictures: LabelledPictures) -> Vectors:
        parts = np.array_split(np.arange(len(pictures)), max(1, len(pictures) // 64))
        rows = [encoder.encode(pictures.pixels[part]) for part in tqdm(parts, desc=folder.name, unit=" batches")]  # type: ignore[arg-type]
        return np.concatenate(rows)

    return embed


def trained_model(folder: Path, pictures: LabelledPictures, settings: PictureTraining) -> dict[str, object]:
    folder.mkdir(parents=True, exist_ok=True)
    trained = train(pictures, settings, folder / "checkpoint.pt")
    save_network(folder, trained.network, trained.preprocessing, trained.report)
    export(folder)
    return trained.report


def untrained_model(folder: Path, seed: int) -> Path:
    network, preprocessing = new_network(seed)
    save_network(folder, network, preprocessing, {})
    export(folder)
    return folder


def interval(ours: Figures, other: Figures, seed: int) -> dict[str, list[float]]:
    """95 % interval of each difference, by the paired bootstrap over the validation pictures."""
    differences = {
        "class_accuracy": ours.correct - other.correct,
        "p@10": ours.precision - other.precision,
        "map": ours.average - other.average,
    }
    return {name: list(mean_interval(difference, seed)) for name, difference in differences.items()}


def plot(figures: Mapping[str, Figures], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(1, 3, figsize=(13, 2.8), layout="constrained", sharey=True)
    for axis, metric in zip(axes, ("class_accuracy", "p@10", "map"), strict=True):
        values = [found.means()[metric] for found in figures.values()]
        axis.bar_label(axis.barh(list(figures), values), fmt="%.3f", padding=3)
        axis.set(title=metric, xlim=(0, max(values) * 1.25))
    axes[0].invert_yaxis()
    chart.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="with train/<class>/ and validation/<class>/")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; a plot goes beside it (.png)")
    parser.add_argument("--model", type=Path, help="the model's folder; an interrupted training resumes in it")
    parser.add_argument("--epochs", type=int, default=PictureTraining.epochs)
    parser.add_argument("--max-minutes", type=float, default=12, help="reduces the epochs to fit")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=PictureTraining.seed)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    preprocessing = Preprocessing.of(new_network(arguments.seed)[1])
    try:
        seen = read_folder(arguments.images / "train", preprocessing)
        unseen = read_folder(arguments.images / "validation", preprocessing, seen.classes)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    settings = PictureTraining(epochs=arguments.epochs, seed=arguments.seed, max_minutes=arguments.max_minutes)
    with tempfile.TemporaryDirectory(prefix="kairos-images-") as scratch:
        model = arguments.model or Path(scratch) / "trained"
        report = trained_model(model, seen, settings)
        began = time.monotonic()
        figures = {
            MAJORITY: by_chance(seen, unseen),
            COLOURS: figures_of(colours, seen, unseen),
            THUMBNAILS: figures_of(lambda pictures: thumbnails(pictures.pixels), seen, unseen),
            UNTRAINED: figures_of(served(untrained_model(Path(scratch) / "untrained", arguments.seed)), seen, unseen),
            KAIROS: figures_of(served(model), seen, unseen),
        }
    best = max((name for name in figures if name != KAIROS), key=lambda name: figures[name].means()["map"])
    margin = interval(figures[KAIROS], figures[best], arguments.seed)
    table = Table(
        title=f"{len(unseen):,} photographs of {len(unseen.classes)} classes, trained on {len(seen):,} others"
    )
    for heading in ("", "class accuracy", "P@10", "mAP"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in figures.items():
        table.add_row(name, *(f"{value:.4f}" for value in found.means().values()))
    Console().print(table)
    print(f"trained in {report['seconds']} s, {report['epochs']} epochs; kairos − {best}, 95 %: {margin}")
    answer = {
        "train": len(seen), "validation": len(unseen), "classes": list(seen.classes), "seed": arguments.seed,
        "training": report, "measured_in_s": round(time.monotonic() - began, 1),
        "figures": {name: found.means() for name, found in figures.items()},
        "kairos_minus_best": {"best": best, "interval_95": margin},
    }  # fmt: skip
    arguments.out.write_text(json.dumps(answer, indent=2) + "\n")
    plot(figures, arguments.out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
