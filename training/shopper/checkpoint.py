"""The state of a fit on the disk, after every epoch: a killed training continues with the next one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from services.common.versions import sync
from training.shopper.data import Catalogue, ShopperLog
from training.shopper.network import ShopperNetwork
from training.shopper.settings import TrainSettings


@dataclass(frozen=True)
class Fit:
    """How far a fit is: epochs done, the best one (from 1), NDCG@10 and loss by epoch, seconds."""

    epochs: int = 0
    best_epoch: int = 0
    curve: Sequence[float] = ()
    losses: Sequence[float] = ()
    seconds: float = 0.0


class Checkpoint:
    """In `folder`, one file a fit. Files of other data or settings are ignored, and replaced."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        folder.mkdir(parents=True, exist_ok=True)

    def load(
        self, name: str, network: ShopperNetwork, averaged: ShopperNetwork, best: ShopperNetwork,
        optimizer: torch.optim.Optimizer,
    ) -> Fit:  # fmt: skip
        """Fills the arguments; they stay as they are if nothing was saved."""
        try:
            saved: dict[str, Any] = torch.load(self._path(name), weights_only=True)
        except FileNotFoundError:
            return Fit()
        if saved["fingerprint"] != self._fingerprint:
            return Fit()
        for part, state in zip((network, averaged, best), saved["states"][:3], strict=True):
            part.load_state_dict(state)
        optimizer.load_state_dict(saved["states"][3])
        return Fit(**saved["fit"])

    def save(
        self, name: str, fit: Fit, network: ShopperNetwork, averaged: ShopperNetwork, best: ShopperNetwork,
        optimizer: torch.optim.Optimizer,
    ) -> None:  # fmt: skip
        """Atomic."""
        states = [part.state_dict() for part in (network, averaged, best, optimizer)]
        draft = self._path(name).with_suffix(".draft")
        torch.save({"fingerprint": self._fingerprint, "fit": asdict(fit), "states": states}, draft)
        sync(draft)
        os.replace(draft, self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.pt"


def fingerprint(log: ShopperLog, catalogue: Catalogue, settings: TrainSettings) -> str:
    """Of everything that a fit depends on."""
    digest = hashlib.blake2b(json.dumps([asdict(settings), list(catalogue.ids)]).encode(), digest_size=16)
    for rows in (log.starts, log.items, log.types, log.times_s, log.queries, log.words, catalogue.inputs()):
        digest.update(rows.tobytes())
    return digest.hexdigest()
