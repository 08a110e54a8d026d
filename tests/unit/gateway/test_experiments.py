"""Assignment to arms: stable, by shares, exclusive in a layer, independent between layers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from services.common.experiment import Experiment
from services.gateway.domain.experiments import Assignment, Experiments

_UNITS = 20_000


def experiment(**fields: Any) -> Experiment:
    arms = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]
    return Experiment.model_validate({"arms": arms, **fields})


def arms_of(experiments: Experiments, count: int = _UNITS) -> list[dict[str, str]]:
    """By user: the arm of each experiment."""
    return [dict(experiments.assign(f"u{number}", "", 0.0).arms) for number in range(count)]


def test_assignment_is_the_same_everywhere() -> None:
    """Another process, another version and a restart give the same arms: these must never change."""
    found = arms_of(Experiments({"colour": experiment()}), 12)
    assert "".join(one["colour"] for one in found) == "abbbbabaabba"


def test_arms_have_their_shares() -> None:
    """Of those that take part; the rest of the shares is in no arm."""
    arms = [{"name": "a", "share": 0.1}, {"name": "b", "share": 0.6}]
    found = arms_of(Experiments({"e": experiment(arms=arms, traffic_share=0.5)}))
    counts = Counter(one.get("e") for one in found)
    for arm, share in {"a": 0.05, "b": 0.3, None: 0.65}.items():
        assert counts[arm] / _UNITS == pytest.approx(share, abs=0.012)


def test_a_larger_range_keeps_the_arms() -> None:
    """Units that took part keep their arm when more take part."""
    small, large = (arms_of(Experiments({"e": experiment(traffic_share=share)})) for share in (0.2, 0.7))
    assert all(after == before for before, after in zip(small, large, strict=True) if before)
    assert sum(map(bool, large)) > 3 * sum(map(bool, small))


def test_a_layer_is_exclusive_and_layers_are_independent() -> None:
    """No unit is in two experiments of a layer; the arms of another layer are independent of theirs."""
    found = arms_of(
        Experiments(
            {
                "first": experiment(traffic_share=0.5),
                "second": experiment(traffic_from=0.5),
                "other": experiment(layer="other"),
            }
        )
    )
    assert all(("first" in one) != ("second" in one) for one in found)
    both = Counter((one["first"], one["other"]) for one in found if "first" in one)
    assert all(count / (_UNITS / 2) == pytest.approx(0.25, abs=0.015) for count in both.values())


def test_experiments_after_each_other_shuffle_their_units() -> None:
    """The arms of a second experiment on the same units do not repeat those of the first; with its salt they do."""
    first, second, repeated = (
        arms_of(Experiments({id: experiment(salt=salt)})) for id, salt in (("x", ""), ("y", ""), ("z", "x"))
    )
    same = sum(one["x"] == other["y"] for one, other in zip(first, second, strict=True)) / _UNITS
    assert same == pytest.approx(0.5, abs=0.015)
    assert [one["x"] for one in first] == [one["z"] for one in repeated]


def test_a_holdout_is_in_no_other_experiment() -> None:
    """Units of a holdout have this arm alone; the others of its experiment take part in the rest."""
    arms = [{"name": "none", "share": 0.1, "is_holdout": True}, {"name": "rest", "share": 0.9}]
    experiments = {"aaa": experiment(), "zzz": experiment(layer="holdout", arms=arms)}
    found = arms_of(Experiments(experiments), 5_000)
    held = [one for one in found if one["zzz"] == "none"]
    assert len(held) / len(found) == pytest.approx(0.1, abs=0.02)
    assert all("aaa" not in one for one in held)
    assert all("aaa" in one for one in found if one["zzz"] == "rest")


@pytest.mark.parametrize(
    ("unit", "same_as", "nobody"),
    [
        ("EXPERIMENT_UNIT_PERSON", ("u", ""), ("", "")),
        ("EXPERIMENT_UNIT_USER", ("u", ""), ("", "v")),
        ("EXPERIMENT_UNIT_VISITOR", ("", "v"), ("u", "")),
    ],
)
def test_the_unit(unit: str, same_as: tuple[str, str], nobody: tuple[str, str]) -> None:
    """The user, otherwise the visitor; or one of them alone. Requests without one are in no arm."""
    experiments = Experiments({f"e{n}": experiment(unit=unit, layer=f"l{n}") for n in range(30)})
    assert experiments.assign("u", "v", 0.0) == experiments.assign(*same_as, 0.0)
    assert experiments.assign(*nobody, 0.0) == Assignment()
    assert experiments.assign("u", "", 0.0) != experiments.assign("", "u", 0.0) or unit != "EXPERIMENT_UNIT_PERSON"


def test_times() -> None:
    """From `starts_at` until before `ends_at`."""
    times = {"starts_at": "1970-01-01T00:01:00Z", "ends_at": "1970-01-01T00:02:00Z"}
    experiments = Experiments({"e": experiment(**times)})
    running = [bool(experiments.assign("u", "", float(now_s)).arms) for now_s in (59, 60, 119, 120)]
    assert running == [False, True, True, False]


def test_what_arms_change_together() -> None:
    """Configurations and rules of all arms; of two ranking versions that of the last experiment."""
    first = {"rule_ids": ["r1"], "without_rule_ids": ["r2"], "serving_configuration_id": "c1", "ranking_version": "1"}
    second = {"rule_ids": ["r3"], "serving_configuration_id": "c2", "ranking_version": "2"}
    experiments = Experiments(
        {
            id: experiment(layer=id, arms=[{"name": "a", "share": 0.5, **arm}, {"name": "b", "share": 0.5, **arm}])
            for id, arm in (("y", second), ("x", first))
        }
    )
    found = experiments.assign("u", "", 0.0)
    assert [id for id, _ in found.arms] == ["x", "y"]
    assert (sorted(found.rule_ids), sorted(found.without_rule_ids)) == (["r1", "r3"], ["r2"])
    assert (found.configuration_ids, found.ranking_version) == (("c1", "c2"), "2")


def interleaving(**fields: Any) -> Experiment:
    arms = [{"name": "new", "ranking_version": "2", "rule_ids": ["r"]}, {"name": "old"}]
    return Experiment.model_validate(
        {"arms": arms, "control_arm": "old", "mode": "EXPERIMENT_MODE_INTERLEAVING", **fields}
    )


def test_an_interleaving_gives_both_arms() -> None:
    """Each unit of its range has what the control arm changes, and beside it what the other arm changes."""
    experiments = Experiments({"i": interleaving(traffic_share=0.4), "t": experiment(layer="other")})
    found = [experiments.assign(f"u{number}", "", 0.0) for number in range(_UNITS)]
    inside = [one for one in found if one.interleaving is not None]
    assert 0.36 < len(inside) / _UNITS < 0.44
    assert all(dict(one.arms)["i"] == "interleaved" and "t" in dict(one.arms) for one in inside)
    assert not any("i" in dict(one.arms) for one in found if one.interleaving is None)
    one = inside[0]
    assert one.interleaving is not None
    assert one.interleaving.arms == ("old", "new")
    assert (one.ranking_version, one.interleaving.other.ranking_version) == ("", "2")
    assert (set(one.rule_ids), set(one.interleaving.other.rule_ids)) == (set(), {"r"})
    assert one.interleaving.other.arms == one.arms


def switchback(**fields: Any) -> dict[str, Any]:
    arms = [{"name": name, "share": 0.5, "price_policy_id": name} for name in "ab"]
    return {"mode": "EXPERIMENT_MODE_SWITCHBACK", "arms": arms, "primary_metric": "revenue", **fields}


def test_a_switchback_of_prices_is_for_no_unit() -> None:
    """Requests have no arm of it."""
    experiments = Experiments({"prices": Experiment.model_validate(switchback())})
    assert experiments.assign("u", "v", 0.0) == Assignment()


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"arms": [{"name": "a", "share": 0.5, "price_policy_id": "a"}]}, "at least 2"),
        ({"arms": [{"name": n, "share": 0.3, "price_policy_id": n} for n in "abc"]}, "has exactly 2"),
        ({"arms": [{"name": n, "share": 0.5} for n in "ab"]}, "without price_policy_id; name a price policy"),
        ({"arms": [{"name": n, "share": 0.5, "price_policy_id": "a"} for n in "ab"]}, "name two policies"),
        ({"arms": [{"name": n, "share": 0.5, "price_policy_id": n, "rule_ids": ["r"]} for n in "ab"]}, "with rule_ids"),
        ({"layer": "x"}, "layer is of experiments with persons"),
        ({"unit": "EXPERIMENT_UNIT_USER"}, "unit is of experiments with persons"),
        ({"guardrails": [{"metric": "revenue"}]}, "guardrails is of experiments with persons"),
        ({"primary_metric": "conversion"}, "set it to 'revenue' or 'profit'"),
        ({"block_days": 2, "carry_over_days": 2}, "leaves nothing of blocks of 2 days; lower it"),
        ({"mode": "EXPERIMENT_MODE_AB_TEST"}, "price_policy_id is of a switchback only"),
    ],
)
def test_what_is_no_switchback(fields: dict[str, Any], remedy: str) -> None:
    """The definition is refused with what to do instead."""
    with pytest.raises(ValidationError, match=remedy):
        Experiment.model_validate(switchback(**fields))


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"arms": [{"name": n, "ranking_version": n} for n in "abc"]}, "has exactly 2"),
        ({"arms": [{"name": "a", "share": 0.5}, {"name": "b", "ranking_version": "2"}]}, "remove share"),
        ({"arms": [{"name": "a", "is_holdout": True}, {"name": "b", "ranking_version": "2"}]}, "remove it"),
        ({"arms": [{"name": "a"}, {"name": "b"}]}, "rank alike"),
        ({"arms": [{"name": "a"}, {"name": "b", "serving_configuration_id": "x"}]}, "give both one, or none"),
        ({"primary_metric": "revenue"}, "use one of click_through, add_to_cart, conversion"),
        ({"guardrails": [{"metric": "latency"}]}, "use click_through, add_to_cart, conversion"),
    ],
)
def test_what_cannot_be_interleaved(fields: dict[str, Any], remedy: str) -> None:
    """The definition is refused with what to do instead."""
    arms = [{"name": "a"}, {"name": "b", "ranking_version": "2"}]
    with pytest.raises(ValidationError, match=remedy):
        Experiment.model_validate({"arms": arms, "mode": "EXPERIMENT_MODE_INTERLEAVING", **fields})
