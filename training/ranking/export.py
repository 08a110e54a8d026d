"""From the torch network to the two graphs that serving runs: one for a user, one for the candidates."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from services.ranker.adapters.onnx_ranker import (
    CANDIDATE_GRAPH,
    ITEM_INPUTS,
    USER_GRAPH,
    USER_INPUTS,
    USER_OUTPUTS,
)
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.user_features import CONTEXT, EVENT_NUMBERS
from training.ranking.calibration import Calibration
from training.ranking.network import RankerNetwork, log_probabilities


class _User(nn.Module):
    def __init__(self, network: RankerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.network.user(*inputs)


class _Candidates(nn.Module):
    """Calibrated probabilities [r, c, tasks]."""

    def __init__(self, network: RankerNetwork, calibration: Calibration) -> None:
        super().__init__()
        self.network = network
        self.stretch: Tensor
        self.shift: Tensor
        self.register_buffer("stretch", torch.tensor(calibration.stretch))
        self.register_buffer("shift", torch.tensor(calibration.shift))

    def forward(self, *inputs: Tensor) -> Tensor:
        logits = self.network.candidates(*inputs) * self.stretch + self.shift
        return log_probabilities(logits, self.network.settings.chained).exp()


def export(network: RankerNetwork, calibration: Calibration, folder: Path) -> None:
    """Writes user.onnx and candidates.onnx. Axes: r requests, s events, c candidates."""
    network.eval()
    d, r, s, c = network.settings.dimensions, 2, 3, 4
    user = (
        torch.zeros(r, s, d), torch.zeros(r, s, dtype=torch.long), torch.ones(r, s, dtype=torch.long),
        torch.zeros(r, s, len(EVENT_NUMBERS)), torch.zeros(r, d), torch.zeros(r, d), torch.zeros(r, len(CONTEXT)),
    )  # fmt: skip
    items = (torch.zeros(r, c, d), torch.zeros(r, c, dtype=torch.long), torch.zeros(r, c, len(CANDIDATE_NUMBERS)))
    axes = {name: {0: "r", 1: "s"} for name in USER_INPUTS[:4]} | {name: {0: "r"} for name in USER_INPUTS[4:]}
    between = {"keys": {0: "r", 3: "t"}, "values": {0: "r", 2: "t"}, "bias": {0: "r", 3: "t"}}
    between |= {name: {0: "r"} for name in USER_OUTPUTS[3:]}
    with torch.inference_mode():
        side = network.user(*user)
        _write(_User(network), user, folder / USER_GRAPH, USER_INPUTS, USER_OUTPUTS, axes | between)
        of_item = {name: {0: "r", 1: "c"} for name in (*ITEM_INPUTS, "probabilities")}
        _write(
            _Candidates(network, calibration), (*side, *items), folder / CANDIDATE_GRAPH,
            (*USER_OUTPUTS, *ITEM_INPUTS), ("probabilities",), between | of_item,
        )  # fmt: skip


def _write(
    module: nn.Module, inputs: tuple[Tensor, ...], file: Path, names: tuple[str, ...], outputs: tuple[str, ...],
    axes: dict[str, dict[int, str]],
) -> None:  # fmt: skip
    torch.onnx.export(
        module.eval(), inputs, str(file), dynamo=False, opset_version=18, input_names=list(names),
        output_names=list(outputs), dynamic_axes=axes,
    )  # fmt: skip
