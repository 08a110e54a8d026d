"""Training of the fusion of retrieval's legs, on judged queries that the encoder was not trained on.

A listwise loss (ListNet's top-one form, Cao et al., ICML 2007): the cross entropy of the softmax over a query's
candidates and the distribution of their gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from services.retrieval.domain.learned_fusion import FusionNetwork
from training.search.settings import FusionTraining


@dataclass(frozen=True)
class RankedQuery:
    """One query's candidates: `features` [n, FEATURES], `gains` [n], 0 for unjudged ones."""

    features: npt.NDArray[np.float32]
    gains: npt.NDArray[np.float32]


def train_fusion(
    queries: Sequence[RankedQuery], settings: FusionTraining, start: FusionNetwork | None = None
) -> FusionNetwork:
    """Trains from the arrays of `start`, with its size and feature scaling, or from random ones.

    Raises ValueError if no query has a candidate with a gain.
    """
    useful = [query for query in queries if query.gains.sum() > 0]
    if not useful:
        raise ValueError("no candidate of any query was judged relevant; there is nothing to train the fusion on")
    everything = np.concatenate([query.features for query in useful])
    # The weights of `start` only fit features with its own scaling.
    mean, scale = (start.mean, start.scale) if start else (everything.mean(0), everything.std(0) + 1e-6)
    data = [
        (torch.from_numpy((query.features - mean) / scale), torch.from_numpy(query.gains / query.gains.sum()))
        for query in useful
    ]
    torch.manual_seed(settings.seed)
    units = len(start.bias) if start else settings.hidden
    hidden = torch.nn.Linear(everything.shape[1], units)
    output = torch.nn.Linear(units, 1, bias=False)
    if start:
        hidden.weight.data = torch.tensor(start.hidden.T)
        hidden.bias.data = torch.tensor(start.bias)
        output.weight.data = torch.tensor(start.output[np.newaxis])
    network = torch.nn.Sequential(hidden, torch.nn.Tanh(), output)
    _descend(network, data, settings)
    return FusionNetwork(
        mean,
        scale,
        hidden.weight.detach().numpy().T.copy(),
        hidden.bias.detach().numpy().copy(),
        output.weight.detach().numpy()[0].copy(),
    )


def _descend(
    network: torch.nn.Module, data: Sequence[tuple[torch.Tensor, torch.Tensor]], settings: FusionTraining
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    random = np.random.default_rng(settings.seed)
    steps = range(0, len(data), settings.queries_per_step)
    with tqdm(total=settings.epochs * len(steps), desc="Training the fusion", unit=" steps") as progress:
        for epoch in range(settings.epochs):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 - epoch / settings.epochs)
            order = random.permutation(len(data))
            for first in steps:
                batch = [data[index] for index in order[first : first + settings.queries_per_step]]
                losses = [-(wanted * torch.log_softmax(network(features)[:, 0], 0)).sum() for features, wanted in batch]
                optimizer.zero_grad()
                torch.stack(losses).mean().backward()
                optimizer.step()
                progress.update()
