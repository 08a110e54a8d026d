"""Windows of a log: at most SEQUENCE events each, as the network reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from services.ranker.domain.shopper.events import SEQUENCE, WORDS
from training.shopper.data import IntArray, ShopperLog

_DAY_S = 86_400.0
# Targets of each window of a person with more events than one window has.
_STEP = SEQUENCE // 2


@dataclass(frozen=True)
class Batch:
    """b windows, oldest event first, padded at the end to the longest, l.

    `items` [b, l] are rows of the catalogue, the row behind the last one for a query and for padding; `types` [b, l], 0
    for padding; `gaps` [b, l] are days from an event to the next one, or to the moment of the prediction; `words`
    [b, l, WORDS]; `targets` [b, l] are rows of the catalogue, negative where nothing is to be predicted.
    """

    items: torch.Tensor
    types: torch.Tensor
    gaps: torch.Tensor
    words: torch.Tensor | None
    lengths: torch.Tensor
    targets: torch.Tensor


class Windows:
    """Of a log: for training, or before given events."""

    def __init__(self, log: ShopperLog, item_count: int) -> None:
        self._log, self._padding = log, item_count
        self._items = np.where(log.items < 0, item_count, log.items)
        self._targets = np.where(log.is_target(), log.items, -1)
        self._has_queries = bool(log.queries.any())
        # [w, 2]: first event, and the last one, which is a target only; [w]: targets before this row are not counted.
        self._spans, self._counted = self._training_spans()

    def __len__(self) -> int:
        """Number of training windows."""
        return len(self._spans)

    def shuffled(self, size: int, random: np.random.Generator) -> Iterator[Batch]:
        """Batches of windows of similar length, which need little padding, in random order."""
        order = random.permutation(len(self._spans))
        lengths = self._spans[order, 1] - self._spans[order, 0]
        order = order[np.argsort(lengths // 4, kind="stable")]
        starts = np.arange(0, len(order), size)
        random.shuffle(starts)
        for start in starts:
            rows = order[start : start + size]
            yield self._batch(self._spans[rows, 0], self._spans[rows, 1], self._counted[rows])

    def before(self, events: IntArray) -> Batch:
        """What was known before these events of the log, at their times: the newest events of each person."""
        persons = np.searchsorted(self._log.starts, events, side="right") - 1
        begins = np.maximum(self._log.starts[persons], events - SEQUENCE)
        return self._batch(begins, events, events)

    def _batch(self, begins: IntArray, ends: IntArray, counted: IntArray) -> Batch:
        """Events from `begins` to before `ends`; an event's target is the next one, if not before `counted`."""
        log, lengths = self._log, ends - begins
        steps = np.arange(max(1, int(lengths.max(initial=1))))
        is_event = steps < lengths[:, None]
        rows = np.where(is_event, begins[:, None] + steps, 0)
        following = np.minimum(rows + 1, len(log) - 1)
        gaps = np.maximum(0.0, log.times_s[following] - log.times_s[rows]) / _DAY_S
        is_counted = is_event & (following >= counted[:, None])
        return Batch(
            torch.from_numpy(np.where(is_event, self._items[rows], self._padding)),
            torch.from_numpy(np.where(is_event, log.types[rows], 0)),
            torch.from_numpy(np.where(is_event, gaps, 0.0).astype(np.float32)),
            torch.from_numpy(log.words[np.where(is_event, log.queries[rows], 0)].reshape(*rows.shape, WORDS))
            if self._has_queries
            else None,
            torch.from_numpy(lengths),
            torch.from_numpy(np.where(is_counted, self._targets[following], -1)),
        )

    def _training_spans(self) -> tuple[IntArray, IntArray]:
        spans, counted = [], []
        for begin, end in zip(self._log.starts[:-1].tolist(), self._log.starts[1:].tolist(), strict=True):
            last = end - 1
            while last > begin:
                first = max(begin, last - SEQUENCE)
                spans.append((first, last))
                counted.append(begin if first == begin else last - _STEP + 1)
                last = begin if first == begin else last - _STEP
        kept = [row for row, (_, last) in enumerate(spans) if (self._targets[counted[row] : last + 1] >= 0).any()]
        return np.array(spans, np.int64).reshape(-1, 2)[kept], np.array(counted, np.int64)[kept]
