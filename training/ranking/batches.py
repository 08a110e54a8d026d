"""Training batches: pages as one tensor each, padded to the longest page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.ranker.domain.user_features import IntArray
from training.ranking.examples import Examples
from training.ranking.network import RankerNetwork


@dataclass(frozen=True)
class Batch:
    """r pages of up to c candidates, s events. `user` and `items` are the arguments of the network's two parts.

    `examples` [r, c] are rows of the Examples, -1 for padding.
    """

    user: tuple[Tensor, ...]
    items: tuple[Tensor, ...]
    positions: Tensor
    examples: Tensor

    def logits(self, network: RankerNetwork) -> Tensor:
        """[r, c, tasks], without the position tower."""
        return network.candidates(*network.user(*self.user), *self.items)


class Batches:
    """Of one set of examples. `rows` [v] are the items' rows in the network's table of ids."""

    def __init__(self, examples: Examples, rows: IntArray) -> None:
        self._of = examples
        # The last row stands for padding.
        self._vectors = np.vstack([examples.vectors, np.zeros((1, examples.dimensions), np.float32)])
        self._rows = np.append(rows, 0)
        self._starts = np.searchsorted(examples.page, np.arange(examples.page_count + 1))

    def batch(self, pages: IntArray) -> Batch:
        of, starts = self._of, self._starts
        counts = starts[pages + 1] - starts[pages]
        places = np.arange(max(counts.max(initial=0), 1))
        examples = np.where(places < counts[:, None], starts[pages][:, None] + places, -1)
        # No more columns than the longest history needs; newest first, so that the padding is at the end.
        longest = max(int((of.event_types[pages] > 0).sum(axis=1).max(initial=0)), 1)
        events = of.event_items[pages, :longest]
        item = np.where(examples >= 0, of.item[examples], -1)
        user = (
            self._vectors[events], self._rows[events], of.event_types[pages, :longest],
            of.event_numbers[pages, :longest], of.long_term[pages], of.query[pages], of.context[pages],
        )  # fmt: skip
        items = (self._vectors[item], self._rows[item], of.numbers[examples])
        return Batch(
            tuple(map(torch.from_numpy, user)),
            tuple(map(torch.from_numpy, items)),
            torch.from_numpy(of.positions[examples]),
            torch.from_numpy(examples),
        )

    def each(self, pages: IntArray, size: int) -> Iterator[Batch]:
        for first in range(0, len(pages), size):
            yield self.batch(pages[first : first + size])


def rows_of(item_ids: np.ndarray, table: Mapping[str, int]) -> IntArray:
    """Rows in the table of ids; 0 for items that are not in it."""
    return np.array([table.get(item_id, 0) for item_id in item_ids.tolist()], np.int64)
