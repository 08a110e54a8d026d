"""Multilingual knowledge distillation: student(Chinese) ≈ student(English) ≈ teacher(English).

Reimers & Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation", EMNLP 2020.

With `layers` 0 only the embeddings of the new word pieces are trained: the vectors of English texts do not change, and
a catalogue embedded by the teacher keeps its vectors. Half of the batches split words into characters (as in
BPE-dropout, Provilkov et al., ACL 2020), so that the embeddings of characters are trained too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from services.query_encoder.adapters.layer_shapes import layers_of
from services.query_encoder.adapters.torch_encoder import PooledEncoder
from training.bilingual.texts import HeldOut, QueryWriter, Translation, varied
from training.bilingual.vocabulary import Vocabulary
from training.schedules import warmup_cosine
from training.search.encoder import low_precision

_ENCODER_BATCH = 32


@dataclass(frozen=True)
class Distillation:
    """Hyperparameters. Training ends after `steps` or `minutes`, with the learning rate at 0 in both cases."""

    steps: int = 2_500
    minutes: float = 12.0
    batch: int = 64
    learning_rate: float = 6e-3
    layer_learning_rate: float = 5e-5
    warmup: float = 0.03
    # Number of lowest layers that are also trained, and then the share of English texts in a batch.
    layers: int = 0
    english: float = 0.25
    # Shares of the graph's labels and of the catalogue's titles among the Chinese texts; the rest are queries.
    labels: float = 0.25
    titles: float = 0.25
    max_tokens: int = 48
    seed: int = 0


@dataclass(frozen=True)
class TrainingTexts:
    """Sources of the training pairs. `english` texts, their own translations, are used only if layers are trained."""

    queries: QueryWriter
    labels: Sequence[Translation]
    titles: Sequence[Translation]
    english: Sequence[str]
    held_out: HeldOut

    def batches(self, settings: Distillation) -> Iterator[list[Translation]]:
        """Endless; each batch has `settings.batch` pairs."""
        random = np.random.default_rng(settings.seed)
        count = round(settings.batch * settings.english) if settings.layers and self.english else 0
        english = np.array(self.english, object)
        while True:
            batch = [self._chinese(settings, random) for _ in range(settings.batch - count)]
            yield batch + ([Translation(text, text) for text in random.choice(english, count)] if count else [])

    def _chinese(self, settings: Distillation, random: np.random.Generator) -> Translation:
        while True:
            kind = random.random()
            if kind < settings.labels and self.labels:
                pair = self.labels[int(random.integers(len(self.labels)))]
            elif kind < settings.labels + settings.titles and self.titles:
                pair = self.titles[int(random.integers(len(self.titles)))]
            else:
                pair = self.queries.write(random)
            if pair.chinese not in self.held_out:
                return Translation(varied(pair.chinese, random), pair.english)


def distil(
    student: PooledEncoder, teacher: PooledEncoder, vocabulary: Vocabulary, english: Tokenizer, texts: TrainingTexts,
    settings: Distillation,
) -> dict[str, Any]:  # fmt: skip
    """Trains `student`, whose embeddings are ExtendedEmbeddings, in place; `english` is the teacher's tokenizer.

    Returns the settings with the actual number of steps and minutes and the final loss.
    """
    torch.manual_seed(settings.seed)
    optimizers = _optimizers(student, settings)
    began, losses = time.monotonic(), list[float]()
    batches = texts.batches(settings)
    with tqdm(total=settings.steps, desc="Distilling", unit=" steps", mininterval=5) as progress:
        for step in range(settings.steps):
            done = max(step / settings.steps, (time.monotonic() - began) / (60 * settings.minutes))
            if done >= 1:
                progress.write(f"ended after {settings.minutes:g} minutes, at step {step}")
                break
            batch = next(batches)
            with torch.no_grad():
                targets = _encode(teacher, english, [pair.english for pair in batch], settings.max_tokens)
            tokenizer = vocabulary.words if step % 2 == 0 else vocabulary.characters
            found = _encode(student, tokenizer, [pair.chinese for pair in batch], settings.max_tokens)
            # For unit vectors, half of the squared distance.
            loss = (1 - (found * targets).sum(1)).mean()
            loss.backward()
            for optimizer, full in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = full * warmup_cosine(done, settings.warmup)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(float(loss.detach()))
            progress.update()
            progress.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
    minutes = round((time.monotonic() - began) / 60, 1)
    return asdict(settings) | {
        "steps": len(losses),
        "minutes": minutes,
        "loss": round(float(np.mean(losses[-100:])), 4),
    }


def _encode(model: PooledEncoder, tokenizer: Tokenizer, texts: Sequence[str], limit: int) -> torch.Tensor:
    """[texts, dimensions]. Texts of similar length share a batch, since padding costs as much as words."""
    rows = [encoding.ids[:limit] for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    parts = []
    for first in range(0, len(order), _ENCODER_BATCH):
        chunk = [torch.tensor(rows[row]) for row in order[first : first + _ENCODER_BATCH]]
        ids = torch.nn.utils.rnn.pad_sequence(chunk, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in chunk], batch_first=True)
        with low_precision():
            parts.append(model(ids, mask))
    return torch.cat(parts).float()[np.argsort(order)]


def _optimizers(student: PooledEncoder, settings: Distillation) -> list[tuple[torch.optim.Optimizer, float]]:
    """(optimizer, full learning rate): one for the new embeddings, and one for the trained layers if there are any."""
    for weight in student.parameters():
        weight.requires_grad = False
    embeddings: Any = student.body.get_input_embeddings()
    embeddings.new.weight.requires_grad = True
    optimizers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.SparseAdam(list(embeddings.new.parameters())), settings.learning_rate)
    ]
    lowest = layers_of(student.body)[: settings.layers]
    if trained := [weight for layer in lowest for weight in layer.parameters()]:
        for weight in trained:
            weight.requires_grad = True
        optimizers.append((torch.optim.AdamW(trained, weight_decay=0.0), settings.layer_learning_rate))
    return optimizers
