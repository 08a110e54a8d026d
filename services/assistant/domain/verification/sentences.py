"""Sentences of a text that arrives in pieces."""

from __future__ import annotations

import re
from collections.abc import Collection

# A sentence without an end is cut there, in characters, and the piece is checked by itself.
MAX_SENTENCE = 600
_END = re.compile(r"[。！？!?…]+[\"'”’」）)]*|\n+|\.(?=[\s\"'”’)]|$)[\"'”’)]*|；")
_LAST_WORD = re.compile(r"([\w.]+)\.$")


class SentenceSplitter:
    """`names`: texts with full stops that end no sentence, such as titles ("Dr. Martens 1460")."""

    def __init__(self, abbreviations: Collection[str], names: Collection[str] = ()) -> None:
        self._abbreviations = frozenset(abbreviations)
        self._names = [name for name in names if "." in name or "!" in name or "?" in name]
        self._text = ""

    def feed(self, piece: str) -> list[str]:
        """The sentences that end in `piece`; each with at least one character that is no blank."""
        self._text += piece
        found, start, at = list[str](), 0, 0
        while match := _END.search(self._text, at):
            at = match.end()
            # The next character decides whether a full stop ends a sentence.
            if at == len(self._text) and match[0][-1:] != "\n" and "." in match[0]:
                break
            if self._ends(self._text[start:at], match.start() - start):
                found.append(self._text[start:at].strip())
                start = at
        self._text = self._text[start:]
        while len(self._text) > MAX_SENTENCE:
            found.append(self._text[:MAX_SENTENCE].strip())
            self._text = self._text[MAX_SENTENCE:]
        return [sentence for sentence in found if sentence]

    def rest(self) -> list[str]:
        """What is left at the end of the text."""
        text, self._text = self._text.strip(), ""
        return [text] if text else []

    def _ends(self, text: str, at: int) -> bool:
        """Whether the sign at `at` ends a sentence."""
        if text[at] == ".":
            word = _LAST_WORD.search(text[: at + 1])
            last = word[1].lower() if word else ""
            if (
                last in self._abbreviations
                or (len(last) == 1 and last.isalpha())
                or (last.isdigit() and last == text.strip()[:-1])
            ):
                return False
        for name in self._names:
            for found in re.finditer(re.escape(name[: name.find(text[at]) + 1]), text):
                if text[at] in name and found.end() == at + 1 and not text.endswith(name):
                    return False
        return True


def sentences_of(text: str, abbreviations: Collection[str], names: Collection[str] = ()) -> list[str]:
    splitter = SentenceSplitter(abbreviations, names)
    return [*splitter.feed(text), *splitter.rest()]
