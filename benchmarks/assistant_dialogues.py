"""Written dialogues with the assistant of the demo shop, and what each answer must hold.

`data/assistant/dialogues_en.yaml` and `dialogues_zh.yaml`: a list of dialogues, each a list of turns. `say` is the
utterance; the other keys are checks of the answer, all optional:

intent     the intent, or a list of right ones
fits       the first three products shown fit all conditions, and one is shown: `category` (of any level), `brand`,
           `min` and `max` (price), and attributes; a list gives alternatives
cheaper    the first product costs less than the first one that was shown before, if one that fits does
about      the answer cites a product by its place among those that were shown before, and no other product
cites      a cited field, in `about` of this product; otherwise of two products
faq        a FAQ entry is cited whose question has this expression (regular, without regard to case)
hand       whether the shopper is handed over to a person
cards      the number of products that are shown
says       an expression that the text has
not_says   one that it has not

The answer must also be in the language of the dialogue. The half "held-out" (a hash of the first utterance) was not
looked at while the assistant was built.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from benchmarks.conversation import Conversation, Reply
from services.common.product import Product
from services.common.scripts import has_han

DATA = Path(__file__).parent / "data" / "assistant"
LANGUAGES = ("en", "zh")
HALVES = ("development", "held-out")
FIRST = 3
_KEYS = {"say", "intent", "fits", "cheaper", "about", "cites", "faq", "hand", "cards", "says", "not_says"}


@dataclass(frozen=True)
class Dialogue:
    """`turns`: as in the file."""

    language: str
    turns: tuple[Mapping[str, Any], ...]

    @property
    def half(self) -> str:
        return HALVES[zlib.crc32(self.turns[0]["say"].encode()) % 2]


@dataclass(frozen=True)
class JudgedTurn:
    utterance: str
    reply: Reply
    # The checks that do not hold, in words.
    faults: tuple[str, ...]


def read_dialogues(folder: Path = DATA) -> list[Dialogue]:
    """Raises ValueError for an unknown key."""
    found = []
    for language in LANGUAGES:
        path = folder / f"dialogues_{language}.yaml"
        for number, turns in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")), 1):
            for turn in turns:
                if unknown := set(turn) - _KEYS:
                    raise ValueError(f"{path}, dialogue {number}: unknown key {min(unknown)!r}; see the module's text")
            found.append(Dialogue(language, tuple(turns)))
    return found


def fits(product: Product, conditions: Mapping[str, Any]) -> bool:
    """Whether a product meets `fits` of a turn, by the catalogue."""
    for name, wanted in conditions.items():
        if name in ("min", "max"):
            if product.price is None:
                return False
            price = Decimal(str(product.price.amount))
            if price < wanted if name == "min" else price > wanted:
                return False
            continue
        values = {str(value) for value in (wanted if isinstance(wanted, list) else [wanted])}
        own: Sequence[str]
        if name == "category":
            own = product.category_path
        elif name == "brand":
            own = (product.brand,)
        else:
            own = product.attributes.get(name, ())
        if values.isdisjoint(own):
            return False
    return True


def hold(
    dialogue: Dialogue, conversation: Conversation, products: Mapping[str, Product], faq: Mapping[str, str]
) -> list[JudgedTurn]:
    """Says each utterance and judges each answer. `faq`: the questions of an entry in one text, by id."""
    shown, judged = list[str](), list[JudgedTurn]()
    for turn in dialogue.turns:
        reply = conversation.say(turn["say"])
        faults = tuple(_faults(turn, reply, shown, dialogue.language, products, faq))
        judged.append(JudgedTurn(turn["say"], reply, faults))
        shown = reply.shown_ids or shown
    return judged


def _faults(
    turn: Mapping[str, Any], reply: Reply, shown: Sequence[str], language: str, products: Mapping[str, Product],
    faq: Mapping[str, str],
) -> list[str]:  # fmt: skip
    faults = list[str]()
    first = reply.shown_ids[:FIRST]
    if "intent" in turn and reply.intent not in (intents := _listed(turn["intent"])):
        faults.append(f"intent {reply.intent}, right {' or '.join(intents)}")
    if "fits" in turn:
        wrong = [id for id in first if not fits(products[id], turn["fits"])]
        if not first:
            faults.append(f"no products, although some fit {turn['fits']}")
        elif wrong:
            faults.append(f"{len(wrong)} of {len(first)} do not fit {turn['fits']}: {products[wrong[0]].title}")
    if turn.get("cheaper") and first and shown and _price(products[first[0]]) >= (price := _price(products[shown[0]])):
        cheaper = [one for one in products.values() if _price(one) < price and fits(one, turn.get("fits", {}))]
        if cheaper:
            faults.append(f"the first product is not cheaper, like {cheaper[0].title}")
    cited = {(one.product_id, one.field) for segment in reply.segments for one in segment.citations if one.product_id}
    cited_ids = {id for id, _ in cited}
    if "about" in turn:
        right = shown[turn["about"] - 1] if len(shown) >= turn["about"] else ""
        if cited_ids != {right}:
            faults.append(f"cites {sorted(cited_ids)}, right {right or 'nothing: too few products were shown'}")
        elif "cites" in turn and (right, turn["cites"]) not in cited:
            faults.append(f"does not cite {turn['cites']}")
    elif "cites" in turn and len({id for id, name in cited if name == turn["cites"]}) < 2:
        faults.append(f"does not cite {turn['cites']} of two products")
    if "faq" in turn:
        entries = [one.faq_id for segment in reply.segments for one in segment.citations if one.faq_id]
        if not any(re.search(turn["faq"], faq.get(id, ""), re.IGNORECASE) for id in entries):
            faults.append(f"cites FAQ {entries or 'nothing'}, right one with {turn['faq']!r}")
    if "hand" in turn and (reply.hand_over is not None) != turn["hand"]:
        faults.append("no hand-over" if turn["hand"] else "a hand-over")
    if "cards" in turn and len(reply.cards) != turn["cards"]:
        faults.append(f"{len(reply.cards)} products, right {turn['cards']}")
    if "says" in turn and not re.search(turn["says"], reply.text):
        faults.append(f"does not say {turn['says']!r}")
    if "not_says" in turn and re.search(turn["not_says"], reply.text):
        faults.append(f"says {turn['not_says']!r}")
    if not reply.text:
        faults.append("no text")
    elif has_han(reply.text) != (language == "zh"):
        faults.append(f"not in the language {language}")
    return faults


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _price(product: Product) -> Decimal:
    return Decimal(str(product.price.amount)) if product.price else Decimal("Infinity")
