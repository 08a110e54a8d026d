"""Training of the query-understanding network: each head is trained on the examples with a label for it.

Input: the encoder's vector and hashed n-grams of a query (as in fastText: Joulin et al., EACL 2017). Output: four heads
(intent, category, sentiment, tags), calibrated by temperature scaling (Guo et al., ICML 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from tqdm import trange

from services.query_encoder.bulk_reading import ReadQuery
from services.query_encoder.domain.understanding_network import (
    BUCKETS,
    CATEGORY,
    HEADS,
    INTENT,
    SENTIMENT,
    TAGS,
    Labels,
    UnderstandingNetwork,
    hashed_grams,
)
from training.understanding.queries import Example
from training.understanding.settings import UnderstandingTraining

_TEMPERATURES = np.geomspace(0.5, 4.0, 25)
# Column of an unknown label.
_UNKNOWN = -1
# Initial bias of the tags: a logit for rare labels.
_TAG_BIAS = -5.0


@dataclass(frozen=True)
class Examples:
    """Examples as arrays with n rows.

    `vectors` [n, dimensions]; `grams`: hashes by row; `intent` and `sentiment` [n], columns or _UNKNOWN; `category`
    [n, categories], distributions, or zeros if unknown; `tags` and `tags_known` [n, tags]; `weights` [n].
    """

    vectors: npt.NDArray[np.float32]
    grams: list[npt.NDArray[np.int64]]
    intent: npt.NDArray[np.int64]
    category: npt.NDArray[np.float32]
    sentiment: npt.NDArray[np.int64]
    tags: npt.NDArray[np.float32]
    tags_known: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, examples: Sequence[Example], read: Sequence[ReadQuery], labels: Labels, dimensions: int) -> Examples:
        n, known_tags = len(examples), {tag: column for column, tag in enumerate(labels.tags)}
        vectors = np.zeros((n, dimensions), np.float32)
        category = np.zeros((n, len(labels.category)), np.float32)
        tags, tags_known = np.zeros((2, n, len(labels.tags)), np.float32)
        columns = {path: column for column, path in enumerate(labels.category)}
        for row, (example, query) in enumerate(zip(examples, read, strict=True)):
            if query.vector is not None:
                vectors[row] = query.vector
            if example.categories is not None:
                at = [columns[path] for path in example.categories] or [columns[""]]
                category[row, at] = 1 / len(at)
            tags_known[row] = float(example.all_tags)
            at = [known_tags[tag] for tag in example.tags if tag in known_tags]
            tags[row, at] = tags_known[row, at] = 1
        return cls(
            vectors,
            [hashed_grams(query.reading.normal) for query in read],
            np.array([labels.intent.index(e.intent) if e.intent else _UNKNOWN for e in examples]),
            category,
            np.array([labels.sentiment.index(e.sentiment) if e.sentiment else _UNKNOWN for e in examples]),
            tags,
            tags_known,
            np.array([example.weight for example in examples], np.float32),
        )

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: npt.NDArray[np.integer]) -> Examples:
        grams = [self.grams[row] for row in rows.tolist()]
        return Examples(
            self.vectors[rows], grams, self.intent[rows], self.category[rows], self.sentiment[rows], self.tags[rows],
            self.tags_known[rows], self.weights[rows],
        )  # fmt: skip

    def __add__(self, other: Examples) -> Examples:
        parts = [
            np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("intent", "category", "sentiment", "tags", "tags_known", "weights")
        ]
        return Examples(np.concatenate([self.vectors, other.vectors]), self.grams + other.grams, *parts)


class TorchNetwork(torch.nn.Module):
    """The trained form of UnderstandingNetwork, with the same arrays."""

    def __init__(self, dimensions: int, outputs: int, settings: UnderstandingTraining) -> None:
        super().__init__()
        self.trunk = torch.nn.Linear(dimensions, settings.hidden)
        self.grams = torch.nn.EmbeddingBag(BUCKETS, settings.hidden, mode="sum")
        torch.nn.init.normal_(self.grams.weight, std=0.1 if settings.use_grams else 0.0)
        self.dropout = torch.nn.Dropout(settings.dropout)
        self.output = torch.nn.Linear(settings.hidden, outputs)
        # Unit vectors have small elements compared with the n-gram embeddings.
        with torch.no_grad():
            self.trunk.weight *= 8

    def forward(
        self, vectors: torch.Tensor, grams: torch.Tensor, offsets: torch.Tensor, counts: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.trunk(vectors) + self.grams(grams, offsets) / counts.clamp(min=1).sqrt().unsqueeze(1)
        logits: torch.Tensor = self.output(self.dropout(torch.relu(hidden)))
        return logits


def train_network(
    data: Examples, labels: Labels, settings: UnderstandingTraining, quiet: bool = False
) -> tuple[UnderstandingNetwork, Labels]:
    """The network, and `labels` with temperatures fitted on held-out examples."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    order = random.permutation(len(data))
    # Labels given by people, which have larger weights, are never held out.
    is_held = (np.arange(len(data)) < settings.held_back * len(data)) & (data.weights[order] <= 1)
    held, seen = data.take(order[is_held]), order[~is_held]
    network = TorchNetwork(data.vectors.shape[1], labels.slices()[TAGS].stop, settings)
    with torch.no_grad():
        network.output.bias[labels.slices()[TAGS]] = _TAG_BIAS
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    counts = np.bincount(data.sentiment[data.sentiment != _UNKNOWN], minlength=len(labels.sentiment))
    balance = torch.tensor((counts.max(initial=1) / np.maximum(counts, 1)) ** settings.balance, dtype=torch.float32)
    steps = -(-len(seen) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.epochs * steps)
    bar = trange(settings.epochs, desc="Understanding", unit=" epochs", disable=quiet)
    for _ in bar:
        random.shuffle(seen)
        total = 0.0
        for step in range(steps):
            batch = data.take(seen[step * settings.batch : (step + 1) * settings.batch])
            loss = _loss(network(*inputs_of(batch, settings, random)), batch, labels, balance)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        bar.set_postfix(loss=f"{total / steps:.3f}")
    network.eval()
    with torch.inference_mode():
        logits = network(*inputs_of(held, settings, None)).numpy()
    arrays = (
        network.trunk.weight.T,
        network.grams.weight,
        network.trunk.bias,
        network.output.weight.T,
        network.output.bias,
    )
    exported = UnderstandingNetwork(*(array.detach().numpy().astype(np.float32).copy() for array in arrays))
    temperatures = _temperatures(logits, held, labels)
    return exported, Labels(labels.intent, labels.category, labels.sentiment, labels.tags, temperatures)


