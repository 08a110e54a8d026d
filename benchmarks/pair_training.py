"""A transformer that reads a query and a title together and gives one score: training, scoring, and what it costs.

The first layers of the embedded encoder read "[CLS] query [SEP] title [SEP]"; a linear head reads the first token
(Nogueira & Cho, 2019). The loss is listwise, as for the fusion: the cross entropy of the softmax over a query's titles
and the distribution of their gains.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import AutoModel

from services.query_encoder.adapters.onnx_encoder import open_session
from training.schedules import warmup_cosine

MAX_TOKENS = 48
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_SCORED_TOGETHER = 32
_GROUPS_A_STEP = 8
_WARMUP = 0.1
_CHECKPOINT_EVERY = 10

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """A query and n titles with their gains [n], not all 0."""

    query: str
    titles: Sequence[str]
    gains: FloatArray


@dataclass(frozen=True)
class PairTraining:
    """Training ends after `minutes`, with the learning rate at 0, however many steps that are."""

    layers: int = 3
    minutes: float = 60.0
    learning_rate: float = 1e-4
    seed: int = 0


class PairModel(torch.nn.Module):
    """ids, mask, types [n, length] -> scores [n], higher is better."""

    def __init__(self, base_dir: Path, layers: int) -> None:
        super().__init__()
        # Attention in plain operators, as the encoder's export.
        self.body = AutoModel.from_pretrained(
            str(base_dir), local_files_only=True, attn_implementation="eager", dtype=torch.float32
        )
        self.body.encoder.layer = self.body.encoder.layer[:layers]
        self.head = torch.nn.Linear(int(self.body.config.hidden_size), 1)
        # As in the encoder's training: few of the 30,000 word pieces are seen.
        self.body.embeddings.word_embeddings.weight.requires_grad = False

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.body(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        scores: torch.Tensor = self.head(hidden[:, 0])[:, 0]
        return scores


class PairTokens:
    """Pairs of query and title as token ids of at most MAX_TOKENS; the title is cut off first."""

    def __init__(self, base_dir: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(base_dir / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS, strategy="longest_first")

    def batches(
        self, pairs: Sequence[tuple[str, str]], size: int
    ) -> Iterator[tuple[npt.NDArray[np.intp], tuple[IntArray, IntArray, IntArray]]]:
        """(rows of `pairs`, (ids, mask, types) each [n, length]); pairs of similar length share a batch."""
        encoded = self._tokenizer.encode_batch(list(pairs))
        order = np.argsort([len(one.ids) for one in encoded], kind="stable")
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            ids, mask, types = np.zeros((3, len(rows), max(len(encoded[row].ids) for row in rows)), np.int64)
            for place, row in enumerate(rows):
                count = len(encoded[row].ids)
                ids[place, :count], mask[place, :count] = encoded[row].ids, 1
                types[place, :count] = encoded[row].type_ids
            yield rows, (ids, mask, types)


def train_pair_model(groups: Sequence[Group], base_dir: Path, checkpoint: Path, settings: PairTraining) -> PairModel:
    """After an interruption the same call continues from the file `checkpoint`, which stays."""
    torch.manual_seed(settings.seed)
    model, tokens = PairModel(base_dir, settings.layers).train(), PairTokens(base_dir)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.01)
    step, elapsed = 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed = state["step"], state["elapsed"]
    limit = settings.minutes * 60
    with tqdm(total=round(limit), initial=round(elapsed), desc="Training the pair model", unit=" s") as progress:
        while elapsed < limit:
            began = time.monotonic()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * warmup_cosine(elapsed / limit, _WARMUP)
            loss = _learn(model, tokens, _drawn(groups, step, settings.seed))
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            elapsed += time.monotonic() - began
            progress.n = round(elapsed)
            progress.set_postfix(step=step, loss=f"{loss:.3f}")
            if step % _CHECKPOINT_EVERY == 0 or elapsed >= limit:
                parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(parts | {"step": step, "elapsed": elapsed}, checkpoint.with_suffix(".part"))
                checkpoint.with_suffix(".part").replace(checkpoint)
    return model.eval()


def _drawn(groups: Sequence[Group], step: int, seed: int) -> list[Group]:
    """Every group once in each epoch."""
    steps = max(1, len(groups) // _GROUPS_A_STEP)
    epoch, place = divmod(step, steps)
    order = np.random.default_rng([seed, epoch]).permutation(len(groups))
    return [groups[row] for row in order[place * _GROUPS_A_STEP : (place + 1) * _GROUPS_A_STEP]]


def _learn(model: PairModel, tokens: PairTokens, groups: Sequence[Group]) -> float:
    pairs = [(group.query, title) for group in groups for title in group.titles]
    parts, rows = [], []
    for chosen, arrays in tokens.batches(pairs, _SCORED_TOGETHER):
        parts.append(model(*map(torch.from_numpy, arrays)))
        rows.append(chosen)
    scores = torch.cat(parts)[torch.from_numpy(np.argsort(np.concatenate(rows)))]
    losses = []
    for group, own in zip(groups, scores.split([len(group.titles) for group in groups]), strict=True):
        wanted = torch.from_numpy(group.gains / group.gains.sum())
        losses.append(-(wanted * torch.log_softmax(own, 0)).sum())
    loss = torch.stack(losses).mean()
    loss.backward()
    return float(loss.detach())


def pair_scores(
    model: PairModel, base_dir: Path, titles: Mapping[str, Sequence[str]], name: str
) -> dict[str, list[float]]:
    """By query, the score of each of its titles."""
    pairs = [(query, title) for query, own in titles.items() for title in own]
    scores = np.zeros(len(pairs), np.float32)
    with torch.inference_mode(), tqdm(total=len(pairs), desc=name, unit=" pairs") as progress:
        for rows, arrays in PairTokens(base_dir).batches(pairs, _SCORED_TOGETHER):
            scores[rows] = model(*map(torch.from_numpy, arrays)).numpy()
            progress.update(len(rows))
    ends = np.cumsum([len(own) for own in titles.values()])[:-1]
    return {query: part.tolist() for query, part in zip(titles, np.split(scores, ends), strict=True)}


def milliseconds(
    base_dir: Path, layers: int, pairs: Sequence[Sequence[tuple[str, str]]], folder: Path
) -> list[float]:
    """CPU time of one thread for each element of `pairs`, one query's pairs: tokenizer and int8 model in ONNX Runtime,
    one batch. The weights make no difference, so that those of the encoder are used.
    """
    file, quantised = folder / f"{layers}.onnx", folder / f"{layers}.int8.onnx"
    if not quantised.is_file():
        ids = torch.ones(2, 8, dtype=torch.long)
        torch.onnx.export(
            PairModel(base_dir, layers).eval(), (ids, ids, ids), str(file), dynamo=False, opset_version=18,
            input_names=list(_INPUTS), output_names=["scores"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in _INPUTS},
        )  # fmt: skip
        quantize_dynamic(str(file), str(quantised), per_channel=True, weight_type=QuantType.QInt8)
    session, tokens, taken = open_session(quantised, 1), PairTokens(base_dir), []
    for own in tqdm(pairs, desc=f"{layers} layers, {len(pairs[0])} titles", unit=" queries"):
        began = time.thread_time()
        for _, arrays in tokens.batches(own, len(own)):
            session.run(None, dict(zip(_INPUTS, arrays, strict=True)))
        taken.append(1e3 * (time.thread_time() - began))
    return taken
