"""A tokenizer and embeddings that know Chinese, from those of an English BERT.

BERT's normaliser sets Han characters apart, so the characters of the texts become word pieces. The words of the concept
graph are pieces as well (added tokens: the longest that begins first wins): three characters would have to be put
together by layers that were made for English, one piece starts as the mean of its English label's pieces and means the
right thing at once. What no word covers is read by its characters.

Characters that no text teaches stay unknown, also the few hundred of English BERT, which mean nothing to it: their rows
go to characters that are taught. So a text that the student cannot read is still told from one that it can.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import AddedToken, Tokenizer

from services.common.scripts import has_han, is_han
from training.bilingual.texts import Pair


@dataclass(frozen=True)
class Vocabulary:
    """`whole` reads words as one piece, `characters` never does; both have the same pieces. `fresh` [pieces]: rows of
    the embeddings that are new, the others are the teacher's.
    """

    whole: Tokenizer
    characters: Tokenizer
    fresh: torch.Tensor


def extended(tokenizer: Tokenizer, characters: Iterable[str], words: Iterable[str]) -> Vocabulary:
    """`tokenizer` is a WordPiece one; `words` of one character are left to the characters."""
    document = json.loads(tokenizer.to_str())
    old: dict[str, int] = document["model"]["vocab"]
    size = len(old)
    freed = sorted(number for piece, number in old.items() if has_han(piece))
    pieces = {piece: number for piece, number in old.items() if not has_han(piece)}
    wanted = sorted({character for character in characters if is_han(character)})
    rows = [*freed[: len(wanted)], *range(size, size + max(0, len(wanted) - len(freed)))]
    pieces |= dict(zip(wanted, rows, strict=True))
    # Rows that nobody took keep a name that no text has.
    pieces |= {f"[freed{number}]": number for number in freed[len(wanted) :]}
    document["model"]["vocab"] = dict(sorted(pieces.items(), key=lambda entry: entry[1]))
    plain, whole = (Tokenizer.from_str(json.dumps(document, ensure_ascii=False)) for _ in range(2))
    for each in (plain, whole):
        each.no_padding()
        each.no_truncation()
    whole.add_tokens([AddedToken(word, normalized=True) for word in dict.fromkeys(words) if len(word) > 1])
    fresh = torch.zeros(whole.get_vocab_size(), dtype=torch.bool)
    fresh[rows] = True
    fresh[len(pieces) :] = True
    return Vocabulary(whole, plain, fresh)


def first_embeddings(
    vocabulary: Vocabulary, labels: Iterable[Pair], teacher: Tokenizer, embeddings: torch.Tensor
) -> torch.Tensor:
    """[pieces, dimensions]: the teacher's rows (`embeddings`), and for the fresh ones what their words mean in English.

    A word is the mean of its label's pieces; a character that of the words it stands in; what no label tells, the mean
    of all pieces.
    """
    known: dict[str, torch.Tensor] = {}
    by_character: defaultdict[str, list[torch.Tensor]] = defaultdict(list)
    for pair in labels:
        pieces = teacher.encode(pair.english, add_special_tokens=False).ids
        known[pair.chinese] = embeddings[pieces].mean(0)
        for character in set(pair.chinese):
            by_character[character].append(known[pair.chinese])
    grown = torch.empty(len(vocabulary.fresh), embeddings.shape[1])
    grown[: len(embeddings)] = embeddings
    everything = embeddings.mean(0)
    for piece, number in vocabulary.whole.get_vocab(with_added_tokens=True).items():
        if vocabulary.fresh[number]:
            meanings = by_character.get(piece)
            grown[number] = known.get(piece, torch.stack(meanings).mean(0) if meanings else everything)
    return grown


class GrownEmbeddings(torch.nn.Module):
    """The fresh rows learn, those of the teacher stay. Gradients are sparse: a batch shows few of the pieces."""

    def __init__(self, weights: torch.Tensor, fresh: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("row_of", torch.where(fresh, fresh.cumsum(0) - 1, -1))
        self.fresh = torch.nn.Embedding.from_pretrained(weights[fresh], freeze=False, sparse=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.embedding(ids, self.get_buffer("weights"))
        rows = self.get_buffer("row_of")[ids]
        return found.masked_scatter((rows >= 0).unsqueeze(-1), self.fresh(rows[rows >= 0]))

    def joined(self) -> torch.nn.Embedding:
        """All rows in one table, as it is saved."""
        weights = self.get_buffer("weights").clone()
        weights[self.get_buffer("row_of") >= 0] = self.fresh.weight.detach()
        table: torch.nn.Embedding = torch.nn.Embedding.from_pretrained(weights)
        return table
