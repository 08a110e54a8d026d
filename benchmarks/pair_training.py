"""Transformers that read a query and a title together and give one score: training, scoring, and what they cost.

The usual one reads "[CLS] query [SEP] title [SEP]" with all layers (Nogueira & Cho, 2019). Its cost is measured here.
The one that is trained is the cheaper form in which the words of the title do not look at the query (PreTTR: MacAvaney
et al., SIGIR 2020; asymmetric attention: Schlatt et al., ECIR 2024): the first two layers of the encoder read query and
title apart, so that a product's part can be computed when it is stored. In the layers after them the query's words look
at both texts. A linear head reads the mean of the query's words. The loss is listwise, as for the fusion: the cross
entropy of the softmax over a query's titles and the distribution of their gains.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import AutoModel

from services.query_encoder.adapters.onnx_encoder import open_session
from training.schedules import warmup_cosine

MAX_TOKENS = 32
# Layers that read apart, and layers of the encoder that then read together.
_APART = 2
_TEXTS_A_BATCH, _PAIRS_A_BATCH = 32, 128
_GROUPS_A_STEP = 8
_WARMUP = 0.1
_CHECKPOINT_EVERY = 10

FloatArray = npt.NDArray[np.float32]
# Of a text, the states of its n tokens: [n, width], 16 bits.
States = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Group:
    """A query and n titles with their places in the served order, from 0, and their gains [n], not all 0."""

    query: str
    titles: Sequence[str]
    places: FloatArray
    gains: FloatArray


@dataclass(frozen=True)
class PairTraining:
    """`together`: layers that read query and title together. Training ends after `minutes`, with the learning rate
    at 0, however many steps that are.
    """

    together: int = 1
    minutes: float = 30.0
    learning_rate: float = 2e-4
    seed: int = 0


class TokenStates:
    """What the first layers of the encoder make of the words of each text."""

    def __init__(self, base_dir: Path) -> None:
        self._body = _body(base_dir)
        self._body.encoder.layer = self._body.encoder.layer[:_APART]
        self._tokenizer = tokenizer(base_dir, MAX_TOKENS)
        self._states: dict[str, States] = {}

    def read(self, texts: Iterable[str], name: str) -> None:
        new = sorted({*texts} - self._states.keys(), key=len)
        with torch.inference_mode(), tqdm(total=len(new), desc=name, unit=" texts") as progress:
            for first in range(0, len(new), _TEXTS_A_BATCH):
                batch = new[first : first + _TEXTS_A_BATCH]
                ids, mask, _ = padded(self._tokenizer, batch)
                found = self._body(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.half().numpy()
                self._states |= {text: found[row, : mask[row].sum()] for row, text in enumerate(batch)}
                progress.update(len(batch))

    def batch(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """States [n, length, width] and mask [n, length] of texts that were read."""
        own = [torch.from_numpy(self._states[text]).float() for text in texts]
        mask = torch.arange(max(map(len, own)))[None] < torch.tensor([len(one) for one in own])[:, None]
        return torch.nn.utils.rnn.pad_sequence(own, batch_first=True), mask.float()


class PairModel(torch.nn.Module):
    """States and masks of n queries and n titles, as TokenStates.batch gives them -> scores [n], higher is better."""

    def __init__(self, base_dir: Path, together: int) -> None:
        super().__init__()
        body = _body(base_dir)
        self.layers: Any = torch.nn.ModuleList(body.encoder.layer[_APART : _APART + together])
        self.head = torch.nn.Linear(int(body.config.hidden_size), 1)
        # How much the served order counts while it learns.
        self.place = torch.nn.Parameter(torch.tensor(1.0))

    def forward(
        self, query: torch.Tensor, query_mask: torch.Tensor, title: torch.Tensor, title_mask: torch.Tensor
    ) -> torch.Tensor:
        hidden = (1 - torch.cat([query_mask, title_mask], 1))[:, None, None] * -1e4
        for layer in self.layers:
            both = torch.cat([query, title], 1)
            own = layer.attention.self
            asked, keys, values = (_heads(part, own) for part in (own.query(query), own.key(both), own.value(both)))
            shares = torch.softmax(asked @ keys.transpose(2, 3) / own.attention_head_size**0.5 + hidden, -1)
            seen = (shares @ values).transpose(1, 2).flatten(2)
            seen = layer.attention.output(seen, query)
            query = layer.output(layer.intermediate(seen), seen)
        counted = query_mask[:, :, None]
        scores: torch.Tensor = self.head((query * counted).sum(1) / counted.sum(1))[:, 0]
        return scores


def train_pair_model(
    groups: Sequence[Group], states: TokenStates, base_dir: Path, checkpoint: Path, settings: PairTraining
) -> PairModel:
    """After an interruption the same call continues from the file `checkpoint`, which stays."""
    torch.manual_seed(settings.seed)
    model = PairModel(base_dir, settings.together).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    step, elapsed = 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed = state["step"], state["elapsed"]
    limit = settings.minutes * 60
    if elapsed < limit:
        states.read((text for group in groups for text in (group.query, *group.titles)), "Texts of the training")
    with tqdm(total=round(limit), initial=round(elapsed), desc="Training the pair model", unit=" s") as progress:
        while elapsed < limit:
            began = time.monotonic()
            for part in optimizer.param_groups:
                part["lr"] = settings.learning_rate * warmup_cosine(elapsed / limit, _WARMUP)
            loss = _learn(model, states, _drawn(groups, step, settings.seed))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            elapsed += time.monotonic() - began
            progress.n = round(min(elapsed, limit))
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


def _learn(model: PairModel, states: TokenStates, groups: Sequence[Group]) -> float:
    queries = states.batch([group.query for group in groups for _ in group.titles])
    scores = model(*queries, *states.batch([title for group in groups for title in group.titles]))
    losses = []
    for group, own in zip(groups, scores.split([len(group.titles) for group in groups]), strict=True):
        own = own - model.place * torch.log1p(torch.from_numpy(group.places))
        losses.append(-(torch.from_numpy(group.gains / group.gains.sum()) * torch.log_softmax(own, 0)).sum())
    loss = torch.stack(losses).mean()
    loss.backward()
    return float(loss.detach())


def pair_scores(
    model: PairModel, states: TokenStates, titles: Mapping[str, Sequence[str]], name: str
) -> dict[str, list[float]]:
    """By query, the score of each of its titles."""
    states.read((text for query, own in titles.items() for text in (query, *own)), f"{name}: texts")
    pairs = [(query, title) for query, own in titles.items() for title in own]
    order = np.argsort([len(title) for _, title in pairs], kind="stable")
    scores = np.zeros(len(pairs), np.float32)
    with torch.inference_mode(), tqdm(total=len(pairs), desc=name, unit=" pairs") as progress:
        for first in range(0, len(pairs), _PAIRS_A_BATCH):
            rows = order[first : first + _PAIRS_A_BATCH]
            chosen = [states.batch([pairs[row][side] for row in rows]) for side in (0, 1)]
            scores[rows] = model(*chosen[0], *chosen[1]).numpy()
            progress.update(len(rows))
    ends = np.cumsum([len(own) for own in titles.values()])[:-1].tolist()
    return {query: part.tolist() for query, part in zip(titles, np.split(scores, ends), strict=True)}


def tokenizer(base_dir: Path, limit: int) -> Tokenizer:
    """It cuts off the end of longer texts; of pairs, that of the longer one."""
    found = Tokenizer.from_file(str(base_dir / "tokenizer.json"))
    found.no_padding()
    found.enable_truncation(limit)
    return found


def padded(tokens: Tokenizer, texts: Sequence[Any]) -> npt.NDArray[np.int64]:
    """[3, n, length]: ids, mask and types of texts, or of pairs of them."""
    encoded = tokens.encode_batch(list(texts))
    found = np.zeros((3, len(encoded), max(len(one.ids) for one in encoded)), np.int64)
    for row, one in enumerate(encoded):
        found[:, row, : len(one.ids)] = one.ids, one.attention_mask, one.type_ids
    return found


def _heads(states: torch.Tensor, attention: Any) -> torch.Tensor:
    """[n, length, width] -> [n, heads, length, width of a head]"""
    heads: torch.Tensor = states.unflatten(2, (attention.num_attention_heads, attention.attention_head_size))
    return heads.transpose(1, 2)


def _body(base_dir: Path) -> Any:
    """Attention in plain operators, as in the encoder's export."""
    return AutoModel.from_pretrained(
        str(base_dir), local_files_only=True, attn_implementation="eager", dtype=torch.float32
    ).eval()


