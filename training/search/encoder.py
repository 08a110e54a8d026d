"""Contrastive fine-tuning of the encoder on (query, product) pairs.

The loss is the cross entropy of a query's own product among all products of the batch and hard negatives (Karpukhin et
al., EMNLP 2020), and of the product's query among the queries of the batch, over scaled cosines. A product with a
relevance of NOT_WRONG or more for a query is never its negative.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import PooledEncoder, load_model
from services.query_encoder.ports import TextKind
from training.model_folder import save_encoder
from training.schedules import warmup_cosine
from training.search.data import NOT_WRONG, Judgements, Pair, relevant_pairs
from training.search.settings import EncoderTraining

_ENCODER_BATCH = 32


@dataclass
class Batch:
    """`queries` [n] and `products` [n + hard negatives], texts; product i belongs to query i. `weights` [n].

    `allowed` [n, n + hard negatives]: product j is a negative of query i, or its own.
    """

    queries: list[str]
    products: list[str]
    allowed: torch.Tensor
    weights: torch.Tensor


@dataclass
class Examples:
    """`texts` by product id; `negatives`: product ids by query, hardest first."""

    judgements: Judgements
    texts: Mapping[str, str]
    negatives: Mapping[str, Sequence[str]]

    def pairs(self) -> list[Pair]:
        return relevant_pairs(self.judgements, self.texts)

    def batches(self, size: int, hard_negatives: int, epoch: int, seed: int) -> Iterator[Batch]:
        """Every pair once, in a random order that depends on the epoch; pairs that fill no batch are dropped."""
        random = np.random.default_rng([seed, epoch])
        pairs = self.pairs()
        order = random.permutation(len(pairs))
        for first in range(0, len(order) - size + 1, size):
            yield self._batch([pairs[index] for index in order[first : first + size]], hard_negatives, random)

    def _batch(self, pairs: Sequence[Pair], hard_negatives: int, random: np.random.Generator) -> Batch:
        ids = [pair.product_id for pair in pairs]
        # The pairs are in random order, so the first ones are a random sample.
        ids += [self._negative(pair, random) for pair in pairs[:hard_negatives]]
        allowed = torch.ones(len(pairs), len(ids), dtype=torch.bool)
        for row, pair in enumerate(pairs):
            judged = self.judgements[pair.query]
            for column, product_id in enumerate(ids):
                if column != row and judged.get(product_id, 0.0) >= NOT_WRONG:
                    allowed[row, column] = False
        return Batch(
            [pair.query for pair in pairs],
            [self.texts[product_id] for product_id in ids],
            allowed,
            torch.tensor([pair.weight for pair in pairs]),
        )

    def _negative(self, pair: Pair, random: np.random.Generator) -> str:
        """A random hard negative of the query that is not relevant, or any product if there is none."""
        judged = self.judgements[pair.query]
        hard = [p for p in self.negatives.get(pair.query, ()) if judged.get(p, 0.0) < NOT_WRONG and p in self.texts]
        if hard:
            return hard[int(random.integers(len(hard)))]
        return list(self.texts)[int(random.integers(len(self.texts)))]


def train_encoder(examples: Examples, base_dir: Path, target: Path, settings: EncoderTraining) -> Path:
    """Writes a model folder (config, tokenizer, safetensors) to `target` and returns it.

    After an interruption the same call resumes from the last checkpoint, a file beside `target`. The same seed on the
    same machine gives the same model unless `minutes` ends the training.

    If torch.distributed is initialised (see on_ray), the batches of an epoch are dealt to the workers, gradients are
    averaged, and the first worker writes. The negatives of a query come from its own worker's batch, so more workers
    make fewer steps on more pairs, but not harder batches.
    """
    together = torch.distributed.is_initialized()
    rank, workers = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if together else (0, 1)
    torch.manual_seed(settings.seed + rank)
    trainer = _Trainer(examples, base_dir, target.with_suffix(".checkpoint"), settings, rank, workers)
    trainer.run()
    if rank == 0:
        trainer.save(base_dir, target)
    return target


class _Trainer:
    def __init__(
        self, examples: Examples, base_dir: Path, checkpoint: Path, settings: EncoderTraining, rank: int, workers: int
    ) -> None:
        self._examples, self._settings, self._checkpoint = examples, settings, checkpoint
        self._rank, self._workers = rank, workers
        self._tokenizer = BatchTokenizer(base_dir)
        self._model = load_model(base_dir).train()
        if settings.lora_rank:
            _add_adapters(self._model, settings.lora_rank)
        # The queries contain few of the 30,000 word pieces; training only those would separate them from the rest.
        for weight in self._model.body.get_input_embeddings().parameters():
            weight.requires_grad = False
        self._trained = [weight for weight in self._model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=settings.learning_rate, weight_decay=0.01)
        self._total = settings.epochs * (len(examples.pairs()) // settings.batch // workers)
        if self._total == 0:
            batches = f"one batch of {settings.batch}" + (f" for each of {workers} workers" if workers > 1 else "")
            raise ValueError(f"fewer relevant pairs than {batches}; there is nothing to train on")
        self._forward: torch.nn.Module = self._model
        if workers > 1:
            # BERT's own pooler is unused and has no gradient.
            self._forward = torch.nn.parallel.DistributedDataParallel(
                self._model, broadcast_buffers=False, find_unused_parameters=True
            )
        self._step, self._elapsed_s = 0, 0.0

    def run(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._resume()
        settings = self._settings
        per_epoch = self._total // settings.epochs
        first = self._rank == 0
        curves = str(self._checkpoint.with_suffix(".tensorboard"))
        board: Any = SummaryWriter(curves, purge_step=self._step) if first else None
        with tqdm(
            total=self._total, initial=self._step, desc="Training the encoder", unit=" steps", disable=not first
        ) as progress:
            for epoch in range(self._step // per_epoch, settings.epochs):
                batches = self._examples.batches(settings.batch, settings.hard_negatives, epoch, settings.seed)
                own = islice(batches, self._rank, per_epoch * self._workers, self._workers)
                for index, batch in enumerate(own):
                    if epoch * per_epoch + index < self._step:
                        continue
                    if self._progress() >= 1.0:
                        progress.write(f"ended after {self._elapsed_s / 60:.0f} minutes, at step {self._step}")
                        return
                    began = time.monotonic()
                    loss = self._learn(batch)
                    self._step += 1
                    self._elapsed_s += self._slowest(time.monotonic() - began)
                    if not first:
                        continue
                    board.add_scalar("loss", loss, self._step)
                    board.add_scalar("learning_rate", self._optimizer.param_groups[0]["lr"], self._step)
                    progress.update()
                    progress.set_postfix(loss=f"{loss:.3f}")
                    if self._step % settings.checkpoint_every == 0:
                        self._save_checkpoint()
        if first:
            board.close()

    def save(self, base_dir: Path, target: Path) -> None:
        if self._settings.lora_rank:
            self._model.body = self._model.body.merge_and_unload()  # type: ignore[operator]
        work = target.with_suffix(".new")
        save_encoder(self._model, base_dir, work)
        (work / "training.json").write_text(json.dumps(asdict(self._settings) | {"steps": self._step}, indent=2) + "\n")
        os.rename(work, target)
        self._checkpoint.unlink(missing_ok=True)

    def _learn(self, batch: Batch) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * warmup_cosine(self._progress(), self._settings.warmup)
        with low_precision():
            queries = self._encode(batch.queries, self._settings.query_tokens, "query")
            products = self._encode(batch.products, self._settings.product_tokens, "product")
        loss = contrastive_loss(
            queries.float(), products.float(), self._settings.temperature, batch.allowed, batch.weights
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def _encode(self, texts: Sequence[str], tokens: int, kind: TextKind) -> torch.Tensor:
        """[texts, dimensions]. Texts of similar length share a batch, since padding costs as much as words."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        parts = []
        for first in range(0, len(order), _ENCODER_BATCH):
            chunk = [texts[index] for index in order[first : first + _ENCODER_BATCH]]
            parts.append(self._forward(*map(torch.from_numpy, self._tokenizer.padded(chunk, tokens, kind))))
        return torch.cat(parts)[np.argsort(order)]

    def _progress(self) -> float:
        """From 0 to 1, by steps or by time, whichever is larger."""
        return max(self._step / self._total, self._elapsed_s / (self._settings.minutes * 60))

    def _slowest(self, seconds: float) -> float:
        """The maximum over workers: all must end at the same step, or one would wait forever."""
        if self._workers == 1:
            return seconds
        longest = torch.tensor(seconds, dtype=torch.float64)
        torch.distributed.all_reduce(longest, torch.distributed.ReduceOp.MAX)
        return float(longest)

    def _save_checkpoint(self) -> None:
        state = {
            "of": self._identity(),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "step": self._step,
            "elapsed_s": self._elapsed_s,
        }
        work = self._checkpoint.with_suffix(".part")
        torch.save(state, work)
        os.replace(work, self._checkpoint)

    def _resume(self) -> None:
        if not self._checkpoint.is_file():
            return
        state = torch.load(self._checkpoint, weights_only=True)
        if state["of"] != self._identity():
            return
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self._step, self._elapsed_s = state["step"], state["elapsed_s"]

    def _identity(self) -> str:
        """A digest of settings, workers and pairs: a checkpoint with another one is ignored."""
        pairs = [(pair.query, pair.product_id) for pair in self._examples.pairs()]
        return hashlib.blake2b(repr((self._settings, self._workers, pairs)).encode(), digest_size=8).hexdigest()


def contrastive_loss(
    queries: torch.Tensor,
    products: torch.Tensor,
    temperature: float,
    allowed: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """`queries` [n, d] and `products` [n or more, d], unit rows; product i belongs to query i.

    `allowed` and `weights` as in Batch; by default all products are allowed and all pairs weigh the same.
    """
    count = len(queries)
    logits = queries @ products.T / temperature
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -1e4)
    own = torch.arange(count)
    forward = torch.nn.functional.cross_entropy(logits, own, reduction="none")
    backward = torch.nn.functional.cross_entropy(logits[:, :count].T, own, reduction="none")
    losses = forward + 0.5 * backward
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()


def low_precision() -> AbstractContextManager[Any]:
    """bfloat16 if the CPU has instructions for it: about three times as fast there, and far slower elsewhere."""
    if torch.cpu._is_avx512_bf16_supported():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _add_adapters(model: PooledEncoder, rank: int) -> None:
    from peft import LoraConfig, get_peft_model

    names = {name.rpartition(".")[2] for name, _ in model.body.named_modules()}
    bert = ["query", "value", "dense"]
    target = bert if names.issuperset(bert) else "all-linear"
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=target)
    model.body = get_peft_model(model.body, config)  # type: ignore[assignment]
