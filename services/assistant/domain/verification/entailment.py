"""Whether a text of the shop, an FAQ answer or a policy, says nearly literally what a sentence says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.assistant.domain.facts import Fact
from services.assistant.domain.verification.sentences import sentences_of
from services.assistant.domain.verification.words import Kind, Lexicon, tokens_of

# Sentences of the source, one behind the other, that one sentence may repeat.
_WINDOW = 2
# Words of the sentence that state something: this share has to be in the source, and in its order.
_COVERED, _IN_ORDER = 0.85, 0.75
# Words of the source that the sentence may leave out, as a share.
_KEPT = 0.5


@dataclass(frozen=True)
class _Content:
    """`words`: in order, without those that state nothing. `fixed`: numbers, negations and conditions, sorted."""

    words: tuple[str, ...]
    fixed: tuple[str, ...]


def entailing(text: str, facts: Sequence[Fact], lexicon: Lexicon) -> Fact | None:
    """The first fact whose text says the same. Numbers, negations and conditions are equal; other words may differ a
    little.
    """
    said = _content(text, lexicon, is_answer=True)
    if not said.words:
        return None
    for fact in facts:
        parts = [part for line in fact.value.splitlines() for part in sentences_of(line, lexicon.abbreviations)]
        for size in range(1, _WINDOW + 1):
            for at in range(len(parts) - size + 1):
                if _entails(_content(" ".join(parts[at : at + size]), lexicon), said):
                    return fact
    return None


def _entails(source: _Content, said: _Content) -> bool:
    if source.fixed != said.fixed:
        return False
    known = set(source.words)
    covered = sum(word in known for word in said.words)
    if covered < _COVERED * len(said.words) or len(said.words) < _KEPT * len(source.words):
        return False
    return _longest_common(source.words, said.words) >= _IN_ORDER * len(said.words)


def _content(text: str, lexicon: Lexicon, is_answer: bool = False) -> _Content:
    tokens = [token for token in tokens_of(text) if token.is_spoken]
    keys = [token.key for token in tokens]
    at = 0
    while is_answer and (length := lexicon.length_at("lead_ins", keys, at)):
        at += length
    words, fixed = list[str](), list[str]()
    while at < len(keys):
        if length := lexicon.length_at("negations", keys, at):
            fixed.append("not")
        elif length := lexicon.length_at("conditions", keys, at):
            fixed.append(" ".join(keys[at : at + length]))
        elif tokens[at].kind is Kind.NUMBER:
            length = 1
            fixed.append(keys[at])
        elif length := _plain_length(lexicon, keys, at):
            pass
        else:
            length = 1
            words.append(keys[at])
        at += length
    return _Content(tuple(words), tuple(sorted(fixed)))


def _plain_length(lexicon: Lexicon, keys: Sequence[str], at: int) -> int:
    return lexicon.length_at("plain", keys, at)


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for one in first:
        before = 0
        for at, other in enumerate(second, 1):
            before, row[at] = row[at], before + 1 if one == other else max(row[at], row[at - 1])
    return row[-1]
