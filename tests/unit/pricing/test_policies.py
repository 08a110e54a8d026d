"""Which price policy applies, where it comes from, and what happens with an invalid one."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from kairos.control.v1 import control_pb2
from services.common.errors import InvalidArgument
from services.common.money import Money
from services.common.yaml_file import MAX_BYTES
from services.pricing.domain.price_war import Damper
from services.pricing.policies import PricePolicies, load_policies
from services.pricing.settings import PricingSettings

GOOD = """
policies:
  all: {maximum_discount: 0.2}
  shoes: {categories: [Shoes], maximum_discount: 0.3}
  boots: {categories: ["Shoes > Boots", Coats], minimum_margin: 0.5}
"""


def snapshot(tenant: str = "default", **policies: dict[str, Any]) -> control_pb2.Snapshot:
    resources = [
        {"kind": "RESOURCE_KIND_PRICE_POLICY", "id": id, "price_policy": content} for id, content in policies.items()
    ]
    return ParseDict({"tenant": tenant, "version": 1, "resources": resources}, control_pb2.Snapshot())


def of_file(tmp_path: Path, text: str) -> PricePolicies:
    (tmp_path / "policies.yaml").write_text(text)
    return PricePolicies(PricingSettings(policies=tmp_path / "policies.yaml"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), "all"), (("Hats",), "all"), (("Shoes",), "shoes"), (("Shoes", "Sandals"), "shoes"),
        (("Shoes", "Boots"), "boots"), (("Shoes", "Boots", "High"), "boots"), (("Coats",), "boots"),
    ],
)  # fmt: skip
def test_the_nearest_category_decides(tmp_path: Path, path: tuple[str, ...], expected: str) -> None:
    """Of several policies the one that names the nearest category applies, then the one without categories."""
    assert of_file(tmp_path, GOOD).of("default").of(path).id == expected


def test_what_is_not_set_is_configured(tmp_path: Path) -> None:
    """A field that a policy does not set is the configured one, not that of a policy for a broader category."""
    rails = of_file(tmp_path, GOOD).of("default").of(("Shoes", "Boots")).rails
    assert (rails.maximum_discount, rails.minimum_margin) == (Decimal("0.30"), Decimal("0.5"))


def test_all_fields(tmp_path: Path) -> None:
    """Every field of a file is in force."""
    text = """
    policies:
      all:
        minimum_margin: 0.1
        maximum_discount: 0.5
        maximum_increase: 0.2
        maximum_daily_change: 0.05
        maximum_weekly_change: 0.15
        price_endings: [99, 95]
        frozen_from: 2026-12-20T00:00:00Z
        frozen_until: 2026-12-27T00:00:00Z
        monthly_discount_budget: {currency_code: EUR, units: 5000}
        policy: list-price
        period_hours: 12
        review_above: 0.25
        price_war: {rounds: 4, window_days: 7, pause_days: 5, step: 0.02}
    """
    policy = of_file(tmp_path, text).of("default").default
    rails = policy.rails
    assert (rails.minimum_margin, rails.maximum_discount) == (Decimal("0.1"), Decimal("0.5"))
    assert (rails.maximum_increase, rails.price_endings) == (Decimal("0.2"), (99, 95))
    assert (rails.maximum_daily_change, rails.maximum_weekly_change) == (Decimal("0.05"), Decimal("0.15"))
    assert rails.freeze_s == (1_797_724_800.0, 1_798_329_600.0)
    assert rails.discount_budget == Money("EUR", Decimal(5_000))
    assert (policy.name, policy.period_s, policy.review_above) == ("list-price", 43_200, Decimal("0.25"))
    assert rails.price_war == Damper(4, 7 * 86_400, 5 * 86_400, Decimal("0.02"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "says nothing"),
        ("{maximum_discounts: 0.1}", "policies.yaml:3: policies.a.maximum_discounts: is unknown; remove it"),
        ("{maximum_discount: 1.5}", "policies.a.maximum_discount: Input should be less than or equal to 1"),
        ("{maximum_discount: .nan}", "policies.a.maximum_discount"),
        ("{price_endings: [99, 100]}", "policies.a.price_endings.1: Input should be less than or equal to 99"),
        ("{price_endings: [99, 99]}", "price_endings has a value twice"),
        ("{frozen_from: 2026-12-01T00:00:00Z}", "frozen_from needs frozen_until"),
        ("{frozen_until: 2026-12-01T00:00:00}", "frozen_until has no time zone"),
        (
            "{frozen_from: 2026-12-02T00:00:00Z, frozen_until: 2026-12-01T00:00:00Z}",
            "frozen_until is not later than frozen_from; swap them",
        ),
        ("{maximum_daily_change: 0.1}", "maximum_daily_change needs period_hours; set it"),
        ("{review_above: 0.1}", "review_above needs period_hours"),
        (
            "{maximum_daily_change: 0.2, maximum_weekly_change: 0.1, period_hours: 24}",
            "maximum_weekly_change is below maximum_daily_change",
        ),
        ("{monthly_discount_budget: {currency_code: XXX, units: 1}, period_hours: 24}", "'XXX' is unknown; send one"),
        ("{monthly_discount_budget: {currency_code: EUR}, period_hours: 24}", "monthly_discount_budget is 0"),
        ("{policy: magic}", "policies.a.policy: Input should be 'list-price', 'rules',"),
        ("{policy: rules, objective: margin}", "objective needs a policy that learns demand"),
        ("{policy: thompson}", "thompson needs period_hours"),
        ("{policy: clearance, period_hours: 24}", "clearance needs clear_by"),
        ("{policy: rules, clear_by: 2027-01-01T00:00:00Z}", "clear_by needs a policy that learns demand"),
        ("{policy: greedy, period_hours: 24, clear_by: 2027-01-01}", "clear_by has no time zone"),
        ("{period_hours: 0}", "policies.a.period_hours"),
        ("{price_war: {}}", "price_war needs period_hours"),
        ("{price_war: {rounds: 21}, period_hours: 24}", "policies.a.price_war.rounds: Input should be less than or"),
        ("{list_price_only: true, maximum_discount: 0.1}", "list_price_only is for all prices of the shop; leave out"),
    ],
)  # fmt: skip
def test_a_wrong_file(tmp_path: Path, content: str, message: str) -> None:
    """A wrong field is named with its line and what to do."""
    (tmp_path / "policies.yaml").write_text(f"policies:\n\n  a: {content}\n")
    with pytest.raises(InvalidArgument) as refused:
        load_policies(tmp_path / "policies.yaml")
    assert message in str(refused.value)


def test_the_damper_of_a_best_response() -> None:
    """A policy that answers to competitors ends price wars by default; 0 rounds switch that off."""
    published: dict[str, Any] = {
        name: {"policy": "best-response", "period_hours": 24, "categories": [name]} | more
        for name, more in (("default", {}), ("given", {"price_war": {}}), ("none", {"price_war": {"rounds": 0}}))
    }
    policies = PricePolicies(PricingSettings())
    policies.prepare(snapshot(**published))()
    dampers = [policies.of("default").of([name]).rails.price_war for name in published]
    assert dampers == [*[Damper(3, 14 * 86_400, 14 * 86_400, Decimal("0.05"))] * 2, None]


def test_two_policies_for_a_category(tmp_path: Path) -> None:
    """Two policies that would apply to the same products are refused."""
    with pytest.raises(InvalidArgument, match="has the category 'A', which the price policy 'a' has too"):
        of_file(
            tmp_path, "policies: {a: {categories: [A], minimum_margin: 0}, b: {categories: [A], minimum_margin: 1}}"
        )
    with pytest.raises(InvalidArgument, match="has no categories"):
        of_file(tmp_path, "policies: {a: {minimum_margin: 0}, b: {minimum_margin: 1}}")


def test_a_bad_file_keeps_the_last_one(tmp_path: Path) -> None:
    """A file that becomes invalid changes nothing until it is valid again, or removed from its folder."""
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    policies = PricePolicies(PricingSettings(policies=tmp_path))
    good = policies.of("shop")
    file.write_text("policies: {a: {maximum_discounts: 1}}")
    policies.look()
    assert (policies.of("shop"), policies.are_valid) == (good, False)
    file.write_text("policies: {a: {maximum_discount: 1}}")
    policies.look()
    assert (policies.of("shop").default.id, policies.are_valid) == ("a", True)
    file.unlink()
    policies.look()
    assert policies.of("shop").default.id == ""


def test_published_ones_take_the_place_of_files(tmp_path: Path) -> None:
    """A tenant with published policies has these alone; without them those of its file again."""
    policies = of_file(tmp_path, GOOD)
    policies.prepare(snapshot(winter={"maximum_discount": 0.1}))()
    assert policies.of("default").of(("Shoes",)).id == "winter"
    assert policies.of("other").of(("Shoes",)).id == ""
    policies.prepare(snapshot())()
    assert policies.of("default").of(("Shoes",)).id == "shoes"


def test_a_snapshot_that_cannot_be_used(tmp_path: Path) -> None:
    """A snapshot with a policy that this version does not know is refused as a whole."""
    policies = PricePolicies(PricingSettings())
    with pytest.raises(InvalidArgument, match=r"price_policy 'b'\.policy"):
        policies.prepare(snapshot(a={"maximum_discount": 0.1}, b={"policy": "magic"}))
    assert policies.of("default").default.id == ""


def test_other_policies_have_another_version() -> None:
    """The version of a set tells contents and settings apart, and is the same for the same ones."""
    policies, versions = PricePolicies(PricingSettings()), set[str]()
    for content in ({"maximum_discount": 0.1}, {"maximum_discount": 0.2}, {"maximum_discount": 0.1}):
        policies.prepare(snapshot(a=content))()
        versions.add(policies.of("default").version)
    assert len(versions) == 2


def test_the_kill_switch() -> None:
    """A published policy that says so switches computed prices off, and archiving it switches them on again."""
    policies = PricePolicies(PricingSettings())
    sale = {"maximum_discount": 0.1}
    policies.prepare(snapshot(a=sale, kill={"list_price_only": True}))()
    assert policies.of("default").is_list_price_only
    assert policies.of("default").default.id == "a"
    policies.prepare(snapshot(a=sale))()
    assert not policies.of("default").is_list_price_only


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """The size is looked at first."""
    file = tmp_path / "policies.yaml"
    with file.open("wb") as made:
        made.truncate(MAX_BYTES + 1)
    with pytest.raises(InvalidArgument, match="at most"):
        load_policies(file)
