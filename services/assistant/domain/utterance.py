"""What a shopper says in a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Transcript:
    text: str
    confidence: float = 0.0


@dataclass(frozen=True)
class Utterance:
    """Exactly one of `text`, `chip_id` and `transcripts` is set."""

    text: str = ""
    chip_id: str = ""
    transcripts: Sequence[Transcript] = ()
    item_ids: Sequence[str] = ()
