"""Fits the shopper model: a first fit chooses the number of epochs, a second one has all events.

The first fit leaves out each person's newest event and is validated on these after every epoch. The second starts anew
and has as many epochs: the newest events are those that say most about the next ones.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from training.shopper.checkpoint import Checkpoint, Fit, fingerprint
from training.shopper.data import Catalogue, IntArray, ShopperLog
from training.shopper.evaluation import gains, ranks
from training.shopper.model import ShopperModel
from training.shopper.network import ShopperNetwork
from training.shopper.settings import TrainSettings
from training.shopper.softmax import full_softmax_loss, sampled_softmax_loss
from training.shopper.windows import Batch, Windows

# (what is being done, steps done, of how many, a note such as the validation's figure).
Progress = Callable[[str, int, int, str], None]
CHOOSING, FITTING = "choosing the epochs", "fitting on all events"
# The share of the time that the first fit may take.
_CHOOSING_SHARE = 0.5
# An epoch of a small log has at least these steps, and a step these windows.
_LEAST_STEPS, _LEAST_BATCH = 20, 16


@dataclass(frozen=True)
class Chosen:
    """`model` has all events but `validation`, events of the log on which it can be measured.

    `curve` and `losses` are NDCG@10 on the validation and the mean loss by epoch.
    """

    model: ShopperModel
    validation: IntArray
    curve: Sequence[float]
    losses: Sequence[float]
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Trained:
    """`model` has all events; `validated` has all but `validation`, events of `log` on which it can be measured."""

    model: ShopperModel
    validated: ShopperModel
    log: ShopperLog
    validation: IntArray
    curve: Sequence[float]
    losses: Sequence[float]
    epochs: int
    seconds: float


def no_progress(stage: str, done: int, total: int, note: str) -> None:
    """For callers that show nothing."""


def fit(
    log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, folder: Path, progress: Progress = no_progress
) -> Trained:
    """Continues what an earlier call with the same arguments left in `folder`. Equal seeds give equal models.

    Raises ValueError if the log has nothing to learn from.
    """
    chosen = choose(log, catalogue, settings, folder, progress)
    checkpoint = Checkpoint(folder, fingerprint(log, catalogue, settings))
    second = _Fit("all", log, catalogue, settings, checkpoint, chosen.epochs, progress)
    final = second.run(settings.minutes * 60 - chosen.seconds)
    return Trained(
        ShopperModel(second.averaged.eval()), chosen.model, log, chosen.validation, chosen.curve,
        [*chosen.losses, *final.losses], chosen.epochs, chosen.seconds + final.seconds,
    )  # fmt: skip


def choose(
    log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, folder: Path, progress: Progress = no_progress
) -> Chosen:
    """The first fit alone, for comparing settings; `fit` continues it."""
    validation = log.newest_targets()
    if not len(validation):
        raise ValueError("no person has acted on two products: there is nothing to learn what comes next from")
    checkpoint = Checkpoint(folder, fingerprint(log, catalogue, settings))
    random = np.random.default_rng(settings.seed)
    sample = np.sort(random.permutation(validation)[: settings.validation_persons])
    windows = Windows(log, catalogue.size)

    def measure(network: ShopperNetwork) -> float:
        return float(gains(ranks(ShopperModel(network).scorer(windows), log, sample)).mean())

    first = _Fit("choose", log.before(validation), catalogue, settings, checkpoint, settings.epochs, progress, measure)
    found = first.run(settings.minutes * 60 * _CHOOSING_SHARE)
    return Chosen(
        ShopperModel(first.best.eval()), validation, found.curve, found.losses, found.best_epoch, found.seconds
    )


class _Fit:
    """One fit on one log: `averaged` is its result after the last epoch, `best` that of the best epoch."""

    def __init__(
        self, name: str, log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, checkpoint: Checkpoint,
        epochs: int, progress: Progress, measure: Callable[[ShopperNetwork], float] | None = None,
    ) -> None:  # fmt: skip
        torch.manual_seed(settings.seed)
        self._name, self._settings, self._checkpoint = name, settings, checkpoint
        self._epochs, self._progress, self._measure = epochs, progress, measure
        self._windows = Windows(log, catalogue.size)
        self._batch = min(settings.batch, max(_LEAST_BATCH, len(self._windows) // _LEAST_STEPS))
        counts = log.counts(catalogue.size)
        self.network = ShopperNetwork(catalogue.inputs(), torch.from_numpy(counts > 0), settings.network)
        self.network.user.words.weight.requires_grad_(bool(log.queries.any()))
        self.averaged, self.best = copy.deepcopy(self.network).eval(), copy.deepcopy(self.network).eval()
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in self.network.parameters() if parameter.requires_grad],
            settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay, foreach=True,
        )  # fmt: skip
        # Items without events are no negatives: nothing says that nobody wants them.
        self._known = torch.from_numpy(np.flatnonzero(counts))
        self._row_of = torch.full((catalogue.size,), -1)
        self._row_of[self._known] = torch.arange(len(self._known))
        # Half of the draws by popularity, half of all alike: rare items are negatives too.
        chances = 0.5 * counts[counts > 0] / max(1, counts.sum()) + 0.5 / max(1, len(self._known))
        self._padding = catalogue.size
        self._summed = np.cumsum(chances)
        self._log_chances = torch.from_numpy(np.log(chances).astype(np.float32))

    def run(self, most_seconds: float) -> Fit:
        done = self._checkpoint.load(self._name, self.network, self.averaged, self.best, self._optimizer)
        total = self._epochs * self._steps()
        while not self._is_over(done, most_seconds):
            started = time.monotonic()
            loss = self._epoch(done, total)
            curve = [*done.curve, self._measure(self.averaged)] if self._measure else []
            best = int(np.argmax(curve)) + 1 if curve else done.epochs + 1
            if best == done.epochs + 1:
                self.best.load_state_dict(self.averaged.state_dict())
            seconds = done.seconds + time.monotonic() - started
            done = Fit(done.epochs + 1, best, curve, [*done.losses, loss], seconds)
            self._checkpoint.save(self._name, done, self.network, self.averaged, self.best, self._optimizer)
            self._report(done.epochs * self._steps(), total, loss, done)
        return done

    def _is_over(self, done: Fit, most_seconds: float) -> bool:
        has_stalled = self._measure is not None and done.epochs - done.best_epoch >= self._settings.patience
        is_late = done.epochs > 0 and done.seconds * (done.epochs + 1) / done.epochs > most_seconds
        return done.epochs >= self._epochs or has_stalled or is_late

    def _steps(self) -> int:
        return -(-len(self._windows) // self._batch)

    def _epoch(self, done: Fit, total: int) -> float:
        """The mean loss. What is random in it depends on the seed and the epoch only."""
        random = np.random.default_rng([self._settings.seed, done.epochs])
        torch.manual_seed(int(random.integers(2**62)))
        self.network.train()
        step, losses = done.epochs * self._steps(), []
        for batch in self._windows.shuffled(self._batch, random):
            for group in self._optimizer.param_groups:
                group["lr"] = self._settings.learning_rate * min(1.0, (step + 1) / self._settings.warm_up_steps)
            loss = self._loss(batch, random)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._average(step)
            step += 1
            losses.append(float(loss.detach()))
            if step % 20 == 0:
                self._report(step, total, float(np.mean(losses)), done)
        return float(np.mean(losses))

    def _loss(self, batch: Batch, random: np.random.Generator) -> torch.Tensor:
        kept = batch.targets >= 0
        targets = batch.targets[kept]
        if len(self._known) <= self._settings.full_softmax:
            items = self.network.items()
            states = self.network.states(items, batch)
            return full_softmax_loss(states[kept], items[self._known], self._row_of[targets])
        drawn = np.searchsorted(self._summed, random.random(self._settings.negatives) * self._summed[-1], side="right")
        negatives = self._known[torch.from_numpy(drawn)]
        # Only the items of this step are computed, with the padding as the last row.
        rows, places = torch.unique(torch.cat([negatives, batch.items.flatten(), targets]), return_inverse=True)
        of_negatives, of_events, of_targets = places.split([len(negatives), batch.items.numel(), len(targets)])
        items = self.network.items(rows[rows < self._padding])
        own = replace(batch, items=of_events.view_as(batch.items).clamp(max=len(items)))
        states = self.network.states(items, own)
        return sampled_softmax_loss(
            states[kept], items[of_targets], of_targets, items[of_negatives], of_negatives,
            self._log_chances[torch.from_numpy(drawn)],
        )  # fmt: skip

    def _average(self, step: int) -> None:
        """An exponential moving average, whose first steps forget faster."""
        keep = min(1 - 1 / max(2.0, self._settings.average_epochs * self._steps()), (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, own in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                if own.requires_grad:
                    mean.lerp_(own, 1 - keep)

    def _report(self, step: int, total: int, loss: float, done: Fit) -> None:
        stage = CHOOSING if self._measure else FITTING
        note = f"loss {loss:.3f}" + (f", NDCG@10 {done.curve[-1]:.4f}" if done.curve else "")
        self._progress(stage, step, total, note)
