"""Supervised training of the image encoder: a softmax over the cosines to one direction per class.

A normalised softmax (NormFace: Wang et al., ACM MM 2017) with label smoothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import ResNetModel

from services.query_encoder.domain.image import Preprocessing
from training.pictures.augment import augmented
from training.pictures.data import LabelledPictures
from training.pictures.model import WIDTH, PictureVectors, new_network
from training.pictures.settings import PictureTraining
from training.schedules import warmup_cosine

# Batches that estimate the duration of an epoch.
_PROBE = 3


@dataclass(frozen=True)
class Trained:
    network: ResNetModel
    preprocessing: dict[str, Any]
    report: dict[str, Any]


def train(
    pictures: LabelledPictures,
    settings: PictureTraining,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Resumes from `checkpoint` if it is of the same training. `after_epoch` gets the number of finished epochs."""
    network, config = new_network(settings.seed)
    run = _Run(network, Preprocessing.of(config), pictures, settings, checkpoint)
    began = time.monotonic()
    run.train(after_epoch)
    report = asdict(settings) | {
        "pictures": len(pictures),
        "classes": list(pictures.classes),
        "epochs": run.epochs,
        "seconds": round(time.monotonic() - began, 1),
        "loss": [round(loss, 4) for loss in run.losses],
    }
    return Trained(network.eval(), config, report)


class _Run:
    def __init__(
        self,
        network: ResNetModel,
        preprocessing: Preprocessing,
        pictures: LabelledPictures,
        settings: PictureTraining,
        checkpoint: Path | None,
    ) -> None:
        self._pictures, self._settings, self._checkpoint = pictures, settings, checkpoint
        self._vectors = PictureVectors(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._images = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2)
        self._labels = torch.from_numpy(pictures.labels)
        self._mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)
        directions = torch.randn(len(pictures.classes), WIDTH)
        self._directions = torch.nn.Parameter(directions * 0.05)
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._optimizer = torch.optim.AdamW(
            [*self._vectors.parameters(), self._directions],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self._half = False
        self.epochs = settings.epochs
        self.losses: list[float] = []
        self._seconds = 0.0

    def train(self, after_epoch: Callable[[int], None]) -> None:
        self._fit(self._probe())
        self._resume()
        recent: deque[float] = deque(maxlen=3)
        bar = tqdm(initial=len(self.losses), total=self.epochs, unit=" epochs", mininterval=5)
        while (epoch := len(self.losses)) < self.epochs:
            began = time.monotonic()
            self._vectors.train()
            order = torch.randperm(len(self._labels), generator=self._generator)
            batches = order.split(self._settings.batch)
            total = 0.0
            for number, rows in enumerate(batches):
                self._set_rate((epoch + number / len(batches)) / self.epochs)
                total += self._step(rows) * len(rows)
            self.losses.append(total / len(order))
            recent.append(time.monotonic() - began)
            self._seconds += recent[-1]
            self._fit(sum(recent) / len(recent))
            bar.set_postfix(loss=f"{self.losses[-1]:.3f}", refresh=False)
            bar.total = self.epochs
            bar.update()
            self._save()
            after_epoch(epoch + 1)
        bar.close()

    def _fit(self, seconds_an_epoch: float) -> None:
        """Reduces the epochs to the remaining time at the given speed."""
        if self._settings.max_minutes:
            left_s = self._settings.max_minutes * 60 - self._seconds
            fits = len(self.losses) + max(0, int(left_s / seconds_an_epoch))
            self.epochs = max(1, len(self.losses), min(self._settings.epochs, fits))

    def _step(self, rows: torch.Tensor) -> float:
        loss = self._loss(rows)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._vectors.parameters(), 1.0)
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, rows: torch.Tensor) -> torch.Tensor:
        images = augmented(self._images[rows].float() / 255, self._generator)
        images = ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._half):
            features = self._vectors.features(images)
        vectors = torch.nn.functional.normalize(features.float(), dim=-1)
        cosines = vectors @ torch.nn.functional.normalize(self._directions, dim=-1).T
        return torch.nn.functional.cross_entropy(
            self._settings.scale * cosines, self._labels[rows], label_smoothing=self._settings.label_smoothing
        )

    def _set_rate(self, progress: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * warmup_cosine(progress, self._settings.warm_up)

    def _probe(self) -> float:
        """Seconds of an epoch; selects bfloat16 if this machine is faster with it."""
        kept = self._generator.get_state(), [buffer.clone() for buffer in self._vectors.buffers()]
        rows = torch.arange(min(self._settings.batch, len(self._labels)))
        seconds = {}
        for self._half in (False, True):
            self._loss(rows).backward()
            began = time.monotonic()
            for _ in range(_PROBE):
                self._loss(rows).backward()
            seconds[self._half] = (time.monotonic() - began) / _PROBE
        self._half = seconds[True] < seconds[False]
        self._generator.set_state(kept[0])
        for buffer, before in zip(self._vectors.buffers(), kept[1], strict=True):
            buffer.copy_(before)
        return min(seconds.values()) * len(self._labels) / len(rows)

    def _identity(self) -> str:
        """A digest of settings and pictures: a checkpoint with another one is ignored."""
        digest = hashlib.blake2b(json.dumps(asdict(self._settings)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self._pictures.pixels).tobytes() + self._pictures.labels.tobytes())
        return digest.hexdigest()

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        draft = self._checkpoint.with_suffix(".draft")
        torch.save(
            {
                "identity": self._identity(), "epochs": self.epochs, "losses": self.losses, "seconds": self._seconds,
                "vectors": self._vectors.state_dict(), "directions": self._directions.data,
                "optimizer": self._optimizer.state_dict(), "generator": self._generator.get_state(),
            },
            draft,
        )  # fmt: skip
        os.replace(draft, self._checkpoint)

    def _resume(self) -> None:
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, weights_only=True)
        if state["identity"] != self._identity():
            return
        self._vectors.load_state_dict(state["vectors"])
        self._directions.data.copy_(state["directions"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        # Keeps the schedule of the interrupted run.
        self.epochs, self.losses, self._seconds = state["epochs"], state["losses"], state["seconds"]
