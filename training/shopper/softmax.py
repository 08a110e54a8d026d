"""Cross entropy over the catalogue: with every item as a negative of every position, or with a sample of them."""

from __future__ import annotations

import math
from typing import Any

import torch


def full_softmax_loss(hidden: torch.Tensor, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of `targets` [m] with the logits `hidden` [m, d] · `items` [n, d].

    On a CPU with bfloat16 instructions the m × n logits are computed in bfloat16, and the gradients in the forward pass
    while they are in memory: in less than half the time, so that n = 12,000 takes as long as 4,000 sampled negatives.
    """
    if torch.cpu._is_avx512_bf16_supported():
        loss: torch.Tensor = _HalfPrecision.apply(hidden, items, targets)
        return loss
    return torch.nn.functional.cross_entropy(hidden @ items.T, targets)


class _HalfPrecision(torch.autograd.Function):
    """Logits in bfloat16, sums in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        half_hidden, half_items, count = hidden.bfloat16(), items.bfloat16(), len(targets)
        logits = half_hidden @ half_items.T
        own = (half_hidden.float() * half_items[targets].float()).sum(1)
        highest = logits.amax(1, keepdim=True)
        exponentials = logits.sub_(highest).exp_()
        sums = exponentials.sum(1, dtype=torch.float32)
        weights = (1 / (sums * count))[:, None]
        hidden_gradient = (exponentials @ half_items).float() * weights - items[targets] / count
        items_gradient = (exponentials.T @ (hidden * weights).bfloat16()).float()
        items_gradient.index_add_(0, targets, hidden, alpha=-1 / count)
        ctx.save_for_backward(hidden_gradient, items_gradient)
        return (sums.log() + highest[:, 0].float() - own).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        hidden_gradient, items_gradient = ctx.saved_tensors
        return gradients[0] * hidden_gradient, gradients[0] * items_gradient, None


def sampled_softmax_loss(
    hidden: torch.Tensor, own: torch.Tensor, targets: torch.Tensor, others: torch.Tensor, drawn: torch.Tensor,
    log_chances: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """As `full_softmax_loss`, with k items as shared negatives, drawn with replacement.

    `own` [m, d] are the items of the targets, `others` [k, d] those of the negatives; `targets` [m] and `drawn` [k]
    say which are the same: such a draw does not count for the target. `log_chances` [k] are the logarithms of the
    chances of a draw: subtracting them makes the expectation that of all items (log-Q correction, Bengio and Senecal,
    2008).
    """
    positive = (hidden * own).sum(1, keepdim=True)
    negatives = hidden @ others.T - (log_chances + math.log(len(drawn)))
    negatives = negatives.masked_fill(drawn == targets[:, None], -torch.inf)
    logits = torch.cat([positive, negatives], 1)
    return torch.nn.functional.cross_entropy(logits, torch.zeros_like(targets))