def inputs_of(
    batch: Examples, settings: UnderstandingTraining, random: np.random.Generator | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(vectors, n-grams, offsets, counts); with `random`, vectors and n-grams are dropped at random."""
    vectors, rows = batch.vectors, batch.grams
    if not settings.use_grams:
        rows = [row[:0] for row in rows]
    elif random is not None:
        vectors = vectors * (random.random((len(batch), 1)) >= settings.vector_dropout).astype(np.float32)
        rows = [row[random.random(len(row)) >= settings.gram_dropout] for row in rows]
    counts = np.array([len(row) for row in rows])
    offsets = np.concatenate([[0], counts.cumsum()[:-1]]).astype(np.int64)
    return (
        torch.from_numpy(vectors), torch.from_numpy(np.concatenate(rows)), torch.from_numpy(offsets),
        torch.from_numpy(counts.astype(np.float32)),
    )  # fmt: skip


def _loss(
    logits: torch.Tensor, batch: Examples, labels: Labels, sentiment_weights: torch.Tensor | None = None
) -> torch.Tensor:
    parts, weights = labels.slices(), torch.from_numpy(batch.weights)
    total = torch.zeros(())
    for head, classes in ((INTENT, None), (SENTIMENT, sentiment_weights)):
        target = torch.from_numpy(getattr(batch, head))
        each = functional.cross_entropy(
            logits[:, parts[head]], target, classes, ignore_index=_UNKNOWN, reduction="none"
        )
        total = total + (each * weights).mean()
    category = torch.from_numpy(batch.category)
    total = total - ((category * functional.log_softmax(logits[:, parts[CATEGORY]], 1)).sum(1) * weights).mean()
    if labels.tags:
        tags, known = torch.from_numpy(batch.tags), torch.from_numpy(batch.tags_known)
        each = functional.binary_cross_entropy_with_logits(logits[:, parts[TAGS]], tags, reduction="none")
        total = total + ((each * known).sum(1) * weights).mean()
    return total


def _temperatures(logits: npt.NDArray[np.float32], held: Examples, labels: Labels) -> dict[str, float]:
    """By head, the temperature with the smallest loss."""
    found = {}
    for head in HEADS:
        if not len(held) or (head == TAGS and not labels.tags):
            found[head] = 1.0
            continue
        losses = []
        for temperature in _TEMPERATURES:
            scaled = logits.copy()
            scaled[:, labels.slices()[head]] /= temperature
            losses.append(float(_loss(torch.from_numpy(scaled), held, labels)))
        found[head] = round(float(_TEMPERATURES[int(np.argmin(losses))]), 4)
    return found
