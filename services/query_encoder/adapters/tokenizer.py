"""Turns texts into padded token ids, in the same way for the torch and the ONNX encoder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer, normalizers

from services.common.scripts import has_han
from services.query_encoder.adapters.sentence_folder import read_sentence_folder
from services.query_encoder.ports import TextKind

IntArray = npt.NDArray[np.int64]

# The model does not know a text of which a larger share of the word pieces is unknown.
MAX_UNKNOWN_SHARE = 0.3
# A model whose vocabulary has fewer pieces of a script does not know the script. In a small vocabulary a share of the
# pieces that the script with the most has is enough. Every model is taken to know Latin letters. English BERT has 488
# pieces with Chinese characters, without having learned their meaning; bert-base-chinese has 7,000. Of other scripts
# English BERT has at most 92 pieces: it spells their words letter by letter.
_MIN_CHINESE_PIECES, _MIN_PIECES, _MIN_SHARE = 2_000, 500, 0.1
_HAN, _LATIN = "CJK", "LATIN"
# Word pieces of a text that a model reads at least.
MIN_TOKENS = 4
# A single byte of a character that has no piece, in vocabularies of SentencePiece.
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# The bytes by the characters that stand for them in byte-level vocabularies (GPT-2): printable ones stand for
# themselves, the others for those from U+0100 on.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}


class BatchTokenizer:
    """Sorts texts by length, so that a batch has hardly any padding."""

    def __init__(self, model_dir: Path) -> None:
        folder = read_sentence_folder(model_dir)
        file = folder.transformer_dir / "tokenizer.json"
        if not file.is_file():
            raise ValueError(f"{file} is missing; save the model's tokenizer with `transformers`, which writes it")
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if folder.lower_case:
            kept = [self._tokenizer.normalizer] if self._tokenizer.normalizer is not None else []
            self._tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *kept])
        self._prompts = {kind: self._prompt(folder.prompts.get(kind, "")) for kind in get_args(TextKind)}
        self._pools_prompt, self._limit = folder.pools_prompt, folder.max_tokens
        longest = max(prompt.tokens for prompt in self._prompts.values())
        if self._limit is not None and self._limit < longest + MIN_TOKENS:
            raise ValueError(
                f"{model_dir}: the model reads {self._limit} word pieces, and its prompt has {longest}; shorten the "
                "prompts in config_sentence_transformers.json"
            )
        self._unknown = _unknown_pieces(self._tokenizer)

    def batches(
        self, texts: Sequence[str], max_tokens: int, tokens_per_batch: int, kind: TextKind
    ) -> Iterator[tuple[list[int], IntArray, IntArray]]:
        """(rows of `texts`, ids [n, length], mask [n, length]) of each batch; see `padded`. Texts that the model does
        not know are left out.
        """
        prompt, encoded = self._prompts[kind], self._encoded(texts, kind)
        ids = [self._cut(encoding, max_tokens, prompt) for encoding in encoded]
        known = [row for row, encoding in enumerate(encoded) if self._is_known(encoding, len(prompt.text))]
        known.sort(key=lambda row: len(ids[row]))
        while known:
            size = max(1, tokens_per_batch // len(ids[known[0]]))
            batch, known = known[:size], known[size:]
            yield batch, *self._padded([ids[row] for row in batch], prompt)

    def padded(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> tuple[IntArray, IntArray]:
        """ids and mask [len(texts), length] of all texts, in their order. The padding is at the end.

        The mask is 0 for padding, 1 for a token that is pooled, 2 for one that is read but not pooled.
        """
        prompt = self._prompts[kind]
        return self._padded(
            [self._cut(encoding, max_tokens, prompt) for encoding in self._encoded(texts, kind)], prompt
        )

    def _encoded(self, texts: Sequence[str], kind: TextKind) -> list[Encoding]:
        prompted = [self._prompts[kind].text + text for text in texts]
        # A single text is encoded without the library's threads: waking them takes longer than the work.
        is_single = len(texts) == 1
        return [self._tokenizer.encode(prompted[0])] if is_single else self._tokenizer.encode_batch(prompted)

    def _padded(self, ids: Sequence[Sequence[int]], prompt: _Prompt) -> tuple[IntArray, IntArray]:
        padded, mask = np.zeros((2, len(ids), max(map(len, ids))), dtype=np.int64)
        for position, row in enumerate(ids):
            padded[position, : len(row)] = row
            mask[position, : len(row)] = 1
        if not self._pools_prompt:
            mask[:, : prompt.leading] *= 2
        return padded, mask

    def _cut(self, encoding: Encoding, max_tokens: int, prompt: _Prompt) -> list[int]:
        """Cuts off the end of the text, but keeps the closing special tokens."""
        ids: list[int] = encoding.ids
        limit = max_tokens + prompt.tokens
        limit = limit if self._limit is None else min(limit, self._limit)
        if len(ids) <= limit:
            return ids
        closing = _closing(encoding)
        return [*ids[: limit - closing], *ids[len(ids) - closing :]]

    def _is_known(self, encoding: Encoding, prompt: int) -> bool:
        """`prompt`: its characters, which do not count."""
        pieces = [i for i, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not special]
        if prompt:
            places = zip(encoding.ids, encoding.special_tokens_mask, encoding.offsets, strict=True)
            pieces = [i for i, special, (_, end) in places if not special and end > prompt]
        return bool(pieces) and sum(piece in self._unknown for piece in pieces) <= MAX_UNKNOWN_SHARE * len(pieces)

    def _prompt(self, text: str) -> _Prompt:
        """Its tokens are counted as `sentence-transformers` counts them: those of the prompt alone."""
        if not text:
            return _Prompt("", 0, 0)
        encoding: Encoding = self._tokenizer.encode(text)
        leading = len(encoding.ids) - _closing(encoding)
        return _Prompt(text, leading, len(encoding.ids) - sum(encoding.special_tokens_mask))


@dataclass(frozen=True)
class _Prompt:
    """`tokens`: its word pieces; `leading`: with the special tokens before them."""

    text: str
    leading: int
    tokens: int


def _closing(encoding: Encoding) -> int:
    """The number of special tokens after the text."""
    return next((n for n, special in enumerate(reversed(encoding.special_tokens_mask)) if not special), 0)


def _unknown_pieces(tokenizer: Tokenizer) -> set[int]:
    """Pieces that stand for a text that the model does not know."""
    vocabulary = tokenizer.get_vocab()
    unknown = {vocabulary[name] for name in ("[UNK]", "<unk>") if name in vocabulary}
    by_bytes = "ByteLevel" in str(tokenizer.pre_tokenizer)
    pieces: dict[str, set[int]] = {}
    for piece, number in vocabulary.items():
        text = _from_bytes(piece) if by_bytes else piece
        if text is None or _BYTE.fullmatch(piece):
            unknown.add(number)
        else:
            pieces.setdefault(_script(text), set()).add(number)
    most = max(map(len, pieces.values()), default=0)
    for script, numbers in pieces.items():
        enough = _MIN_CHINESE_PIECES if script == _HAN else _MIN_PIECES
        if script not in ("", _LATIN) and len(numbers) < min(enough, _MIN_SHARE * most):
            unknown |= numbers
    return unknown


def _from_bytes(piece: str) -> str | None:
    """The text of a piece of a tokenizer that splits bytes; None for a part of a character."""
    try:
        return bytes(_BYTES[character] for character in piece).decode()
    except KeyError:
        # A special token.
        return piece
    except UnicodeDecodeError:
        return None


def _script(piece: str) -> str:
    """The script of a word piece, as the first word of Unicode's name of its first letter: LATIN, CYRILLIC, HANGUL.
    Empty for a piece without a letter. A piece with a Han character is of the Han script.
    """
    if has_han(piece):
        return _HAN
    letters = (character for character in piece if character.isalpha())
    return next((unicodedata.name(letter, "").split(" ")[0] for letter in letters), "")
