"""The price policies in use: those of files, which are read again when they change, and those that control publishes.

Pricing and the price publisher both build what bounds a price here. What is invalid is not used: what was in use stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import structlog
from google.protobuf.json_format import MessageToDict
from pydantic import ValidationError

from kairos.control.v1 import control_pb2
from services.common.context import DEFAULT_TENANT
from services.common.control_access import ControlAccessSettings
from services.common.errors import FieldViolation, InvalidArgument
from services.common.experiment import Experiment
from services.common.periodic import Periodic
from services.common.price_policy import LEARNED, PolicyFile, PricePolicy, PriceWar, policy_conflicts
from services.common.published import PublishedMetrics, PublishedSnapshots
from services.common.validation import violations_of
from services.common.yaml_file import MAX_BYTES, YamlFile
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.policies.port import Objective
from services.pricing.domain.policy_set import Policy, PolicySet, Switchback
from services.pricing.domain.price_record import DAY_S
from services.pricing.domain.price_war import Damper
from services.pricing.domain.pricing import ListPrice, MarkdownRules, Pricer
from services.pricing.learning.prices import LearnedPolicy, LearnedPrices, ladder_of
from services.pricing.settings import PricingSettings

# Increased with every change of what a policy proposes.
VERSION = 1
WATCHED = (
    control_pb2.RESOURCE_KIND_PRICE_POLICY, control_pb2.RESOURCE_KIND_REVIEW, control_pb2.RESOURCE_KIND_EXPERIMENT,
)  # fmt: skip
_LOOK_S = 1.0
_SUFFIX = ".yaml"

_log = structlog.get_logger("kairos.price_policies")

Contents = Mapping[str, PricePolicy]


class PricePolicies:
    """Those that control publishes for a tenant; for a tenant that has none there those of files; else the configured
    one.

    `learned` makes pricers that learn the demand; None: their products have list prices here. It is None where prices
    are confirmed and not computed.

    `settings.policies` is a file, of the default tenant, or a folder with a file `<tenant>.yaml` for each tenant.
    Raises InvalidArgument for a file that is invalid at the start.
    """

    def __init__(self, settings: PricingSettings, learned: LearnedPrices | None = None) -> None:
        self._settings, self._learned = settings, learned
        self._none = policy_set(settings, {})
        self._of_files: dict[str, PolicySet] = {}
        self._published: dict[str, PolicySet] = {}
        self._versions: dict[str, object] = {}
        # Of files that are invalid at this moment.
        self._invalid = set[str]()
        for tenant, file in self._files().items():
            self._versions[tenant] = _version_of(file)
            self._of_files[tenant] = policy_set(settings, load_policies(file), learned)

    def of(self, tenant: str) -> PolicySet:
        return self._published.get(tenant) or self._of_files.get(tenant, self._none)

    @property
    def are_valid(self) -> bool:
        """Whether every file is in use as it is."""
        return not self._invalid

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        contents = {
            resource.id: _policy(MessageToDict(resource.price_policy, preserving_proto_field_name=True), resource.id)
            for resource in snapshot.resources
            if resource.kind == control_pb2.RESOURCE_KIND_PRICE_POLICY
        }
        _check(contents)
        experiments = {
            resource.id: one
            for resource in snapshot.resources
            if resource.kind == control_pb2.RESOURCE_KIND_EXPERIMENT and (one := _experiment(resource)).is_switchback
        }
        made = policy_set(self._settings, contents, self._learned, experiments) if contents else None

        def use() -> None:
            self._published.pop(snapshot.tenant, None)
            if made is not None:
                self._published[snapshot.tenant] = made

        return use

    def look(self) -> None:
        """Reads the files that have changed."""
        files = self._files()
        for tenant in self._versions.keys() - files.keys():
            self._of_files.pop(tenant, None)
            del self._versions[tenant]
            self._invalid.discard(tenant)
            _log.info("price policies removed", tenant=tenant)
        for tenant, file in files.items():
            if (version := _version_of(file)) == self._versions.get(tenant):
                continue
            self._versions[tenant] = version
            try:
                self._of_files[tenant] = policy_set(self._settings, load_policies(file), self._learned)
            except InvalidArgument as error:
                self._invalid.add(tenant)
                _log.error("price policies kept: the changed file is invalid", file=str(file), error=str(error))
                continue
            self._invalid.discard(tenant)
            _log.info("price policies changed", tenant=tenant)

    def _files(self) -> dict[str, Path]:
        """By tenant."""
        path = self._settings.policies
        if path is None:
            return {}
        return (
            {file.stem: file for file in sorted(path.glob(f"*{_SUFFIX}"))} if path.is_dir() else {DEFAULT_TENANT: path}
        )


class FollowedPolicies:
    """Price policies that follow files and control until `close`. `of`: see PricePolicies.

    `more`: further parts that use the snapshots, see published.Prepare. `learned`: see PricePolicies.
    """

    def __init__(
        self, settings: PricingSettings, control: ControlAccessSettings, metrics: PublishedMetrics,
        *more: Callable[[control_pb2.Snapshot], Callable[[], None]], learned: LearnedPrices | None = None,
    ) -> None:  # fmt: skip
        self._policies = PricePolicies(settings, learned)
        self._looking = (
            Periodic("price-policies", lambda _: self._policies.look(), _LOOK_S) if settings.policies else None
        )
        self._following = None
        if control.target:
            published = PublishedSnapshots(control, WATCHED, [self._policies.prepare, *more], metrics)
            published.load()
            self._following = published.follow_in_thread()

    def of(self, tenant: str) -> PolicySet:
        return self._policies.of(tenant)

    @property
    def are_valid(self) -> bool:
        return self._policies.are_valid

    def close(self) -> None:
        if self._looking is not None:
            self._looking.close()
        if self._following is not None:
            self._following.close()


def policy_set(
    settings: PricingSettings, contents: Contents, learned: LearnedPrices | None = None,
    experiments: Mapping[str, Experiment] = MappingProxyType({}),
) -> PolicySet:  # fmt: skip
    """The only place where settings and contents become guardrails. `experiments`: switchbacks of policies, by id."""
    configured = _built("", PricePolicy.model_construct(), settings, None)
    default, by_category = configured, dict[str, Policy]()
    for id, content in sorted(contents.items()):
        if content.list_price_only or content.only_in_experiments:
            continue
        built = _in_experiments(_built(id, content, settings, learned), contents, settings, learned, experiments)
        by_category.update(dict.fromkeys(content.categories, built))
        if not content.categories:
            default = built
    facts = settings.model_dump_json(include={"pricer", "guardrails", "rules"})
    texts = [f"{id} {one.model_dump_json()}" for of in (contents, experiments) for id, one in sorted(of.items())]
    digest = hashlib.sha256("\n".join([str(VERSION), facts, *texts]).encode()).hexdigest()
    return PolicySet(default, digest, by_category, any(content.list_price_only for content in contents.values()))


def _in_experiments(
    built: Policy, contents: Contents, settings: PricingSettings, learned: LearnedPrices | None,
    experiments: Mapping[str, Experiment],
) -> Policy:  # fmt: skip
    """With the switchbacks that it is the control arm of."""
    found = list[Switchback]()
    for id, one in sorted(experiments.items()):
        if one.control.price_policy_id != built.id or any(arm.price_policy_id not in contents for arm in one.arms):
            continue
        policies = {
            arm.name: built if arm.price_policy_id == built.id else _built(
                arm.price_policy_id, contents[arm.price_policy_id], settings, learned
            )
            for arm in one.arms
        }  # fmt: skip
        found.append(Switchback(id, one, policies))
    return replace(built, switchbacks=found) if found else built


def load_policies(file: Path) -> Contents:
    """Raises InvalidArgument that names file, line, field and remedy."""
    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            raise InvalidArgument.of("policies", f"{file} has {size} bytes; at most {MAX_BYTES}")
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument.of("policies", f"{file} cannot be read: {error}") from None
    parsed = YamlFile.parse(text, file.name)
    contents = parsed.read_as(PolicyFile).policies
    if wrong := [parsed.wrong(("policies", id), problem) for id, problem in policy_conflicts(contents)]:
        raise InvalidArgument(*wrong)
    return contents


def _built(id: str, content: PricePolicy, settings: PricingSettings, learned: LearnedPrices | None) -> Policy:
    rails, name = settings.guardrails, content.policy or settings.pricer

    def own(field: str) -> object:
        value = getattr(content, field)
        return getattr(rails, field) if value is None else value

    freeze_s = None
    if content.frozen_until is not None:
        begins = content.frozen_from.timestamp() if content.frozen_from else 0.0
        freeze_s = begins, content.frozen_until.timestamp()
    budget = content.monthly_discount_budget
    guardrails = Guardrails(
        minimum_margin=own("minimum_margin"), maximum_discount=own("maximum_discount"),  # type: ignore[arg-type]
        maximum_increase=own("maximum_increase"),  # type: ignore[arg-type]
        maximum_daily_change=content.maximum_daily_change, maximum_weekly_change=content.maximum_weekly_change,
        price_endings=content.price_endings, freeze_s=freeze_s, discount_budget=budget.money if budget else None,
        price_war=_damper(content, name),
    )  # fmt: skip
    period_s = 3_600 * (content.period_hours or 0)
    pricer: Pricer = ListPrice()
    if name == "rules":
        pricer = MarkdownRules(**settings.rules.model_dump())
    elif name in LEARNED and learned is not None:
        pricer = learned.pricer(
            LearnedPolicy(
                name, Objective((content.objective or "margin").replace("-", "_")),
                ladder_of(float(guardrails.maximum_discount), float(guardrails.maximum_increase)), period_s,
                content.clear_by.timestamp() if content.clear_by else None,
            )
        )  # fmt: skip
    return Policy(id, name, pricer, guardrails, period_s, content.review_above)


def _damper(content: PricePolicy, name: str) -> Damper | None:
    """A best response answers every cut, so that it has one by default."""
    war = content.price_war or (PriceWar() if name == "best-response" else None)
    if war is None or not war.rounds:
        return None
    return Damper(war.rounds, war.window_days * DAY_S, war.pause_days * DAY_S, war.step)


def _policy(content: Mapping[str, object], id: str) -> PricePolicy:
    try:
        return PricePolicy.model_validate(content)
    except ValidationError as error:
        raise InvalidArgument(*violations_of(error, f"price_policy {id!r}")) from None


def _experiment(resource: control_pb2.Resource) -> Experiment:
    try:
        return Experiment.model_validate(MessageToDict(resource.experiment, preserving_proto_field_name=True))
    except ValidationError as error:
        raise InvalidArgument(*violations_of(error, f"experiment {resource.id!r}")) from None


def _check(contents: Contents) -> None:
    if wrong := [FieldViolation(f"price_policy {id!r}", problem) for id, problem in policy_conflicts(contents)]:
        raise InvalidArgument(*wrong)


def _version_of(file: Path) -> object:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
