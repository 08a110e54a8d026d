"""Multilingual knowledge distillation: student(Chinese) ≈ student(English) ≈ teacher(English).

Reimers & Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation", EMNLP 2020.

What is trained are the fresh embeddings alone, unless `layers` says otherwise: every English text then has the very
vector that it had, and a catalogue that the teacher embedded need not be embedded again. Half of the batches read words
by their characters (as BPE-dropout does, Provilkov et al., ACL 2020), so that the characters learn what they mean too.
"""

from __future__ import annotations

import math
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
from training.bilingual.texts import HeldOut, Pair, QueryWriter, varied
from training.bilingual.vocabulary import Vocabulary
from training.search.encoder import low_precision

_ENCODED_TOGETHER = 32


@dataclass(frozen=True)
class Distillation:
    """`minutes` ends it early, with the learning rate at zero by then."""

    steps: int = 2_500
    minutes: float = 12.0
    batch: int = 64
    learning_rate: float = 6e-3
    # Of the layers, which are near their goal already.
    layer_learning_rate: float = 5e-5
    warmup: float = 0.03
    # The lowest layers that learn too, and the share of English texts in a batch, which keep them where they were.
    layers: int = 0
    english: float = 0.25
    # Shares of the Chinese texts: labels of the graph, titles of the catalogue where it has them; the rest are queries.
    labels: float = 0.25
    titles: float = 0.25
    max_tokens: int = 48
    seed: int = 0


@dataclass(frozen=True)
class Lessons:
    """`english` texts are their own translation: they only count where layers learn."""

    queries: QueryWriter
    labels: Sequence[Pair]
    titles: Sequence[Pair]
    english: Sequence[str]
    held_out: HeldOut

    def batches(self, settings: Distillation) -> Iterator[list[Pair]]:
        random = np.random.default_rng(settings.seed)
        own = round(settings.batch * settings.english) if settings.layers and self.english else 0
        while True:
            batch = [self._chinese(settings, random) for _ in range(settings.batch - own)]
            batch += [Pair(text, text) for text in random.choice(np.array(self.english, object), own)] if own else []
            yield batch

    def _chinese(self, settings: Distillation, random: np.random.Generator) -> Pair:
        while True:
            kind = random.random()
            if kind < settings.labels and self.labels:
                pair = self.labels[int(random.integers(len(self.labels)))]
            elif kind < settings.labels + settings.titles and self.titles:
                pair = self.titles[int(random.integers(len(self.titles)))]
            else:
                pair = self.queries.write(random)
            if pair.chinese not in self.held_out:
                return Pair(varied(pair.chinese, random), pair.english)


def distil(
    student: PooledEncoder, teacher: PooledEncoder, vocabulary: Vocabulary, english: Tokenizer, lessons: Lessons,
    settings: Distillation,
) -> dict[str, Any]:  # fmt: skip
    """Trains `student`, whose embeddings are GrownEmbeddings, in place; `english` is the teacher's tokenizer.

    The answer says how it went.
    """
    torch.manual_seed(settings.seed)
    optimizers = _optimizers(student, settings)
    began, losses = time.monotonic(), list[float]()
    batches = lessons.batches(settings)
    with tqdm(total=settings.steps, desc="Distilling", unit=" steps", mininterval=5) as progress:
        for step in range(settings.steps):
            done = max(step / settings.steps, (time.monotonic() - began) / (60 * settings.minutes))
            if done >= 1:
                progress.write(f"ended after {settings.minutes:g} minutes, at step {step}")
                break
            batch = next(batches)
            with torch.no_grad():
                wanted = _encode(teacher, english, [pair.english for pair in batch], settings.max_tokens)
            reads = vocabulary.whole if step % 2 == 0 else vocabulary.characters
            found = _encode(student, reads, [pair.chinese for pair in batch], settings.max_tokens)
            # Unit vectors: their squared distance is twice what the cosine lacks.
            loss = (1 - (found * wanted).sum(1)).mean()
            loss.backward()
            for optimizer, full in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = full * _rate(done, settings.warmup)
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
    """[texts, dimensions]. Texts of like length together: padding costs as much as words do."""
    rows = [encoding.ids[:limit] for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    parts = []
    for first in range(0, len(order), _ENCODED_TOGETHER):
        chunk = [torch.tensor(rows[row]) for row in order[first : first + _ENCODED_TOGETHER]]
        ids = torch.nn.utils.rnn.pad_sequence(chunk, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in chunk], batch_first=True)
        with low_precision():
            parts.append(model(ids, mask))
    return torch.cat(parts).float()[np.argsort(order)]


def _rate(done: float, warmup: float) -> float:
    """Warm up, then down to 0 along a cosine."""
    if done < warmup:
        return (done + 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))


def _optimizers(student: PooledEncoder, settings: Distillation) -> list[tuple[torch.optim.Optimizer, float]]:
    """Each with its full learning rate: one of the fresh embeddings, one of the layers that learn too."""
    for weight in student.parameters():
        weight.requires_grad = False
    embeddings: Any = student.body.get_input_embeddings()
    embeddings.fresh.weight.requires_grad = True
    optimizers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.SparseAdam(list(embeddings.fresh.parameters())), settings.learning_rate)
    ]
    lowest = layers_of(student.body)[: settings.layers]
    if trained := [weight for layer in lowest for weight in layer.parameters()]:
        for weight in trained:
            weight.requires_grad = True
        optimizers.append((torch.optim.AdamW(trained, weight_decay=0.0), settings.layer_learning_rate))
    return optimizers
