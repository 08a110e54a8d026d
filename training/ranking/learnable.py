"""A ranker that can be trained continuously: predict, update, save, load. Deterministic for a seed and examples."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from services.common.arrays import FloatArray
from services.ranker.adapters.version_manifest import MANIFEST, read_manifest
from services.ranker.domain.features import CANDIDATE_NUMBERS, FEATURES_VERSION
from services.ranker.domain.objective import Objective
from services.ranker.domain.stored_ranking import ITEMS_WITH_VECTORS
from services.ranker.domain.user_features import IntArray
from services.ranker.settings import ObjectiveSettings
from training.ranking.batches import Batches, rows_of
from training.ranking.calibration import Calibration, calibrated
from training.ranking.constraints import Constraints
from training.ranking.examples import Examples
from training.ranking.export import export
from training.ranking.network import NetworkSettings, RankerNetwork
from training.ranking.positions import click_weights
from training.ranking.training import Training, labels_of, train, with_positions

KIND, WEIGHTS = "network", "ranker.safetensors"
_PAGES_AT_ONCE = 256
OBJECTIVE = Objective(**ObjectiveSettings().model_dump())
_OUT_OF_STOCK = CANDIDATE_NUMBERS.index("out_of_stock")


class LearnableRanker:
    """Not for two threads at once. `vector_version` is the model of the item vectors."""

    predicts = True

    def __init__(
        self,
        settings: NetworkSettings,
        training: Training | None = None,
        vector_version: str = "",
        seed: int = 0,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = RankerNetwork(settings)
        self.training, self.vector_version = training or Training(), vector_version
        self.calibration = Calibration.identity(len(settings.tasks))
        # Item id -> row in the table of ids; 0 is for all other items.
        self.rows: dict[str, int] = {}
        self.pages_seen = 0
        # Serving orders so many of the best candidates: those of pages further down have no vectors in training.
        self.reranked = ITEMS_WITH_VECTORS
        self.network.eval()

    @property
    def settings(self) -> NetworkSettings:
        return self.network.settings

    def predict(self, examples: Examples) -> dict[str, FloatArray]:
        """Calibrated probabilities by task, each [n], as if every candidate were at the first position."""
        logits = self._logits(examples, at_first_place=True)
        return dict(zip(self.settings.tasks, self._probabilities(logits).T, strict=True))

    def predict_as_shown(self, examples: Examples) -> dict[str, FloatArray]:
        """As `predict`, at the positions where the candidates were shown: comparable with rates of the log."""
        logits = self._logits(examples, at_first_place=False)
        return dict(zip(self.settings.tasks, self._probabilities(logits).T, strict=True))

    def order(self, examples: Examples) -> FloatArray:
        """[n]: the score that makes the order, with the default values of click, cart and purchase."""
        return OBJECTIVE.score(self.predict(examples), examples.numbers[:, _OUT_OF_STOCK] - 1)

    def update(
        self, examples: Examples, epochs: int = 1, seed: int = 0, quiet: bool = True,
        constraints: Constraints | None = None,
    ) -> list[float]:  # fmt: skip
        """Trains on examples, calibrates on the newest of them (`training.held_back`); gives the loss of each epoch.

        New items get a row in the table of ids. Uses one thread, whatever torch is set to.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._update(examples, epochs, seed, quiet, constraints)
        finally:
            torch.set_num_threads(threads)

    def _update(
        self, examples: Examples, epochs: int, seed: int, quiet: bool, constraints: Constraints | None
    ) -> list[float]:
        by_time = np.argsort(examples.shown_s, kind="stable")
        count = round(len(by_time) * (1 - self.training.held_back))
        trained, held = examples.take(by_time[:count]), examples.take(by_time[count:])
        if not len(trained):
            return []
        if not self.pages_seen:
            self._scale(trained)
        self._add_items(trained.item_ids, seed)
        weights = click_weights(trained) if self.training.debias == "weights" else None
        rows = self._item_rows(trained)
        losses = train(self.network, trained, rows, self.training, epochs, seed, weights, quiet, constraints)
        self.pages_seen += trained.page_count
        self.reranked = min(trained.depth, ITEMS_WITH_VECTORS)
        self.calibrate(held)
        return losses

    def calibrate(self, held: Examples) -> None:
        """On examples that were not trained on; without any, nothing changes."""
        if len(held):
            logits, labels = self._logits(held, at_first_place=False), labels_of(held, self.settings.tasks)
            self.calibration = calibrated(self.calibration, logits, labels, self.settings.chained)

    def save(self, folder: Path) -> None:
        """Weights, manifest and the graphs that serving runs, into a folder, made where missing."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, folder / WEIGHTS)
        export(self.network, self.calibration, folder)
        manifest = {
            "kind": KIND, "features_version": FEATURES_VERSION, "vector_version": self.vector_version,
            "network": asdict(self.settings), "training": asdict(self.training),
            "calibration": asdict(self.calibration),
            "pages_seen": self.pages_seen, "reranked": self.reranked, "items": list(self.rows),
        }  # fmt: skip
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> LearnableRanker:
        """Raises ValueError for a folder of trees, or one that was trained on features of another version."""
        about = read_manifest(folder)
        if about.get("kind", KIND) != KIND:
            raise ValueError(f"{folder} holds {about['kind']}, which are not trained further; start a new network")
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in about["network"].items()
        }
        ranker = cls(NetworkSettings(**made), Training(**about["training"]), about["vector_version"])
        ranker.rows = {item_id: row + 1 for row, item_id in enumerate(about["items"])}
        ranker.network = RankerNetwork(ranker.settings, len(ranker.rows) + 1)
        ranker.network.load_state_dict(load_file(folder / WEIGHTS))
        ranker.network.eval()
        ranker.calibration = Calibration(**{name: tuple(value) for name, value in about["calibration"].items()})
        ranker.pages_seen, ranker.reranked = about["pages_seen"], about["reranked"]
        return ranker

    def _logits(self, examples: Examples, at_first_place: bool) -> FloatArray:
        """Uncalibrated, [n, tasks]."""
        logits = np.zeros((len(examples), len(self.settings.tasks)), np.float32)
        batches = Batches(examples, self._item_rows(examples))
        with torch.inference_mode():
            for batch in batches.each(np.arange(examples.page_count), _PAGES_AT_ONCE):
                found = batch.logits(self.network)
                if not at_first_place and self.training.debias == "tower":
                    found = with_positions(self.network, found, batch.positions)
                is_real = batch.examples >= 0
                logits[batch.examples[is_real].numpy()] = found[is_real].numpy()
        return logits

    def _probabilities(self, logits: FloatArray) -> FloatArray:
        each = 1 / (1 + np.exp(-self.calibration.apply(logits)))
        found: FloatArray = (np.cumprod(each, axis=1) if self.settings.chained else each).astype(np.float32)
        return found

    def _item_rows(self, examples: Examples) -> IntArray:
        return rows_of(examples.item_ids, self.rows)

    def _scale(self, examples: Examples) -> None:
        """Fixes mean and spread by the first examples: the weights depend on this scale."""
        is_event = examples.event_types > 0
        self.network.event_scale.fit(torch.from_numpy(examples.event_numbers[is_event]))
        self.network.candidate_scale.fit(torch.from_numpy(examples.numbers))
        self.network.context_scale.fit(torch.from_numpy(examples.context))

    def _add_items(self, item_ids: np.ndarray, seed: int) -> None:
        new = [item_id for item_id in item_ids.tolist() if item_id not in self.rows]
        if not new:
            return
        self.rows |= {item_id: len(self.rows) + 1 + at for at, item_id in enumerate(new)}
        before = self.network.ids.weight.detach()
        # A new item starts with the row of unknown items.
        self.network.ids = torch.nn.Embedding.from_pretrained(
            torch.cat([before, before[:1].expand(len(new), -1)]), freeze=False
        )
