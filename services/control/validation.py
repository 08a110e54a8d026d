"""What is wrong with a content by itself, and with contents that would be effective together. One function a kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from google.protobuf.json_format import ParseDict
from pydantic import ValidationError

from kairos.control.v1 import control_pb2, merchandising_pb2
from services.common.convert_merchandising import checked_rule, rule_from_proto, trigger_from_proto, windows_from_proto
from services.common.errors import InvalidArgument
from services.common.experiment import Arm, Experiment, experiment_conflicts
from services.common.merchandising import (
    Rule,
    Validity,
    phrase_violations,
    rule_set_violations,
    trigger_violations,
    validity_violations,
)
from services.common.price_policy import PricePolicy, differences, policy_conflicts
from services.common.serving_configuration import configuration_of
from services.common.validation import violations_of
from services.control.domain.changes import TenantView
from services.control.domain.contents import MODELS
from services.control.domain.resources import Content, Key, Kind, as_json

Contents = Mapping[Key, Content]
Problem = tuple[Key, str]
# That an error names; there may be more.
_MOST_VIOLATIONS = 20


def check_content(tenant: str, key: Key, content: Content) -> None:
    """Raises InvalidArgument that names each wrong field below `resource`."""
    field, kind = f"resource.{key.kind}", Kind(key.kind)
    if kind is Kind.SERVING_CONFIGURATION:
        configuration_of(content, field)
    elif kind is Kind.MERCHANDISING_RULE:
        if content.get("id", key.id) != key.id:
            raise InvalidArgument.of(f"{field}.id", f"is not that of the resource, {key.id!r}; leave it out")
        checked_rule(_rule(key.id, content), field)
    else:
        try:
            MODELS[kind].model_validate(content)
        except ValidationError as error:
            raise InvalidArgument(*violations_of(error, field)) from None
    if kind is Kind.CAMPAIGN:
        _check_campaign(content, field)
    if kind is Kind.TENANT and key.id != tenant:
        raise InvalidArgument.of("resource.id", f"is {key.id!r}; a tenant has the id of the tenant, {tenant!r}")


def _check_campaign(content: Content, field: str) -> None:
    """What a campaign shares with merchandising rules is checked as theirs."""
    campaign = ParseDict(dict(content), control_pb2.Campaign(), ignore_unknown_fields=True)
    trigger = trigger_from_proto(campaign.targets, f"{field}.targets")
    validity = Validity(windows=windows_from_proto(campaign.daily_windows), time_zone=campaign.time_zone)
    wrong = [*trigger_violations(trigger, f"{field}.targets"), *validity_violations(validity, field)]
    for index, text in enumerate(campaign.negative_keywords):
        wrong += phrase_violations(text, f"{field}.negative_keywords[{index}]")
    if wrong:
        raise InvalidArgument(*wrong[:_MOST_VIOLATIONS])


def check_together(view: TenantView, contents: Contents) -> list[Problem]:
    """See changes.CheckTogether."""
    return [problem for check in _CHECKS for problem in check(view, contents)]


def _placements(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """Each placement is in one configuration."""
    owners: dict[str, Key] = {}
    for key, content in _of(contents, Kind.SERVING_CONFIGURATION):
        # One of an experiment is for its own arms.
        for name in () if content.get("only_in_experiments") else content.get("placements", {}):
            if (other := owners.setdefault(name, key)) != key:
                yield key, f"has the placement {name!r}, which {other} has; remove it from one of them"


def _rules(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """No two rules do the same at the same time."""
    keys = [key for key, _ in _of(contents, Kind.MERCHANDISING_RULE)]
    rules = [_rule_of(key.id, as_json(contents[key])) for key in keys]
    for violation in rule_set_violations(rules, ""):
        place, _, field = violation.field.removeprefix("[").partition("]")
        # Some are about all rules together.
        yield keys[int(place) if place else -1], f"{field.removeprefix('.')} {violation.description}".strip()


def _price_policies(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """At most one policy applies to a product."""
    keys = {key.id: key for key, _ in _of(contents, Kind.PRICE_POLICY)}
    policies = {id: PricePolicy.model_validate(contents[key]) for id, key in keys.items()}
    for id, problem in policy_conflicts(policies):
        yield keys[id], problem


def _synonyms(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """No two sets say the same."""
    owners: dict[object, Key] = {}
    for key, content in _of(contents, Kind.SYNONYM_SET):
        words = frozenset(word.strip().casefold() for word in content["words"])
        said = words, content.get("one_way_from", "").strip().casefold(), content.get("locale", "")
        if (other := owners.setdefault(said, key)) != key:
            yield key, f"says the same as {other}; archive one of them"


def _experiments(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """No unit is in two experiments of a layer; arms name what is effective, or what waits for them."""
    keys = {key.id: key for key, _ in _of(contents, Kind.EXPERIMENT)}
    experiments = {id: Experiment.model_validate(contents[key]) for id, key in keys.items()}
    for id, problem in experiment_conflicts(experiments):
        yield keys[id], problem
    for id, experiment in experiments.items():
        for place, arm in enumerate(experiment.arms):
            for problem in _arm_problems(arm, contents):
                yield keys[id], f"arms[{place}].{problem}"
        if experiment.is_interleaving:
            for problem in _interleaving_problems(experiment, contents):
                yield keys[id], problem
        if experiment.is_switchback:
            for problem in _switchback_problems(experiment, contents):
                yield keys[id], problem


def _arm_problems(arm: Arm, contents: Contents) -> Iterator[str]:
    named = arm.serving_configuration_id
    if named and Key(Kind.SERVING_CONFIGURATION.value, named) not in contents:
        yield f"serving_configuration_id: the serving configuration {named!r} is not published; publish it"
    for field, ids, waits in (("rule_ids", arm.rule_ids, True), ("without_rule_ids", arm.without_rule_ids, False)):
        for id in ids:
            rule = contents.get(Key(Kind.MERCHANDISING_RULE.value, id))
            if rule is None:
                yield f"{field}: the rule {id!r} is not published; publish it, or remove it here"
            elif bool(rule.get("only_in_experiments")) != waits:
                what = "is effective for everybody; set its only_in_experiments" if waits else (
                    "is effective only in experiments; name it in rule_ids of the other arms"
                )  # fmt: skip
                yield f"{field}: the rule {id!r} {what}, or remove it here"


def _interleaving_problems(experiment: Experiment, contents: Contents) -> Iterator[str]:
    """What would make the arms' answers differ in more than the order of the same products."""
    for place, arm in enumerate(experiment.arms):
        for field in ("rule_ids", "without_rule_ids"):
            for id in getattr(arm, field):
                rule = contents.get(Key(Kind.MERCHANDISING_RULE.value, id), {})
                if wrong := sorted({name for action in rule.get("actions", ()) for name in action} - {"boost"}):
                    yield (
                        f"arms[{place}].{field}: the rule {id!r} has the action {wrong[0]!r}, and arms of an "
                        "interleaving differ in boosts only; compare them in an A/B test, or remove it here"
                    )
    named = [Key(Kind.SERVING_CONFIGURATION.value, arm.serving_configuration_id) for arm in experiment.arms]
    if all(key in contents for key in named):
        first, second = (configuration_of(contents[key], "") for key in named)
        if first.without_ranking() != second.without_ranking():
            yield (
                f"arms: the serving configurations {named[0].id!r} and {named[1].id!r} differ in more than slate and "
                "business of their placements; compare them in an A/B test, or make the rest equal"
            )


