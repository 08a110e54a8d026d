"""Settings of the compression of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """Removed parts: a share of all heads, a share of each layer's feed-forward units, and a number of layers."""

    heads: float = 0.0
    units: float = 0.0
    layers: int = 0

    @property
    def name(self) -> str:
        parts = (
            f"heads −{self.heads:.0%}" if self.heads else "",
            f"feed-forward −{self.units:.0%}" if self.units else "",
            f"{self.layers} layer{'s' * (self.layers > 1)} less" if self.layers else "",
        )
        return ", ".join(filter(None, parts))

    @property
    def folder(self) -> str:
        """Name of the folder, and part of the model's version."""
        parts = (
            (self.heads, f"h{self.heads:.0%}"),
            (self.units, f"f{self.units:.0%}"),
            (self.layers, f"l{self.layers}"),
        )
        return "pruned-" + "-".join(text.rstrip("%") for part, text in parts if part)


@dataclass(frozen=True)
class Compression:
    """The fastest of `cuts` that loses at most the share `tolerance` of NDCG@10 is proposed.

    It may not lose more than `margin` of it in the shop's searches, with 95 % confidence, and must take at most the
    share `slowest` of the time.
    """

    cuts: Sequence[Cut] = (Cut(heads=0.25), Cut(units=0.25), Cut(layers=1), Cut(layers=2))
    recovery_steps: int = 40
    # Queries that choose, the products that they search in, and the products that pruning learns from.
    queries: int = 500
    catalogue: int = 4_000
    pairs: int = 1_024
    # In each round every model encodes every timed query.
    rounds: int = 10
    tolerance: float = 0.005
    margin: float = 0.02
    slowest: float = 0.9
    seed: int = 0
