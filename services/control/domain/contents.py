"""Contents of resources: shapes and bounds, as control.proto describes them.

Contents with a model elsewhere are not here: serving configurations (services/common/serving_configuration.py),
merchandising rules (services/common/merchandising.py), price policies (services/common/price_policy.py) and experiments
(services/common/experiment.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.common.experiment import Experiment
from services.common.limits import MAX_ID, id_problem, language_problem
from services.common.money import minor_unit, whole_minor_units
from services.common.price_policy import Amount, PricePolicy
from services.control.domain.resources import Kind

MAX_NEGATIVE_KEYWORDS = 64
RESOURCE_ID = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Role = Literal["viewer", "editor", "approver", "admin", "recorder"]
GatewayRole = Literal["read", "write"]


def _id(value: str) -> str:
    if problem := id_problem(value):
        raise ValueError(problem)
    return value


def _locale(value: str) -> str:
    if value and (problem := language_problem(value)):
        raise ValueError(problem)
    return value


def _party(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; send the name, which is shown with every sponsored result")
    return value


Id = Annotated[str, AfterValidator(_id)]
Name = Annotated[str, StringConstraints(pattern=RESOURCE_ID)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"\S")]
Party = Annotated[str, Field(max_length=MAX_ID, validate_default=True), AfterValidator(_party)]
Note = Annotated[str, StringConstraints(max_length=1_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SynonymSet(_Part):
    locale: Annotated[str, AfterValidator(_locale)] = ""
    words: tuple[Word, ...] = Field(min_length=1, max_length=20)
    one_way_from: str = Field(default="", max_length=64)

    @model_validator(mode="after")
    def _is_sound(self) -> SynonymSet:
        forms = [*(word.strip().casefold() for word in self.words)]
        if self.one_way_from:
            forms.append(self.one_way_from.strip().casefold())
        _each_once(forms, "words")
        if len(forms) < 2:
            raise ValueError("words has one text, which is a synonym of nothing; add another, or set one_way_from")
        return self


class _Timed(_Part):
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @model_validator(mode="after")
    def _in_order(self) -> _Timed:
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValueError("ends_at is not later than starts_at; swap them, or leave one out")
        return self


class Campaign(_Timed):
    """`targets`, `negative_keywords`, `daily_windows` and `time_zone` are checked as those of a merchandising rule."""

    advertiser: Party = ""
    payer: Party = ""
    product_ids: tuple[Id, ...] = Field(min_length=1, max_length=1_000)
    bid: Amount
    daily_budget: Amount
    total_budget: Amount | None = None
    targets: dict[str, Any] = Field(default={})
    negative_keywords: tuple[str, ...] = Field(default=(), max_length=MAX_NEGATIVE_KEYWORDS)
    daily_windows: tuple[dict[str, Any], ...] = ()
    time_zone: str = ""
    own_person_ids: tuple[Id, ...] = Field(default=(), max_length=100)
    target_return_on_spend: float | None = Field(default=None, gt=0, le=1_000)

    @model_validator(mode="after")
    def _is_sound(self) -> Campaign:
        _each_once(self.product_ids, "product_ids")
        amounts = {"bid": self.bid.money, "daily_budget": self.daily_budget.money}
        if self.total_budget is not None:
            amounts["total_budget"] = self.total_budget.money
        least, least_name = None, ""
        for name, money in amounts.items():
            if money.currency != self.bid.currency_code:
                raise ValueError(f"{name} is in {money.currency} and bid in {self.bid.currency_code}; use one currency")
            if whole_minor_units(money) is None:
                raise ValueError(f"{name} has a fraction of {minor_unit(money.currency)} {money.currency}; round it")
            if not money.amount:
                raise ValueError(f"{name} is 0; send more")
            if least is not None and money.amount < least:
                raise ValueError(f"{name} is less than {least_name}; raise it")
            least, least_name = money.amount, name
        return self


class Review(_Part):
    question: Annotated[Note, StringConstraints(min_length=1)]
    subject_id: str = Field(default="", max_length=MAX_ID)
    decision: Literal["REVIEW_DECISION_UNSPECIFIED", "REVIEW_DECISION_APPROVED", "REVIEW_DECISION_REJECTED"] = (
        "REVIEW_DECISION_UNSPECIFIED"
    )
    subject: Literal[
        "REVIEW_SUBJECT_UNSPECIFIED", "REVIEW_SUBJECT_PRODUCT", "REVIEW_SUBJECT_PRODUCT_REVIEW",
        "REVIEW_SUBJECT_ANSWER", "REVIEW_SUBJECT_HAND_OVER", "REVIEW_SUBJECT_PRICE",
    ] = "REVIEW_SUBJECT_UNSPECIFIED"  # fmt: skip
    text: str = Field(default="", max_length=16_384)
    categories: tuple[Word, ...] = Field(default=(), max_length=32)
    note: Note = ""


class TenantKey(_Part):
    name: Name
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    role: Role | None = None
    expires_at: datetime | None = None
    gateway_role: GatewayRole | None = None

    @model_validator(mode="after")
    def _has_a_role(self) -> TenantKey:
        if self.role is None and self.gateway_role is None:
            raise ValueError("has no role; set role for control, gateway_role for the gateway, or both")
        return self


class TenantQuotas(_Part):
    calls_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    calls_in_flight: int | None = Field(default=None, ge=1)
    import_streams: int | None = Field(default=None, ge=1)


class Tenant(_Part):
    display_name: str = Field(default="", max_length=128)
    keys: tuple[TenantKey, ...] = Field(default=(), max_length=100)
    quotas: TenantQuotas | None = None

    @model_validator(mode="after")
    def _each_key_once(self) -> Tenant:
        _each_once([key.name for key in self.keys], "keys")
        _each_once([key.sha256 for key in self.keys], "keys")
        return self


MODELS: dict[Kind, type[BaseModel]] = {
    Kind.SYNONYM_SET: SynonymSet,
    Kind.PRICE_POLICY: PricePolicy,
    Kind.CAMPAIGN: Campaign,
    Kind.EXPERIMENT: Experiment,
    Kind.REVIEW: Review,
    Kind.TENANT: Tenant,
}


def _each_once(values: Iterable[str], field: str) -> None:
    seen = set[str]()
    for value in values:
        if value in seen:
            raise ValueError(f"{field} has {value!r} twice; give it once")
        seen.add(value)
