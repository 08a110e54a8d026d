"""Experiments: arms, who takes part, and what decides. Fields and bounds: Experiment in control.proto."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.common.limits import id_problem

# What can decide an experiment, and what can only protect it.
PrimaryMetric = Literal[
    "click_through", "add_to_cart", "conversion", "revenue", "click_position", "satisfaction", "profit"
]  # fmt: skip
GuardedMetric = Literal[
    "click_through", "add_to_cart", "conversion", "revenue", "click_position", "satisfaction", "latency", "degradation"
]
Metric = Literal[GuardedMetric, "profit"]
# Of an A/B test.
METRICS: tuple[Metric, ...] = get_args(GuardedMetric)
# What can decide an interleaving: which events give credit to the arm that brought their product.
CREDITS: tuple[Metric, ...] = ("click_through", "add_to_cart", "conversion")
# What can decide a switchback of prices.
OF_PRICES: tuple[Metric, ...] = ("revenue", "profit")
# Of these a smaller value is better.
LOWER_IS_BETTER: frozenset[Metric] = frozenset(("click_position", "latency", "degradation"))
DEFAULT_LAYER = "default"
_RESOURCE_ID = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_MAX_RULES, _MAX_SALT, _MAX_VERSION, _MAX_NOTE = 100, 64, 64, 1_000


def _id(value: str) -> str:
    if problem := id_problem(value):
        raise ValueError(problem)
    return value


Name = Annotated[str, StringConstraints(pattern=_RESOURCE_ID)]
RuleId = Annotated[str, AfterValidator(_id)]
RuleIds = Annotated[tuple[RuleId, ...], Field(max_length=_MAX_RULES)]
Unit = Literal[
    "EXPERIMENT_UNIT_UNSPECIFIED", "EXPERIMENT_UNIT_PERSON", "EXPERIMENT_UNIT_USER", "EXPERIMENT_UNIT_VISITOR"
]  # fmt: skip
Mode = Literal[
    "EXPERIMENT_MODE_UNSPECIFIED", "EXPERIMENT_MODE_AB_TEST", "EXPERIMENT_MODE_INTERLEAVING",
    "EXPERIMENT_MODE_SWITCHBACK",
]  # fmt: skip
# The arm that contexts and the log name for a request whose answer may be interleaved.
INTERLEAVED = "interleaved"
# The defaults of the guardrails.
GUARDED: tuple[GuardedMetric, ...] = ("latency", "degradation", "revenue")
DAY_S = 86_400
_BLOCK_DAYS = 7


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Guardrail(_Part):
    metric: GuardedMetric
    maximum_harm: float = Field(default=0.0, ge=0, le=1)


class Arm(_Part):
    name: Name
    # 0 in an interleaving only.
    share: Decimal = Field(default=Decimal(0), ge=0, le=1)
    serving_configuration_id: str = Field(default="", pattern=rf"^$|{_RESOURCE_ID}")
    rule_ids: RuleIds = ()
    without_rule_ids: RuleIds = ()
    ranking_version: str = Field(default="", max_length=_MAX_VERSION)
    is_holdout: bool = False
    price_policy_id: str = Field(default="", pattern=rf"^$|{_RESOURCE_ID}")

    @model_validator(mode="after")
    def _each_rule_once(self) -> Arm:
        for name in ("rule_ids", "without_rule_ids"):
            ids = getattr(self, name)
            if len(set(ids)) < len(ids):
                raise ValueError(f"{name} has an id twice; give it once")
        if both := sorted(set(self.rule_ids) & set(self.without_rule_ids)):
            raise ValueError(f"without_rule_ids has {both[0]!r}, which rule_ids has too; remove it from one of them")
        return self


class Experiment(_Part):
    arms: tuple[Arm, ...] = Field(min_length=2, max_length=10)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    layer: Name = DEFAULT_LAYER
    traffic_from: Decimal = Field(default=Decimal(0), ge=0, le=1)
    traffic_share: Decimal | None = Field(default=None, gt=0, le=1)
    unit: Unit = "EXPERIMENT_UNIT_PERSON"
    salt: str = Field(default="", max_length=_MAX_SALT)
    primary_metric: PrimaryMetric = "conversion"
    guardrails: tuple[Guardrail, ...] = Field(default=(), max_length=8)
    significance: float = Field(default=0.05, gt=0, le=0.2)
    planned_units: int = Field(default=10_000, ge=100, le=1_000_000_000)
    control_arm: str = ""
    note: str = Field(default="", max_length=_MAX_NOTE)
    mode: Mode = "EXPERIMENT_MODE_UNSPECIFIED"
    block_days: int | None = Field(default=None, ge=1, le=28)
    carry_over_days: int | None = Field(default=None, ge=0, le=27)

    @model_validator(mode="after")
    def _is_sound(self) -> Experiment:
        names = [arm.name for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms has {twice[0]!r} twice; give each arm its own name")
        if self.is_interleaving:
            self._check_interleaving()
        if self.is_switchback:
            self._check_switchback()
        else:
            self._check_without_prices()
        if not self.is_interleaving and (without := [arm.name for arm in self.arms if not arm.share]):
            raise ValueError(f"arms has {without[0]!r} without a share; set it to more than 0")
        if (total := sum(arm.share for arm in self.arms)) > 1:
            raise ValueError(f"arms have shares of {total} together; they may add up to at most 1")
        if self.traffic_to > 1:
            raise ValueError(f"traffic_share: the range ends at {self.traffic_to}, beyond 1; lower it, or traffic_from")
        if not self.traffic_from < 1:
            raise ValueError("traffic_from is 1, which leaves no unit; lower it")
        if self.control_arm and self.control_arm not in names:
            raise ValueError(f"control_arm {self.control_arm!r} is no arm; name one of {', '.join(names)}")
        guarded = [guardrail.metric for guardrail in self.guardrails]
        if len(set(guarded)) < len(guarded):
            raise ValueError("guardrails has a metric twice; give it once")
        if sum(arm.is_holdout for arm in self.arms) > 1:
            raise ValueError("arms has two with is_holdout; one arm of one experiment is the holdout")
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValueError("ends_at is not later than starts_at; swap them, or leave one out")
        return self

    def _check_interleaving(self) -> None:
        if len(self.arms) != 2:
            raise ValueError(f"arms has {len(self.arms)}; an interleaving has exactly 2: leave the others out")
        for arm in self.arms:
            if arm.share:
                raise ValueError(
                    f"arms has a share for {arm.name!r}; in an interleaving all units see both arms: remove share, and "
                    "set traffic_share to say how many take part"
                )
            if arm.is_holdout:
                raise ValueError("arms has is_holdout, which an interleaving cannot have; remove it")
        first, second = self.arms
        if first.model_copy(update={"name": second.name}) == second:
            raise ValueError("arms has two that rank alike; give one another ranking_version, configuration or rule")
        if bool(first.serving_configuration_id) != bool(second.serving_configuration_id):
            raise ValueError("arms has a serving_configuration_id in one arm only; give both one, or none")
        usable = ", ".join(CREDITS)
        if self.primary_metric not in CREDITS:
            raise ValueError(f"primary_metric {self.primary_metric!r} decides no interleaving; use one of {usable}")
        if wrong := [one.metric for one in self.guardrails if one.metric not in CREDITS]:
            raise ValueError(
                f"guardrails has {wrong[0]!r}, which does not differ between arms that share each answer; use {usable}"
            )

    def _check_without_prices(self) -> None:
        given = {"block_days": self.block_days, "carry_over_days": self.carry_over_days}
        given["arms[].price_policy_id"] = next((1 for arm in self.arms if arm.price_policy_id), None)
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{wrong[0]} is of a switchback only; remove it, or set mode to one")
        if self.primary_metric == "profit":
            raise ValueError("primary_metric 'profit' is of a switchback only; use 'revenue'")

    def _check_switchback(self) -> None:
        if len(self.arms) != 2:
            raise ValueError(f"arms has {len(self.arms)}; a switchback has exactly 2: leave the others out")
        for arm in self.arms:
            if not arm.price_policy_id:
                raise ValueError(f"arms has {arm.name!r} without price_policy_id; name a price policy")
            if given := arm.model_dump(exclude_defaults=True).keys() - {"name", "share", "price_policy_id"}:
                raise ValueError(f"arms has {arm.name!r} with {min(given)}; a switchback has price policies only")
        if self.arms[0].price_policy_id == self.arms[1].price_policy_id:
            raise ValueError("arms has the same price_policy_id twice; name two policies")
        of_persons = ("layer", "traffic_from", "traffic_share", "unit", "guardrails")
        if wrong := [name for name in of_persons if name in self.model_dump(exclude_defaults=True)]:
            raise ValueError(f"{wrong[0]} is of experiments with persons, and prices are the same for all; remove it")
        if self.primary_metric not in OF_PRICES:
            raise ValueError(f"primary_metric is {self.primary_metric!r}; set it to 'revenue' or 'profit'")
        if self.carry_over >= self.block:
            raise ValueError(f"carry_over_days leaves nothing of blocks of {self.block} days; lower it")

    @property
    def is_switchback(self) -> bool:
        return self.mode == "EXPERIMENT_MODE_SWITCHBACK"

    @property
    def block(self) -> int:
        """Of a switchback: days of a block."""
        return self.block_days or _BLOCK_DAYS

    @property
    def carry_over(self) -> int:
        """Of a switchback: the first days of a block that are not counted."""
        return min(1, self.block - 1) if self.carry_over_days is None else self.carry_over_days

    def block_of(self, now_s: float) -> int:
        """Of a switchback, in seconds since the epoch."""
        return int(now_s // (self.block * DAY_S))

    def price_arm(self, id: str, product_id: str, price_list_id: str, block: int) -> Arm | None:
        """Of the switchback `id`: whose policy the product has; None: the control arm's, without being counted."""
        place, total = place_of("price", self.salt or id, product_id, price_list_id, str(block)), Decimal(0)
        for arm in self.arms:
            total += arm.share
            if place < total:
                return arm
        return None

    @property
    def is_interleaving(self) -> bool:
        return self.mode == "EXPERIMENT_MODE_INTERLEAVING"

    @property
    def traffic_to(self) -> Decimal:
        return Decimal(1) if self.traffic_share is None else self.traffic_from + self.traffic_share

    @property
    def range_text(self) -> str:
        return f"{self.traffic_from} to {self.traffic_to} of the layer {self.layer!r}"

    @property
    def control(self) -> Arm:
        """The arm that the others are compared with."""
        return next((arm for arm in self.arms if arm.name == self.control_arm), self.arms[0])

    @property
    def guards(self) -> tuple[Guardrail, ...]:
        if self.is_switchback:
            return ()
        default = [self.primary_metric] if self.is_interleaving else GUARDED
        return self.guardrails or tuple(Guardrail.model_validate({"metric": metric}) for metric in default)

    @property
    def other(self) -> Arm:
        """Of an interleaving or a switchback, the arm beside the control arm."""
        return next(arm for arm in self.arms if arm.name != self.control.name)

    def overlaps(self, other: Experiment) -> bool:
        """Whether a unit could be in both at the same time."""
        if self.layer != other.layer or self.is_switchback or other.is_switchback:
            return False
        if max(self.traffic_from, other.traffic_from) >= min(self.traffic_to, other.traffic_to):
            return False
        return self.coincides(other)

    def coincides(self, other: Experiment) -> bool:
        """Whether there is a time at which both run."""
        starts = [one.starts_at for one in (self, other) if one.starts_at]
        ends = [one.ends_at for one in (self, other) if one.ends_at]
        return not starts or not ends or max(starts) < min(ends)


