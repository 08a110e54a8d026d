"""A tokenizer and embeddings for English and Chinese, extended from those of an English BERT.

BERT's normaliser separates Han characters, so each character of the training texts becomes a word piece. The words of
the concept graph are pieces as well (added tokens; the longest match at the first position wins): the layers, which
were trained on English, would have to combine single characters, while one piece starts as the mean of the pieces of
its English label. Text that no word covers is split into characters.

Characters that are not in the training texts stay unknown. That includes the few hundred that English BERT has, whose
embeddings are untrained: their rows are reused for characters of the training texts. So the encoder can still tell that
it does not know a text.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import AddedToken, Tokenizer

from services.common.scripts import has_han, is_han
from training.bilingual.texts import Translation


@dataclass(frozen=True)
class Vocabulary:
    """Two tokenizers with the same pieces: `words` has a piece for each word, `characters` splits all Chinese text.

    `is_new` [pieces]: the embedding is new; the others are the teacher's.
    """

    words: Tokenizer
    characters: Tokenizer
    is_new: torch.Tensor


def extended(tokenizer: Tokenizer, characters: Iterable[str], words: Iterable[str]) -> Vocabulary:
    """Extends a WordPiece `tokenizer` by pieces for `characters` and for `words` of two characters or more."""
    document = json.loads(tokenizer.to_str())
    old: dict[str, int] = document["model"]["vocab"]
    size = len(old)
    freed = sorted(number for piece, number in old.items() if has_han(piece))
    pieces = {piece: number for piece, number in old.items() if not has_han(piece)}
    han = sorted({character for character in characters if is_han(character)})
    rows = [*freed[: len(han)], *range(size, size + max(0, len(han) - len(freed)))]
    pieces |= dict(zip(han, rows, strict=True))
    # Unused rows get a name that does not occur in texts.
    pieces |= {f"[freed{number}]": number for number in freed[len(han) :]}
    document["model"]["vocab"] = dict(sorted(pieces.items(), key=lambda entry: entry[1]))
    by_character, by_word = (Tokenizer.from_str(json.dumps(document, ensure_ascii=False)) for _ in range(2))
    for each in (by_character, by_word):
        each.no_padding()
        each.no_truncation()
    by_word.add_tokens([AddedToken(word, normalized=True) for word in dict.fromkeys(words) if len(word) > 1])
    is_new = torch.zeros(by_word.get_vocab_size(), dtype=torch.bool)
    is_new[rows] = True
    is_new[len(pieces) :] = True
    return Vocabulary(by_word, by_character, is_new)


def initial_embeddings(
    vocabulary: Vocabulary, labels: Iterable[Translation], teacher: Tokenizer, embeddings: torch.Tensor
) -> torch.Tensor:
    """[pieces, dimensions]: the teacher's rows (`embeddings`), and initial rows for the new pieces.

    A word starts as the mean of its English label's pieces, a character as the mean of the words that contain it, other
    pieces as the mean of all pieces.
    """
    known: dict[str, torch.Tensor] = {}
    by_character: defaultdict[str, list[torch.Tensor]] = defaultdict(list)
    for pair in labels:
        pieces = teacher.encode(pair.english, add_special_tokens=False).ids
        known[pair.chinese] = embeddings[pieces].mean(0)
        for character in set(pair.chinese):
            by_character[character].append(known[pair.chinese])
    initial = torch.empty(len(vocabulary.is_new), embeddings.shape[1])
    initial[: len(embeddings)] = embeddings
    mean = embeddings.mean(0)
    for piece, number in vocabulary.words.get_vocab(with_added_tokens=True).items():
        if vocabulary.is_new[number]:
            containing = by_character.get(piece)
            initial[number] = known.get(piece, torch.stack(containing).mean(0) if containing else mean)
    return initial


class ExtendedEmbeddings(torch.nn.Module):
    """The new rows are trained, the teacher's are frozen. Gradients are sparse: a batch has few of the pieces."""

    def __init__(self, weights: torch.Tensor, is_new: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("row_of", torch.where(is_new, is_new.cumsum(0) - 1, -1))
        self.new = torch.nn.Embedding.from_pretrained(weights[is_new], freeze=False, sparse=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.embedding(ids, self.get_buffer("weights"))
        rows = self.get_buffer("row_of")[ids]
        return found.masked_scatter((rows >= 0).unsqueeze(-1), self.new(rows[rows >= 0]))

    def merged(self) -> torch.nn.Embedding:
        """All rows in one table, the saved form."""
        weights = self.get_buffer("weights").clone()
        weights[self.get_buffer("row_of") >= 0] = self.new.weight.detach()
        table: torch.nn.Embedding = torch.nn.Embedding.from_pretrained(weights)
        return table
