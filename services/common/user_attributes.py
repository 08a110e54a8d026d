"""Declared attributes: what a shop states of its users (sizes, membership, region), under a schema of the tenant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.common.comparison import comparison_form
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_TEXT, MAX_SET_ATTRIBUTES


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    TEXTS = "texts"


class Use(StrEnum):
    """FAIRNESS: only for exports of the user and for fairness reports, never for ranking or training."""

    FEATURES = "features"
    FAIRNESS = "fairness"


@dataclass(frozen=True)
class Declared:
    """One attribute of a person: texts, or a number. `set_s` and `expires_s` are seconds since the epoch."""

    name: str
    texts: tuple[str, ...] = ()
    number: float | None = None
    set_s: float = 0.0
    expires_s: float = math.inf

    @property
    def name_form(self) -> str:
        """As product attributes are compared."""
        return comparison_form(self.name)

    @property
    def value_forms(self) -> frozenset[str | float]:
        """The number, or the texts as product attributes are compared."""
        return frozenset(map(comparison_form, self.texts)) if self.number is None else frozenset([self.number])

    @property
    def is_empty(self) -> bool:
        return not self.texts and self.number is None


@dataclass(frozen=True)
class Rule:
    """What the schema says of one attribute. `values`: the allowed texts as they are stored; any if empty."""

    kind: Kind
    use: Use
    retention_s: float
    values: tuple[str, ...] = ()
    most_texts: int = 1
    minimum: float = -math.inf
    maximum: float = math.inf

    def checked(self, asked: Declared) -> tuple[Declared, str]:
        """(the value as it is stored, what is wrong with it)."""
        if self.kind is Kind.NUMBER:
            return asked, self._number_problem(asked)
        if asked.number is not None:
            return asked, "is a number; send texts"
        texts = dict.fromkeys(text.strip() for text in asked.texts)
        if any(not 1 <= len(text) <= MAX_ATTRIBUTE_TEXT or not text.isprintable() for text in texts):
            problem = "has a text that is empty, too long or not printable"
            return asked, f"{problem}; send 1 to {MAX_ATTRIBUTE_TEXT} printable characters"
        if self.values:
            known = {value.casefold(): value for value in self.values}
            if unknown := [text for text in texts if text.casefold() not in known]:
                return asked, f"{unknown[0]!r} is not allowed; send one of {', '.join(self.values)}"
            texts = dict.fromkeys(known[text.casefold()] for text in texts)
        if len(texts) > self.most_texts:
            return asked, f"has {len(texts)} texts; send at most {self.most_texts}"
        return Declared(asked.name, tuple(sorted(texts))), ""

    def _number_problem(self, asked: Declared) -> str:
        if asked.texts or asked.number is None:
            return "is a text; send a number"
        if not math.isfinite(asked.number) or not self.minimum <= asked.number <= self.maximum:
            return f"is {asked.number:g}; send a number from {self.minimum:g} to {self.maximum:g}"
        return ""


@dataclass(frozen=True)
class AttributeSchema:
    """The attributes of one tenant, by name."""

    rules: Mapping[str, Rule] = field(default_factory=dict)

    def checked(self, asked: Sequence[Declared], now_s: float) -> tuple[list[Declared], list[str]]:
        """(attributes to store, names to remove). Raises InvalidArgument that names each wrong entry."""
        if not 1 <= len(asked) <= MAX_SET_ATTRIBUTES:
            raise InvalidArgument.of("attributes", f"holds {len(asked)}; send 1 to {MAX_SET_ATTRIBUTES}")
        kept, removed, wrong, names = list[Declared](), list[str](), list[FieldViolation](), set[str]()
        for place, each in enumerate(asked):
            path, rule = f"attributes[{place}]", self.rules.get(each.name)
            if not 1 <= len(each.name) <= MAX_ATTRIBUTE_NAME:
                problem = f"has {len(each.name)} characters; send 1 to {MAX_ATTRIBUTE_NAME}"
                wrong.append(FieldViolation(f"{path}.name", problem))
            elif each.name in names:
                wrong.append(FieldViolation(f"{path}.name", f"{each.name!r} occurs twice; send it once"))
            elif each.is_empty:
                removed.append(each.name)
            elif rule is None:
                wrong.append(FieldViolation(f"{path}.name", f"{each.name!r} {self._remedy()}"))
            else:
                value, problem = rule.checked(each)
                if problem:
                    is_number = each.number is not None
                    wrong.append(FieldViolation(f"{path}.{'number' if is_number else 'texts'}", problem))
                kept.append(Declared(each.name, value.texts, value.number, now_s, now_s + rule.retention_s))
            names.add(each.name)
        if wrong:
            raise InvalidArgument(*wrong)
        return kept, removed

    def features(self, stored: Iterable[Declared]) -> list[Declared]:
        """Those that ranking may use: the only way from stored attributes to features."""
        return [each for each in stored if (rule := self.rules.get(each.name)) and rule.use is Use.FEATURES]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """In alphabetical order."""
        return tuple(sorted(name for name, rule in self.rules.items() if rule.use is Use.FEATURES))

    @property
    def fairness_names(self) -> frozenset[str]:
        return frozenset(name for name, rule in self.rules.items() if rule.use is Use.FAIRNESS)

    def _remedy(self) -> str:
        if not self.rules:
            return "is unknown: the tenant has no schema; name its attributes in KAIROS_RANKER_ATTRIBUTES_FILE"
        return f"is not in the tenant's schema; send one of {', '.join(sorted(self.rules))}, or add it to the schema"
