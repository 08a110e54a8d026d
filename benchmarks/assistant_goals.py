"""Simulated shoppers with a goal: products of one category with certain attributes, within a budget and in stock.

A goal is drawn from a catalogue. Its shopper first names only the category, and looks at the first three products of
each answer. Does one fit, the goal is reached; otherwise the shopper goes on, for four turns in all:

* A question is answered truthfully: with the chip that means the goal's value, in words if no chip does, and "I don't
  mind" for a field that the goal leaves open; the category is repeated. A budget takes a chip only if it has no lower
  end, and its upper end is between 80 and 100 % of the budget.
* Without a question, a shopper who *volunteers* states the next condition, in random order. One who does not only asks
  for more.

The shopper knows the contract of Converse and the words of the catalogue, and nothing of the assistant. The same
shopper talks to the baselines: `PlainSearch`, a search field, and `RandomQuestions`, which asks for random fields.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from random import Random
from typing import Protocol

from demo.vocabulary import load_vocabulary
from services.common.product import Product

TURNS = 4
FIRST = 3
PRICE = "price"
BRAND = "brand"
CATEGORY = "category"
_CONDITIONS = 2
# A field is worth a condition if this share of the category's products has it, and no value has more than that.
_COVERAGE, _COMMONEST = 0.7, 0.9
_BUDGETS = (1.0, 1.35)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_BELOW = re.compile(r"under|below|up to|less|at most|max|<|≤|以下|以内|不超过|低于|最多")
_ABOVE = re.compile(r"over|above|more|at least|from|min|>|≥|\+|以上|超过|高于|起")
_ANY = re.compile(r"\bany|no preference|doesn.t matter|don.t (?:mind|care)|都可以|不限|无所谓|随意|都行", re.IGNORECASE)
_OPENINGS = {
    "en": ("I'm looking for {}", "do you have {}?", "{}", "I need {}", "show me {}"),
    "zh": ("我想买{}", "有{}吗", "{}", "推荐一下{}", "想看看{}"),
}
_WORDS = {
    "en": {"any": "I don't mind", "more": "show me something else", PRICE: "under ${}", BRAND: "from {}", "": "{}"},
    "zh": {"any": "都可以", "more": "换一批看看", PRICE: "{}美元以下", BRAND: "{}的", "": "{}的"},
}


# Chinese words beside those of the shop's own titles.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "navy": ("深蓝", "藏青", "藏蓝"), "beige": ("米黄",), "olive": ("军绿",), "pink": ("粉红",),
    "orange": ("橘色", "橘黄"),
    "mustard": ("姜黄",), "silk": ("蚕丝",), "terracotta clay": ("陶土",), "merino wool": ("美丽诺",),
    "sage": ("灰绿",), "burgundy": ("暗红",), "black": ("黑",), "white": ("白",),
    "bluetooth": ("蓝牙",), "usb-c": ("usb-c 接口", "c口"), "noise cancelling": ("降噪",),
    "in-ear": ("入耳",),
    "over-ear": ("头戴",), "on-ear": ("贴耳", "压耳"), "wood": ("木",), "dimmable": ("调光",), "black tea": ("红茶",),
    "herbal tea": ("花草茶", "草本茶"), "oolong tea": ("乌龙",), "leather": ("皮革", "皮"), "women": ("女",),
    "men": ("男",),
    "kids": ("童",), "large": ("大号", "大码"), "medium": ("中号", "中码"), "small": ("小号", "小码"),
}  # fmt: skip


@dataclass(frozen=True)
class Chip:
    id: str
    text: str


@dataclass(frozen=True)
class Asked:
    """A question: "price", "brand", "category" or "attributes.<name>"."""

    field: str
    chips: Sequence[Chip] = ()


@dataclass(frozen=True)
class Shown:
    """The products of an answer, best first, and its question."""

    ids: Sequence[str]
    question: Asked | None = None


class Agent(Protocol):
    """What answers the shopper in one conversation: the assistant or a baseline."""

    def say(self, text: str) -> Shown: ...

    def choose(self, chip: Chip, question: Asked) -> Shown: ...

    def more(self, text: str) -> Shown:
        """The shopper has seen nothing that fits, and says only that: in a search field, turns the page."""
        ...


@dataclass(frozen=True)
class Names:
    """Words of a catalogue in Chinese: of the leaf categories and of attribute values. Empty: English only."""

    categories: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    def chinese(self) -> dict[str, list[str]]:
        """The forms beside the value itself, of all values that have some."""
        return {value: self.forms(value)[1:] for value in {*self.values, *_SYNONYMS}}

    def forms(self, value: str) -> list[str]:
        """How a value may be written, in lower case: also with words that a Chinese reader takes for the same."""
        chinese = self.values.get(value, "")
        others = (*_SYNONYMS.get(value, ()), chinese.removesuffix("色"))
        return list(dict.fromkeys(form.lower() for form in (value, chinese, *others) if form))


def demo_names(products: Iterable[Product]) -> Names:
    """Of the demo shop."""
    vocabulary = load_vocabulary()
    values = dict[str, str]()
    for value in {value for product in products for values in product.attributes.values() for value in values}:
        try:
            values[value] = vocabulary.chinese(value)
        except KeyError:
            continue
    return Names({shelf.path[-1]: shelf.path_zh[-1] for shelf in vocabulary.shelves}, values)


@dataclass(frozen=True)
class Goal:
    """`conditions`: values by field. `budget`: None if the catalogue has no prices. `known`: all values of each field
    in the category. `fits`: ids of products.
    """

    language: str
    category: str
    label: str
    conditions: Mapping[str, str]
    budget: Decimal | None
    volunteers: bool
    fits: frozenset[str]
    category_size: int
    known: Mapping[str, frozenset[str]]
    seed: int


@dataclass(frozen=True)
class Outcome:
    """`turn`: in which the goal was reached; None if it was not. `asked`: questions; `useless`: on open fields."""

    turn: int | None
    asked: int
    useless: int


def draw_goals(products: Sequence[Product], names: Names, count: int, seed: int) -> list[Goal]:
    """Goals whose fitting products are in stock; half of the shoppers volunteer. With Chinese words every second one is
    Chinese. Raises ValueError if no category of the catalogue has ten products and a field that tells them apart.
    """
    random = Random(seed)
    shelves = defaultdict[tuple[str, ...], list[Product]](list)
    for product in products:
        if product.category_path:
            shelves[product.category_path].append(product)
    fields = {path: _fields(shelf) for path, shelf in shelves.items() if len(shelf) >= 10}
    usable = {path: found for path, found in fields.items() if found}
    targets = [one for path in usable for one in shelves[path] if one.stock is None or one.stock > 0]
    if not targets:
        raise ValueError("the catalogue has no category of ten products that differ in brand or attributes")
    goals = list[Goal]()
    while len(goals) < count:
        target = random.choice(targets)
        shelf, known = shelves[target.category_path], usable[target.category_path]
        having = [name for name in known if values_of(target, name)]
        if not having:
            continue
        conditions = {
            name: random.choice(list(values_of(target, name)))
            for name in random.sample(having, min(_CONDITIONS, len(having)))
        }
        budget = None
        if target.price is not None:
            exact = target.price.amount * Decimal(random.uniform(*_BUDGETS))
            budget = exact.quantize(Decimal(1), ROUND_CEILING)
        leaf, language = target.category_path[-1], "zh" if names.categories and len(goals) % 2 else "en"
        label = names.categories.get(leaf, leaf) if language == "zh" else leaf.lower()
        goals.append(
            Goal(
                language, leaf, label, conditions, budget, len(goals) % 4 < 2,
                frozenset(one.id for one in shelf if _fits(one, conditions, budget)), len(shelf),
                {name: frozenset(value for one in shelf for value in values_of(one, name)) for name in known},
                random.getrandbits(32),
            )
        )  # fmt: skip
    return goals


def values_of(product: Product, name: str) -> tuple[str, ...]:
    """The values of a field as a question names it."""
    if name == BRAND:
        return (product.brand,) if product.brand else ()
    return tuple(product.attributes.get(name.removeprefix("attributes."), ()))


def _fields(shelf: Sequence[Product]) -> list[str]:
    names = {BRAND} | {f"attributes.{name}" for product in shelf for name in product.attributes}
    found = []
    for name in sorted(names):
        counts = defaultdict[str, int](int)
        having = [values for product in shelf if (values := values_of(product, name))]
        for values in having:
            for value in values:
                counts[value] += 1
        if len(having) >= _COVERAGE * len(shelf) and max(counts.values(), default=0) <= _COMMONEST * len(shelf):
            found.append(name)
    return found


def _fits(product: Product, conditions: Mapping[str, str], budget: Decimal | None) -> bool:
    is_affordable = budget is None or (product.price is not None and product.price.amount <= budget)
    is_there = product.stock is None or product.stock > 0
    return is_affordable and is_there and all(value in values_of(product, name) for name, value in conditions.items())


def pursue(goal: Goal, agent: Agent, names: Names) -> Outcome:
    """One conversation."""
    random = Random(goal.seed)
    words = _WORDS[goal.language]
    open_fields = [PRICE] * (goal.budget is not None) + list(goal.conditions)
    random.shuffle(open_fields)
    asked = useless = 0
    shown = agent.say(random.choice(_OPENINGS[goal.language]).format(goal.label))
    for turn in range(1, TURNS + 1):
        if goal.fits.intersection(shown.ids[:FIRST]):
            return Outcome(turn, asked, useless)
        if turn == TURNS:
            break
        question = shown.question
        if question is None:
            if goal.volunteers and open_fields:
                shown = agent.say(_stated(goal, open_fields.pop(0), names))
            else:
                shown = agent.more(words["more"])
            continue
        asked += 1
        if question.field == CATEGORY:
            chip = next((chip for chip in question.chips if goal.label in chip.text.lower()), None)
            shown = agent.choose(chip, question) if chip else agent.say(goal.label)
            continue
        if question.field not in ({*goal.conditions} if goal.budget is None else {PRICE, *goal.conditions}):
            useless += 1
            chip = next((chip for chip in question.chips if _ANY.search(chip.text)), None)
            shown = agent.choose(chip, question) if chip else agent.say(words["any"])
            continue
        if question.field in open_fields:
            open_fields.remove(question.field)
        chip = _right_chip(goal, question, names)
        shown = agent.choose(chip, question) if chip else agent.say(_stated(goal, question.field, names))
    return Outcome(None, asked, useless)


def _stated(goal: Goal, name: str, names: Names) -> str:
    """A condition in the shopper's words."""
    words = _WORDS[goal.language]
    if name == PRICE:
        return words[PRICE].format(goal.budget)
    value = goal.conditions[name]
    said = names.values.get(value, value) if goal.language == "zh" else value
    return words.get(name, words[""]).format(said)