def _switchback_problems(experiment: Experiment, contents: Contents) -> Iterator[str]:
    """Both policies exist, bound prices alike, and one of them waits for the experiment."""
    policies = list[PricePolicy]()
    for arm in experiment.arms:
        id, place = arm.price_policy_id, experiment.arms.index(arm)
        content = contents.get(Key(Kind.PRICE_POLICY.value, id))
        if content is None:
            yield f"arms[{place}].price_policy_id: the price policy {id!r} is not published; publish it"
            continue
        policy, waits = PricePolicy.model_validate(content), arm.name != experiment.control.name
        policies.append(policy)
        if policy.only_in_experiments != waits:
            what = "applies to everything; set its only_in_experiments" if waits else (
                "applies only in experiments; name the one that applies otherwise, or another control_arm"
            )  # fmt: skip
            yield f"arms[{place}].price_policy_id: the price policy {id!r} {what}"
        if policy.period_hours is None:
            yield f"arms[{place}].price_policy_id: the price policy {id!r} has no period_hours; set it to 24"
        elif experiment.block * 24 % policy.period_hours:
            yield (
                f"block_days: periods of {policy.period_hours} hours do not divide blocks of {experiment.block} days; "
                "change one of them"
            )
    if len(policies) == 2 and (wrong := differences(*policies)):
        yield (
            f"arms: the price policies differ in {wrong[0]}, and both must bound prices alike; make it equal in both: "
            "only policy and objective may differ"
        )


def _campaigns(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """All campaigns bid in one currency: an auction compares the bids."""
    first = ""
    for key, content in _of(contents, Kind.CAMPAIGN):
        currency = content["bid"]["currency_code"]
        if (first := first or currency) != currency:
            yield key, f"bids in {currency}, and other campaigns in {first}; use one currency"


def _reviews(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """A published review has a decision."""
    for key, content in _of(contents, Kind.REVIEW):
        if content.get("decision", "REVIEW_DECISION_UNSPECIFIED") == "REVIEW_DECISION_UNSPECIFIED":
            yield key, "has no decision; set REVIEW_DECISION_APPROVED or REVIEW_DECISION_REJECTED"


def _tenants(view: TenantView, contents: Contents) -> Iterator[Problem]:
    """A key belongs to one tenant."""
    own = list(_of(contents, Kind.TENANT))
    if not own:
        return
    taken = {
        key["sha256"] for name, content in view.tenants().items() if name != view.tenant for key in keys_of(content)
    }
    for key, content in own:
        for entry in keys_of(content):
            if entry["sha256"] in taken:
                yield key, f"has the key {entry['name']!r}, which another tenant has; make a new key"


def keys_of(tenant: Content) -> Iterable[Content]:
    keys: Iterable[Content] = tenant.get("keys", ())
    return keys


_CHECKS: tuple[Callable[[TenantView, Contents], Iterator[Problem]], ...] = (
    _placements, _rules, _price_policies, _synonyms, _campaigns, _experiments, _reviews, _tenants,
)  # fmt: skip


def _of(contents: Contents, kind: Kind) -> Iterator[tuple[Key, Content]]:
    return (
        (key, content) for key, content in sorted(contents.items(), key=lambda item: item[0]) if key.kind == kind.value
    )


def _rule(id: str, content: Content) -> merchandising_pb2.MerchandisingRule:
    message = ParseDict(dict(content), merchandising_pb2.MerchandisingRule(), ignore_unknown_fields=True)
    message.id = id
    return message


# The rules of two large tenants. Each publish looks at all rules, and reading 5,000 of them takes a second.
@lru_cache(maxsize=10_000)
def _rule_of(id: str, content: str) -> Rule:
    return rule_from_proto(_rule(id, json.loads(content)), "")
