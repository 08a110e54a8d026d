"""Schemas of declared attributes from a YAML file: of each tenant, by the name of the attribute.

tenants:
  default:
    size: {type: texts, values: [S, M, L], max_values: 2}
    membership: {type: text, values: [basic, gold]}
    birth_year: {type: number, minimum: 1900, maximum: 2100, use: fairness, retention_days: 90}
"""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from services.common.context import check_tenant
from services.common.domain_folder import read_yaml
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import (
    MAX_ATTRIBUTE_NAME,
    MAX_ATTRIBUTE_TEXT,
    MAX_ATTRIBUTE_TEXTS,
    MAX_SET_ATTRIBUTES,
)
from services.common.protected_attributes import is_protected
from services.common.user_attributes import AttributeSchema, Kind, Rule, Use

_DAY_S = 86_400
# Values that one attribute may list.
_MOST_VALUES = 1_000


class _Attribute(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Kind
    values: tuple[str, ...] = Field(default=(), max_length=_MOST_VALUES)
    # Only for texts.
    max_values: int = Field(default=MAX_ATTRIBUTE_TEXTS, ge=1, le=MAX_ATTRIBUTE_TEXTS)
    # Only for numbers.
    minimum: float = Field(default=-math.inf)
    maximum: float = Field(default=math.inf)
    use: Use = Use.FEATURES
    # As long as events are kept. A value that is set again begins anew.
    retention_days: float = Field(default=400, gt=0, le=4_000)

    def problem(self, name: str) -> str:
        """What is wrong, and the remedy; empty if nothing is."""
        if not 1 <= len(name) <= MAX_ATTRIBUTE_NAME or name != name.casefold().strip() or not name.isprintable():
            return f"is no name of an attribute; use 1 to {MAX_ATTRIBUTE_NAME} printable lower-case characters"
        if self.use is Use.FEATURES and is_protected(name):
            return "is a protected attribute, which no ranking may use; set use: fairness"
        if self.values and self.type is Kind.NUMBER:
            return "lists values of a number; use minimum and maximum"
        if any(not 1 <= len(value) <= MAX_ATTRIBUTE_TEXT or value != value.strip() for value in self.values):
            return (
                f"lists a value that is blank or too long; use 1 to {MAX_ATTRIBUTE_TEXT} characters, no blanks around"
            )
        if len({value.casefold() for value in self.values}) < len(self.values):
            return "lists a value twice; upper and lower case are the same"
        if self.type is not Kind.NUMBER and not (math.isinf(self.minimum) and math.isinf(self.maximum)):
            return "has minimum or maximum, which only numbers have; remove them"
        if self.type is not Kind.TEXTS and "max_values" in self.model_fields_set:
            return "has max_values, which only texts have; remove it"
        return "has a minimum above its maximum; swap them" if self.minimum > self.maximum else ""

    def rule(self) -> Rule:
        most = self.max_values if self.type is Kind.TEXTS else 1
        return Rule(
            self.type, self.use, self.retention_days * _DAY_S, self.values, most, self.minimum, self.maximum
        )  # fmt: skip


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tenants: dict[str, dict[str, _Attribute]]


def load_schemas(path: Path | None) -> dict[str, AttributeSchema]:
    """By tenant. Without a file there are none. Raises InvalidArgument with file, line and remedy."""
    if path is None:
        return {}
    file = read_yaml(path)
    tenants, wrong = file.read_as(_File).tenants, list[FieldViolation]()
    for tenant, attributes in tenants.items():
        try:
            check_tenant(tenant, "tenant")
        except InvalidArgument as error:
            wrong.append(file.wrong(("tenants", tenant), error.violations[0].description))
        if len(attributes) > MAX_SET_ATTRIBUTES:
            problem = f"has {len(attributes)} attributes; at most {MAX_SET_ATTRIBUTES}"
            wrong.append(file.wrong(("tenants", tenant), problem))
        for name, attribute in attributes.items():
            if problem := attribute.problem(name):
                wrong.append(file.wrong(("tenants", tenant, name), problem))
    if wrong:
        raise InvalidArgument(*wrong)
    return {
        tenant: AttributeSchema({name: attribute.rule() for name, attribute in attributes.items()})
        for tenant, attributes in tenants.items()
    }