def _right_chip(goal: Goal, question: Asked, names: Names) -> Chip | None:
    if question.field == PRICE and goal.budget is not None:
        ranges = [(range_of(chip.text), chip) for chip in question.chips]
        suitable = [(high, chip) for (low, high), chip in ranges if not low and high is not None]
        within = [(high, chip) for high, chip in suitable if goal.budget * 4 / 5 <= high <= goal.budget]
        return max(within, key=lambda one: one[0])[1] if within else None
    wanted = goal.conditions[question.field]
    known = goal.known[question.field]
    return next((chip for chip in question.chips if wanted in meant(chip.text, known, names)), None)


def meant(text: str, known: Iterable[str], names: Names) -> set[str]:
    """The known values that a text names; "light blue" does not name "blue"."""
    rest, found = text.lower(), set[str]()
    by_length = sorted(((len(form), form, one) for one in known for form in names.forms(one)), reverse=True)
    for length, form, value in by_length:
        edge = r"(?<![\w.])" if form[0].isascii() else "", r"(?![\w.]*\w)" if form[-1].isascii() else ""
        replaced = re.sub(edge[0] + re.escape(form) + edge[1], " " * length, rest)
        if replaced != rest:
            rest = replaced
            found.add(value)
    return found


def range_of(text: str) -> tuple[Decimal | None, Decimal | None]:
    """The range of prices that a text names; None for an open end."""
    lowered = text.lower()
    numbers = [
        Decimal(number.replace(",", "")) for number in _NUMBER.findall(re.sub(r"(?<=\d),(?=\d{3})", "", lowered))
    ]
    if len(numbers) >= 2:
        return min(numbers[:2]), max(numbers[:2])
    if not numbers:
        return None, None
    if _BELOW.search(lowered):
        return None, numbers[0]
    if _ABOVE.search(lowered):
        return numbers[0], None
    return None, None