class WholePair(torch.nn.Module):
    """ids, mask, types [n, length] of pairs -> scores [n]: all layers read query and title together. Not trained."""

    def __init__(self, base_dir: Path, layers: int) -> None:
        super().__init__()
        self.body = _body(base_dir)
        self.body.encoder.layer = self.body.encoder.layer[:layers]
        self.head = torch.nn.Linear(int(self.body.config.hidden_size), 1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.body(ids, mask, types).last_hidden_state[:, 0])[:, 0]
        return scores


def whole_pairs(base_dir: Path, queries: Sequence[Sequence[tuple[str, str]]]) -> list[tuple[torch.Tensor, ...]]:
    """The inputs of WholePair for the pairs of each query."""
    tokens = tokenizer(base_dir, 2 * MAX_TOKENS)
    return [tuple(map(torch.from_numpy, padded(tokens, pairs))) for pairs in queries]


def milliseconds(model: torch.nn.Module, inputs: Sequence[tuple[torch.Tensor, ...]], file: Path) -> float:
    """The median CPU time of one thread for one of `inputs`: int8 in ONNX Runtime, as the encoder is served.

    `file`: where the exported model is kept.
    """
    if not file.is_file():
        names = [f"input_{place}" for place in range(len(inputs[0]))]
        axes = {name: {0: "pairs", 1: f"{name}_length"} for name in names}
        whole = file.with_suffix(".fp32")
        torch.onnx.export(
            model.eval(), inputs[0], str(whole), dynamo=False, opset_version=18, input_names=names,
            output_names=["scores"], dynamic_axes=axes,
        )  # fmt: skip
        quantize_dynamic(str(whole), str(file), per_channel=True, weight_type=QuantType.QInt8)
        whole.unlink()
    session, taken = open_session(file, 1), list[float]()
    names = [one.name for one in session.get_inputs()]
    for arrays in tqdm(inputs, desc=file.stem, unit=" queries"):
        fed = dict(zip(names, (one.numpy() for one in arrays), strict=True))
        began = time.thread_time()
        session.run(None, fed)
        taken.append(1e3 * (time.thread_time() - began))
    return float(np.median(taken[2:]))
