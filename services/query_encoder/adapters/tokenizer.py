"""Turns texts into padded token ids, in the same way for the torch and the ONNX encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from services.common.scripts import has_han

IntArray = npt.NDArray[np.int64]

# The model does not know a text of which a larger share of the word pieces is unknown.
MAX_UNKNOWN_SHARE = 0.3
# A model whose vocabulary has fewer pieces with Chinese characters does not know Chinese. English BERT has 488, without
# having learned their meaning; bert-base-chinese has 7,000.
_MIN_CHINESE_VOCABULARY = 2_000


class BatchTokenizer:
    """Sorts texts by length, so that a batch has hardly any padding."""

    def __init__(self, model_dir: Path) -> None:
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        vocabulary = self._tokenizer.get_vocab()
        chinese = {number for piece, number in vocabulary.items() if has_han(piece)}
        self._unknown = {vocabulary[name] for name in ("[UNK]", "<unk>") if name in vocabulary}
        if len(chinese) < _MIN_CHINESE_VOCABULARY:
            self._unknown |= chinese

    def batches(
        self, texts: Sequence[str], max_tokens: int, tokens_per_batch: int
    ) -> Iterator[tuple[list[int], IntArray, IntArray]]:
        """(rows of `texts`, ids [n, length], mask [n, length]) of each batch. Texts that the model does not know are
        left out.
        """
        # A single text is encoded without the library's threads: waking them takes longer than the work.
        is_single = len(texts) == 1
        encoded = [self._tokenizer.encode(texts[0])] if is_single else self._tokenizer.encode_batch(list(texts))
        ids = [self._cut(encoding, max_tokens) for encoding in encoded]
        known = [row for row, encoding in enumerate(encoded) if self._is_known(encoding)]
        known.sort(key=lambda row: len(ids[row]))
        while known:
            size = max(1, tokens_per_batch // len(ids[known[0]]))
            batch, known = known[:size], known[size:]
            length = len(ids[batch[-1]])
            padded, mask = np.zeros((2, len(batch), length), dtype=np.int64)
            for position, row in enumerate(batch):
                padded[position, : len(ids[row])] = ids[row]
                mask[position, : len(ids[row])] = 1
            yield batch, padded, mask

    def _cut(self, encoding: Encoding, max_tokens: int) -> list[int]:
        """Cuts off the end of the text, but keeps the closing special token."""
        ids: list[int] = encoding.ids
        return ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]

    def _is_known(self, encoding: Encoding) -> bool:
        pieces = [i for i, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not special]
        return bool(pieces) and sum(piece in self._unknown for piece in pieces) <= MAX_UNKNOWN_SHARE * len(pieces)
