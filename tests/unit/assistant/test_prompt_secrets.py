"""Personal data of a shopper is in no part of a prompt, also where the answer repeats the shopper's words."""

from __future__ import annotations

from services.assistant.domain.facts import Draft, Sentence
from services.assistant.domain.prompt import Said, prompt_for

CARD = "4111 1111 1111 1111"


def test_a_prompt_has_no_card_number() -> None:
    """Neither from the utterance, nor from an earlier turn, nor from the answer of the templates."""
    draft = Draft((Sentence(f"I found nothing for “my card is {CARD}”."),))
    prompt = prompt_for("en", f"my card is {CARD}", [Said(f"pay with {CARD}", f"Not with {CARD}.")], draft, "nonce")
    assert "4111" not in prompt.data
    assert "I found nothing for" in prompt.data
