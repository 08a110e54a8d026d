"""The assistant's sentences in English and Chinese, and how it writes amounts, lists and names of attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.assistant.domain.conversation import ATTRIBUTE, BRAND, CATEGORY, PRICE, Condition, Dialogue
from services.assistant.domain.vocabulary import Vocabulary
from services.common.money import Money, in_minor_units
from services.common.product import CATEGORY_SEPARATOR

ENGLISH, CHINESE = LANGUAGES = ("en", "zh")
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
_CHINESE_NAMES = {
    "USD": "美元",
    "EUR": "欧元",
    "GBP": "英镑",
    "CNY": "元",
    "JPY": "日元",
    "HKD": "港元",
    "TWD": "新台币",
}

# Characters of a query that an answer repeats.
_LONGEST_SUBJECT = 40


@dataclass(frozen=True)
class Texts:
    """Those of one language. `sentences`: by key, as texts.yaml has them; `names`: of attributes."""

    language: str
    sentences: Mapping[str, str]
    names: Mapping[str, str]
    vocabulary: Vocabulary

    @classmethod
    def read(cls, content: Mapping[str, Mapping[str, Any]], vocabulary: Vocabulary) -> dict[str, Texts]:
        """By language, from the content of texts.yaml."""
        return {
            language: cls(
                language,
                {key: text for key, text in content[language].items() if isinstance(text, str)},
                content[language]["names"],
                vocabulary,
            )
            for language in LANGUAGES
        }

    def say(self, key: str, **values: str) -> str:
        return self.sentences[key].format_map(values)

    def listed(self, parts: Sequence[str]) -> str:
        """ "a, b and c" """
        if len(parts) < 2:
            return "".join(parts)
        return self.sentences["comma"].join(parts[:-1]) + self.sentences["last"] + parts[-1]

    def money(self, amount: Money) -> str:
        number = format(in_minor_units(amount.amount, amount.currency), "f")
        if self.language == CHINESE:
            return f"{number}{_CHINESE_NAMES.get(amount.currency, amount.currency)}"
        sign = _SIGNS.get(amount.currency)
        return f"{sign}{number}" if sign else f"{number} {amount.currency}"

    def value(self, value: str, field: str = ATTRIBUTE) -> str:
        """A value of a field in this language; of a category, its leaf."""
        if field == BRAND:
            return value
        leaf = value.rpartition(CATEGORY_SEPARATOR)[2]
        return self.vocabulary.shown(leaf, self.language, is_product=field == CATEGORY)

    def name(self, field: str) -> str:
        """Of an attribute."""
        name = field.removeprefix(ATTRIBUTE)
        return self.names.get(name) or self.vocabulary.shown(name.replace("_", " "), self.language)

    def condition(self, condition: Condition, currency: str) -> str:
        if condition.field == PRICE:
            low, high = (None if one is None else self.money(Money(currency, one)) for one in condition.bounds)
            key = "between" if low and high else "under" if high else "over"
            return self.say(key, low=low or "", high=high or "")
        values = self.listed([self.value(value, condition.field) for value in condition.values])
        return self.say("excluded" if condition.is_excluded else "in_values", values=values)

    def subject(self, dialogue: Dialogue, currency: str) -> str:
        """What is searched for, with the conditions."""
        category = dialogue.condition(CATEGORY)
        query = dialogue.query
        if category and len(query.split()) != 1:
            query = self.listed([self.value(value, CATEGORY) for value in category.values])
        shown = [one for one in dialogue.conditions if one is not category]
        parts = [self.condition(one, currency) for one in shown if one.field != PRICE or currency]
        is_short = bool(query) and len(query) <= _LONGEST_SUBJECT
        subject = self.say("subject", query=query) if is_short else self.say("no_subject")
        if not parts:
            return subject
        return self.say("with_conditions", subject=subject, conditions=self.sentences["comma"].join(parts))

    def joined(self, sentences: Sequence[str]) -> str:
        return self.sentences["space"].join(filter(None, sentences))