def place_of(*texts: str) -> float:
    """Uniform in [0, 1), the same for the same texts."""
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def unit_of(unit: str, user_id: str, visitor_id: str) -> str:
    """Empty: the request is of no unit. A user and a visitor of the same id are two units."""
    if unit != "EXPERIMENT_UNIT_VISITOR" and user_id:
        return f"user:{user_id}"
    return f"visitor:{visitor_id}" if unit != "EXPERIMENT_UNIT_USER" and visitor_id else ""


def experiment_conflicts(experiments: Mapping[str, Experiment]) -> Iterator[tuple[str, str]]:
    """(id, problem) of experiments that cannot run together."""
    known: list[tuple[str, Experiment]] = []
    holdout = ""
    for id, experiment in sorted(experiments.items()):
        for other_id, other in known:
            if experiment.overlaps(other):
                yield (
                    id,
                    f"traffic_from: {experiment.range_text} overlaps with {other_id!r}: {_free(experiment, known)}",
                )
                break
        if experiment.is_interleaving:
            for other_id, other in known:
                if other.is_interleaving and other.layer != experiment.layer and other.coincides(experiment):
                    yield (
                        id,
                        f"layer: an answer is interleaved once, and {other_id!r} interleaves answers of the layer "
                        f"{other.layer!r}; use that layer, and a range of it that is free",
                    )
                    break
        if experiment.is_switchback:
            own = {arm.price_policy_id for arm in experiment.arms}
            for other_id, other in known:
                if own & {arm.price_policy_id for arm in other.arms} - {""} and other.coincides(experiment):
                    shared = min(own & {arm.price_policy_id for arm in other.arms})
                    yield (
                        id,
                        f"arms has the price policy {shared!r}, which {other_id!r} has too; stop that one first",
                    )
        known.append((id, experiment))
        if any(arm.is_holdout for arm in experiment.arms):
            if holdout:
                yield id, f"arms has a holdout, and the experiment {holdout!r} has one; archive one of them"
            holdout = holdout or id


def _free(wanted: Experiment, others: list[tuple[str, Experiment]]) -> str:
    """Where the layer has the most room, in words."""
    taken = sorted((one.traffic_from, one.traffic_to) for _, one in others if one.layer == wanted.layer)
    best, at = (Decimal(0), Decimal(0)), Decimal(0)
    for first, last in [*taken, (Decimal(1), Decimal(1))]:
        best = max(best, (first - at, -at))
        at = max(at, last)
    if best[0] <= 0:
        return "the layer is full: use another layer, or stop one of them"
    return f"set traffic_from to {-best[1]} and traffic_share to at most {best[0]}, or use another layer"
