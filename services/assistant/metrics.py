"""What a replica exports beside Ray's own metrics, with the prefix `ray_`. Counts begin with the replica."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from services.assistant.domain.intents import Intent
from services.assistant.events import Ended

MEASURES = {
    "kairos_assistant_turns": "Turns that were answered.",
    "kairos_assistant_degraded_turns": "Turns with a degradation, also of the calls that they made.",
    "kairos_assistant_unstored_turns": "Turns that were not stored, also those of shoppers without an id.",
    "kairos_assistant_declined_turns": "Turns that were declined.",
    "kairos_assistant_removed_statements": "Statements of the language model that no fact supports.",
    "kairos_assistant_model_answers": "Answers of the language model.",
    "kairos_assistant_model_fallbacks": "Answers of the templates in place of the language model.",
    "kairos_assistant_first_words_ms": "Milliseconds until the first words: the 95th percentile of the last 256 turns.",
}
_REMEMBERED = 256


@dataclass
class Counts:
    """`first_words_s`: of the last turns."""

    turns: Counter[str] = field(default_factory=Counter)
    first_words_s: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def ended(self, event: Ended) -> None:
        self.turns["turns"] += 1
        self.turns["degraded_turns"] += bool(event.degradations)
        self.turns["unstored_turns"] += not event.is_stored
        self.turns["declined_turns"] += event.intent is Intent.DECLINED
        self.turns["removed_statements"] += event.removed

    def measures(self) -> dict[str, float]:
        """By the name of the metric."""
        times = sorted(self.first_words_s)
        slow = times[int(0.95 * (len(times) - 1))] * 1e3 if times else 0.0
        return {name: self.turns[name.removeprefix("kairos_assistant_")] for name in MEASURES} | {
            "kairos_assistant_first_words_ms": slow
        }
