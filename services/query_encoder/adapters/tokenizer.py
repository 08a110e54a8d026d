"""Turns texts into padded token ids, in the same way for the torch and the ONNX encoder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from services.common.scripts import has_han

IntArray = npt.NDArray[np.int64]

# The model does not know a text of which a larger share of the word pieces is unknown.
MAX_UNKNOWN_SHARE = 0.3
# A model whose vocabulary has fewer pieces of a script does not know the script. In a small vocabulary a share of the
# pieces that the script with the most has is enough. Every model is taken to know Latin letters. English BERT has 488
# pieces with Chinese characters, without having learned their meaning; bert-base-chinese has 7,000. Of other scripts
# English BERT has at most 92 pieces: it spells their words letter by letter.
_MIN_CHINESE_PIECES, _MIN_PIECES, _MIN_SHARE = 2_000, 500, 0.1
_HAN, _LATIN = "CJK", "LATIN"


class BatchTokenizer:
    """Sorts texts by length, so that a batch has hardly any padding."""

    def __init__(self, model_dir: Path) -> None:
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        vocabulary = self._tokenizer.get_vocab()
        self._unknown = {vocabulary[name] for name in ("[UNK]", "<unk>") if name in vocabulary}
        pieces: dict[str, set[int]] = {}
        for piece, number in vocabulary.items():
            pieces.setdefault(_script(piece), set()).add(number)
        most = max(map(len, pieces.values()), default=0)
        for script, numbers in pieces.items():
            enough = _MIN_CHINESE_PIECES if script == _HAN else _MIN_PIECES
            if script not in ("", _LATIN) and len(numbers) < min(enough, _MIN_SHARE * most):
                self._unknown |= numbers

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


def _script(piece: str) -> str:
    """The script of a word piece, as the first word of Unicode's name of its first letter: LATIN, CYRILLIC, HANGUL.
    Empty for a piece without a letter. A piece with a Han character is of the Han script.
    """
    if has_han(piece):
        return _HAN
    letters = (character for character in piece if character.isalpha())
    return next((unicodedata.name(letter, "").split(" ")[0] for letter in letters), "")
