"""Random augmentation of a batch in torch: shift, rotation, scale, mirror, colour, and random erasing.

Random erasing: Zhong et al., AAAI 2020. The constants bound the uniform distributions of the parameters.
"""

from __future__ import annotations

import math

import torch

_SCALE = (0.75, 1.15)
_STRETCH = 0.15
_TURN = math.radians(12)
_SHIFT = 0.12
_COLOUR = 0.35
_ERASED = 0.4


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """`images`: float of shape [n, 3, height, width] in [0, 1]; the same shape."""
    moved = torch.nn.functional.grid_sample(
        images,
        torch.nn.functional.affine_grid(_moves(len(images), generator), list(images.shape), align_corners=False),
        padding_mode="border", align_corners=False,
    )  # fmt: skip
    return _erased(_recoloured(moved, generator), generator)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _moves(n: int, generator: torch.Generator) -> torch.Tensor:
    """Affine maps, shape [n, 2, 3]."""
    scale, turn = _uniform(n, *_SCALE, generator), _uniform(n, -_TURN, _TURN, generator)
    stretch = torch.exp(_uniform(n, -_STRETCH, _STRETCH, generator))
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    across, down = _uniform(n, -_SHIFT, _SHIFT, generator), _uniform(n, -_SHIFT, _SHIFT, generator)
    first = torch.stack([scale * stretch * torch.cos(turn) * mirror, -scale * torch.sin(turn), across], 1)
    second = torch.stack([scale * torch.sin(turn) * mirror, scale / stretch * torch.cos(turn), down], 1)
    return torch.stack([first, second], 1)


def _recoloured(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast and saturation."""
    n = len(images)
    light, contrast, colour = (_uniform(n, 1 - _COLOUR, 1 + _COLOUR, generator).view(n, 1, 1, 1) for _ in range(3))
    images = images * light
    images = images.mean((1, 2, 3), keepdim=True) * (1 - contrast) + images * contrast
    images = images.mean(1, keepdim=True) * (1 - colour) + images * colour
    return images.clamp(0, 1)


def _erased(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Fills a box of up to half the sides with grey, in 40 % of the pictures."""
    n, _, height, width = images.shape
    rows, columns = torch.arange(height).view(1, 1, height, 1), torch.arange(width).view(1, 1, 1, width)

    def inside(places: torch.Tensor, extent: int) -> torch.Tensor:
        middle = (torch.rand(n, generator=generator) * extent).view(n, 1, 1, 1)
        half = (_uniform(n, 0.08, 0.25, generator) * extent).view(n, 1, 1, 1)
        return (places - middle).abs() < half

    chosen = (torch.rand(n, generator=generator) < _ERASED).view(n, 1, 1, 1)
    return torch.where(inside(rows, height) & inside(columns, width) & chosen, 0.5, images)
