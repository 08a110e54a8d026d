"""A conversation as compressed bytes, as both stores keep it: JSON of known length, then the state."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace

from services.ranker.domain.conversation import Conversation, Turn

_LENGTH = struct.Struct("<I")
# Without a header and a checksum, which each row would pay for.
_WINDOW_BITS = -15


def to_bytes(conversation: Conversation, most: int) -> bytes:
    """At most `most` bytes: the oldest turns are left out, then the end of the newest answer.

    A state that does not fit by itself, and the newest utterance, are kept all the same.
    """
    while len(data := _packed(conversation)) > most:
        *earlier, newest = conversation.turns
        if earlier:
            conversation = replace(conversation, turns=(*earlier[1:], newest))
        elif newest.answer:
            conversation = replace(
                conversation, turns=(replace(newest, answer=newest.answer[: 3 * len(newest.answer) // 4]),)
            )
        else:
            break
    return data


def from_bytes(id: str, data: bytes) -> Conversation:
    content = zlib.decompress(data, _WINDOW_BITS)
    (length,) = _LENGTH.unpack_from(content)
    turn_count, turns = json.loads(content[_LENGTH.size : _LENGTH.size + length])
    return Conversation(
        id,
        tuple(Turn(turn_id, time_s, said, answer, tuple(shown)) for turn_id, time_s, said, answer, shown in turns),
        content[_LENGTH.size + length :],
        turn_count,
    )


def _packed(conversation: Conversation) -> bytes:
    turns = [
        [turn.id, round(turn.time_s, 3), turn.utterance, turn.answer, list(turn.shown_item_ids)]
        for turn in conversation.turns
    ]
    text = json.dumps([conversation.turn_count, turns], ensure_ascii=False, separators=(",", ":")).encode()
    return zlib.compress(_LENGTH.pack(len(text)) + text + conversation.state, 9, _WINDOW_BITS)
