"""Recovery of a pruned encoder: a short distillation of the unpruned encoder's vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tqdm import trange

from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import PooledEncoder
from services.query_encoder.ports import TextKind
from training.compression.importance import BATCH, encode
from training.search.data import Pair
from training.search.encoder import low_precision

_LEARNING_RATE = 2e-4
_WARMUP = 0.1


def recover(
    student: PooledEncoder, teacher: PooledEncoder, tokenizer: BatchTokenizer, pairs: Sequence[Pair], steps: int,
    seed: int,
) -> float:  # fmt: skip
    """Trains `student` in place, except its word embeddings; returns the mean cosine of the last ten steps.

    Without dropout: so few steps do not overfit, and dropout would only add noise to the targets.
    """
    random = np.random.default_rng(seed)
    for weight in student.body.get_input_embeddings().parameters():
        weight.requires_grad = False
    trained = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=_LEARNING_RATE, weight_decay=0.0)
    cosines: list[float] = []
    for step in trange(steps, desc="Recovering", unit=" steps", mininterval=5):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min((step + 1) / (_WARMUP * steps + 1), 1 - step / steps)
        rows = random.choice(len(pairs), BATCH, replace=len(pairs) < BATCH)
        # Queries and products apart: all texts of a batch are padded to its longest.
        sides: list[tuple[list[str], TextKind]] = [
            ([pairs[row].query for row in rows], "query"),
            ([pairs[row].text for row in rows], "product"),
        ]
        with low_precision():
            with torch.no_grad():
                wanted = torch.cat([encode(teacher, tokenizer, texts, kind) for texts, kind in sides])
            found = torch.cat([encode(student, tokenizer, texts, kind) for texts, kind in sides])
        cosine = (found * wanted).sum(1).mean()
        optimizer.zero_grad()
        (1 - cosine).backward()
        optimizer.step()
        cosines.append(float(cosine.detach()))
    return float(np.mean(cosines[-10:])) if cosines else float("nan")
