"""Two price policies in turn: which product has which, when, and what is on record."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from google.protobuf.json_format import ParseDict

from kairos.control.v1 import control_pb2
from services.common.experiment import Experiment
from services.pricing.domain.offered_product import ShopOffer
from services.pricing.domain.policy_set import Policy, Switchback
from services.pricing.policies import PricePolicies
from services.pricing.publisher.convert import decision_to_proto
from services.pricing.settings import PricingSettings
from tests.unit.pricing.shops import DAY_S, LOOSE, START_S, OneProduct, Proposing, usd

ARMS = [
    {"name": "usual", "share": 0.5, "price_policy_id": "p"},
    {"name": "lower", "share": 0.5, "price_policy_id": "q"},
]
# Blocks of four days that begin with START_S.
DAYS = 4


def experiment(**fields: Any) -> Experiment:
    return Experiment.model_validate(
        {"mode": "EXPERIMENT_MODE_SWITCHBACK", "primary_metric": "revenue", "arms": ARMS, "block_days": DAYS, **fields}
    )


class Switching(OneProduct):
    """The usual policy asks the shop's price of 100, the other one 80."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.pricer.share = Decimal(1)
        usual, other = self.policy, Policy("q", "test", Proposing("0.8"), LOOSE, DAY_S)
        arms = Switchback("e", experiment(**fields), {"usual": usual, "lower": other})
        self.policy = replace(usual, switchbacks=[arms])
        self.arms = arms

    def expected(self) -> str:
        one = self.arms.experiment
        arm = one.price_arm("e", "a", "", one.block_of(self.now_s))
        return "80.00" if arm is not None and arm.name == "lower" else "100.00"


def test_the_policy_of_a_block() -> None:
    """It stays for the days of the block, then it is drawn again: by a hash, so that a restart changes nothing."""
    shop, prices = Switching(), list[str]()
    for _ in range(10 * DAYS):
        prices.append(shop.look(after_s=DAY_S if prices else 0))
        assert prices[-1] == shop.expected()
    blocks = [prices[first : first + DAYS] for first in range(0, len(prices), DAYS)]
    assert all(len(set(block)) == 1 for block in blocks)
    assert {block[0] for block in blocks} == {"80.00", "100.00"}


def test_before_and_after_the_experiment() -> None:
    """The usual policy applies; a price changes when its period begins."""
    times = {"starts_at": START_S + DAYS * DAY_S, "ends_at": START_S + 20 * DAYS * DAY_S}
    shop = Switching(**{name: datetime.fromtimestamp(at_s, UTC) for name, at_s in times.items()})
    prices = [shop.look(after_s=DAY_S if number else 0) for number in range(21 * DAYS)]
    assert set(prices[:DAYS]) == set(prices[20 * DAYS :]) == {"100.00"}
    assert Counter(prices[DAYS : 20 * DAYS])["80.00"] in range(5 * DAYS, 15 * DAYS)


def test_each_price_list_has_a_policy_of_its_own() -> None:
    """Arms are drawn for product, price list and block: over many blocks the lists differ in half of them."""
    shop = Switching()
    shop.change(shop={"b2b": ShopOffer(price=usd(100))})
    differ = 0
    for number in range(40):
        shop.look(after_s=DAYS * DAY_S if number else 0)
        prices = [shop.product.published.get(name) for name in ("", "b2b")]
        differ += (prices[0] is None) != (prices[1] is None)
    assert 10 < differ < 30


def test_shares() -> None:
    """Of many products as many have the other policy as its share says; products in no arm have the usual one."""
    arms = [{**ARMS[0], "share": 0.5}, {**ARMS[1], "share": 0.2}]
    one = experiment(arms=arms)
    found = Counter(arm and arm.name for arm in (one.price_arm("e", f"p{n}", "", 7) for n in range(5_000)))
    assert 0.18 < found["lower"] / 5_000 < 0.22
    assert 0.28 < found[None] / 5_000 < 0.32


def test_the_record_names_experiment_and_arm() -> None:
    """With the policy that decided, of the block that the decision was made in."""
    shop, named = Switching(), set[tuple[str, str, str]]()
    for number in range(10):
        shop.look(after_s=DAYS * DAY_S if number else 0)
        assert shop.last is not None
        for decision in shop.last.decisions:
            made = decision_to_proto(decision).price_decision
            named.add((made.experiment_arm.experiment, made.experiment_arm.arm, made.policy_id))
    assert ("e", "lower", "q") in named
    assert {experiment for experiment, _, _ in named} == {"e"}


def resource(kind: str, id: str, content: dict[str, Any]) -> control_pb2.Resource:
    number = control_pb2.ResourceKind.Value(f"RESOURCE_KIND_{kind.upper()}")
    return ParseDict({kind: content}, control_pb2.Resource(kind=number, id=id))


def test_policies_of_a_snapshot() -> None:
    """The other policy applies to nothing but its blocks; the end of the experiment changes the set's version."""
    policies = PricePolicies(PricingSettings())
    common = {"period_hours": 24, "maximum_discount": 0.3}
    made = [
        resource("price_policy", "p", {**common, "policy": "list-price"}),
        resource("price_policy", "q", {**common, "policy": "rules", "only_in_experiments": True}),
    ]
    ran = resource("experiment", "e", experiment().model_dump(mode="json", exclude_defaults=True))
    versions = []
    for resources in (made, [*made, ran]):
        policies.prepare(control_pb2.Snapshot(tenant="default", version=1, resources=resources))()
        versions.append(policies.of("default").version)
    usual = policies.of("default").of(["Shoes"])
    in_force = Counter(usual.in_force(f"p{n}", "", START_S).name for n in range(200))
    assert (usual.id, usual.name, len(set(versions))) == ("p", "list-price", 2)
    assert 70 < in_force["rules"] < 130
