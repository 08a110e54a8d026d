"""Training of the image encoder: learning, resuming, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from services.query_encoder.adapters.onnx_image_encoder import OnnxImageEncoder
from services.query_encoder.domain.image import Preprocessing
from training.pictures.augment import augmented
from training.pictures.data import LabelledPictures, read_folder
from training.pictures.export import export
from training.pictures.model import PREPROCESSOR, PictureVectors, embed, load_vectors, new_network, save_network
from training.pictures.settings import PictureTraining
from training.pictures.train import Trained, train

SETTINGS = PictureTraining(epochs=4, batch=8, seed=1, warm_up=0.3)


@pytest.fixture(scope="module")
def pictures(shapes: Path) -> LabelledPictures:
    return read_folder(shapes / "train", Preprocessing.of(new_network(0)[1]))


@pytest.fixture(scope="module")
def trained(pictures: LabelledPictures) -> Trained:
    torch.set_num_threads(1)
    return train(pictures, SETTINGS)


def test_it_learns(trained: Trained, pictures: LabelledPictures) -> None:
    """After a few epochs the loss is lower, and pictures of one class are nearer to each other than to others."""
    assert trained.report["loss"][-1] < trained.report["loss"][0]
    vectors = embed(PictureVectors(trained.network), Preprocessing.of(trained.preprocessing), pictures.pixels)
    similarity, same = vectors @ vectors.T, pictures.labels[:, None] == pictures.labels
    assert similarity[same].mean() > similarity[~same].mean()


def test_it_resumes(pictures: LabelledPictures, trained: Trained, tmp_path: Path) -> None:
    """An interrupted training resumes from its checkpoint and ends like an uninterrupted one."""
    file = tmp_path / "checkpoint.pt"

    def interrupt(epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pictures, SETTINGS, file, interrupt)
    done: list[int] = []
    resumed = train(pictures, SETTINGS, file, done.append)
    assert done == [3, 4]
    # Each run selects the precision that is faster at the moment, and bfloat16 changes the loss of so few pictures.
    np.testing.assert_allclose(resumed.report["loss"], trained.report["loss"], rtol=0.25)


def test_a_checkpoint_of_another_training_is_ignored(pictures: LabelledPictures, tmp_path: Path) -> None:
    """With other settings training starts from the beginning."""
    file = tmp_path / "checkpoint.pt"
    train(pictures, replace(SETTINGS, epochs=1), file)
    assert len(train(pictures, replace(SETTINGS, epochs=1, seed=2), file).report["loss"]) == 1


def test_the_time_limit_reduces_the_epochs(pictures: LabelledPictures) -> None:
    """With hardly any time a training has one epoch."""
    report = train(pictures, replace(SETTINGS, max_minutes=1e-6)).report
    assert (report["epochs"], len(report["loss"])) == (1, 1)


def test_served_as_trained(trained: Trained, pictures: LabelledPictures, tmp_path: Path) -> None:
    """ONNX Runtime returns the vectors of torch, in batches of any size."""
    save_network(tmp_path, trained.network, trained.preprocessing, trained.report)
    export(tmp_path)
    encoder = OnnxImageEncoder(tmp_path, threads=1)
    ours = encoder.encode(list(pictures.pixels[:20]))
    expected = embed(PictureVectors(trained.network), Preprocessing.of(trained.preprocessing), pictures.pixels[:20])
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    np.testing.assert_allclose(encoder.encode([pictures.pixels[3]])[0], ours[3], atol=1e-4)


def test_a_clip_model(pictures: LabelledPictures, tmp_path: Path) -> None:
    """A CLIP model from a hub is exported from its folder and served with its own preprocessing."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 50}, vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(tmp_path)
    preprocessing = {"size": {"shortest_edge": 32}, "crop_size": 32, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}
    (tmp_path / PREPROCESSOR).write_text(json.dumps(preprocessing))
    export(tmp_path)
    encoder = OnnxImageEncoder(tmp_path, threads=1)
    small = [pixels[:32, :32] for pixels in pictures.pixels[:3]]
    assert encoder.dimensions == 12
    expected = embed(load_vectors(tmp_path), Preprocessing.of(preprocessing), np.stack(small))
    np.testing.assert_allclose(encoder.encode(small), expected, atol=1e-4)


def test_augmentation() -> None:
    """An augmented picture has the same shape and range and other pixels; equal generators give equal pictures."""
    images = torch.rand(5, 3, 20, 16, generator=torch.Generator().manual_seed(0))
    once = augmented(images, torch.Generator().manual_seed(1))
    assert once.shape == images.shape
    assert once.min() >= 0
    assert once.max() <= 1
    assert not torch.equal(once, images)
    assert torch.equal(once, augmented(images, torch.Generator().manual_seed(1)))


def test_other_files_are_skipped(tmp_path: Path, shapes: Path) -> None:
    """Files that are no pictures are skipped; a folder without pictures is refused with the required layout."""
    folder = tmp_path / "train" / "disc"
    folder.mkdir(parents=True)
    (folder / "note.txt").write_text("not a picture")
    with pytest.raises(ValueError, match="a folder for each class"):
        read_folder(tmp_path / "train", Preprocessing.of(new_network(0)[1]))
    (folder / "0.png").write_bytes((shapes / "train" / "disc" / "0.png").read_bytes())
    assert len(read_folder(tmp_path / "train", Preprocessing.of(new_network(0)[1]))) == 1


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    """A folder without a model is refused, and the message says how to train one."""
    with pytest.raises(FileNotFoundError, match="kairos train --only pictures"):
        OnnxImageEncoder(tmp_path, threads=1)
