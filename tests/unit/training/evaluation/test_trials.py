"""Arms, outcomes and slices of an experiment, and whom its treatment moves."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from kairos.common.v1 import event_pb2
from services.common.money import Money
from services.ranker.domain.event import Event, EventType
from training.evaluation.qini import compared, curve, qini
from training.evaluation.slices import slices, whole
from training.evaluation.trial_persons import (
    Assignment,
    TrialPersons,
    assignments_in_file,
    assignments_in_log,
    attributes_in_file,
    trial_persons,
)
from training.evaluation.uplift import LEARNERS, uplifts

DAY_S = 86_400.0
START_S = 1_798_761_600.0  # 2027-01-01


def page(user: str, arm: str, at_s: float) -> event_pb2.Impressions:
    made = event_pb2.Impressions(user_id=user)
    made.experiment_arms.add(experiment="holdout", arm=arm)
    made.experiment_arms.add(experiment="other", arm="x")
    made.shown_at.FromSeconds(int(at_s))
    return made


def event(user: str, kind: EventType, at_s: float, item: str = "lamp", price: int = 0, order: str = "") -> Event:
    money = Money("USD", Decimal(price)) if price else None
    return Event(
        f"{user}{kind}{at_s}{item}", user, "", item, kind, at_s, price=money, order_id=order,
        quantity=1 if kind is EventType.PURCHASE else 0,
    )  # fmt: skip


def test_the_first_arm_counts() -> None:
    """A person is in the arm of the first page of the experiment; one who was seen in two arms is counted."""
    pages = [page("a", "popular", 50), page("a", "personal", 20), page("b", "popular", 30), event_pb2.Impressions()]
    found, moved = assignments_in_log(pages, "holdout")
    assert found == {"user:a": Assignment("personal", 20), "user:b": Assignment("popular", 30)}
    assert moved == 1


def test_what_was_known_and_what_was_bought() -> None:
    """Features are of the time before the assignment; purchases of the window after it, without what was given back."""
    assigned = {f"user:{name}": Assignment(arm, 100 * DAY_S) for name, arm in (("a", "t"), ("b", "c"), ("c", "other"))}
    buy, click = EventType.PURCHASE, EventType.CLICK
    events = [
        event("a", click, 99 * DAY_S), event("a", click, 50 * DAY_S), event("a", buy, 98 * DAY_S, price=5),
        event("a", buy, 101 * DAY_S, price=7, order="o1"), event("a", buy, 102 * DAY_S, "desk", price=30, order="o2"),
        event("a", EventType.REFUND, 103 * DAY_S, order="o1"), event("a", buy, 120 * DAY_S, price=9),
        event("c", buy, 101 * DAY_S, price=9),
    ]  # fmt: skip
    found = trial_persons(
        assigned, events, "c", "t", 14 * DAY_S, 200 * DAY_S, {"user:a": {"device": "phone"}}, {"desk": "Desks"}.get  # type: ignore[arg-type]
    )  # fmt: skip
    assert (found.keys, found.treated.tolist()) == (["user:a", "user:b"], [1, 0])
    assert (found.purchases.tolist(), found.revenue.tolist()) == ([1, 0], [30, 0])
    assert {name: of.tolist() for name, of in found.by_category.items()} == {"Desks": [1, 0]}
    assert found.features[0, :8].tolist() == [1, 2, 0, 1, 5, 1, 1, 1]
    assert found.attributes["device"].tolist() == ["phone", ""]
    with pytest.raises(ValueError, match="arms of the experiment: c, other, t"):
        trial_persons(assigned, events, "c", "nope", DAY_S, 200 * DAY_S)


def test_files_of_arms_and_persons(tmp_path: Path) -> None:
    """Arms and further columns come from CSV files; a wrong line is named with the remedy."""
    arms, persons = tmp_path / "arms.csv", tmp_path / "persons.csv"
    arms.write_text("visitor_id,arm,time\nv1,voucher,2026-11-02T10:00:00Z\nv2,none,2026-11-03T10:00:00Z\n")
    persons.write_text("user_id,visitor_id,device\n,v1,phone\nu1,,desktop\n")
    assert assignments_in_file(arms)["visitor:v1"].arm == "voucher"
    assert attributes_in_file(persons) == {"visitor:v1": {"device": "phone"}, "user:u1": {"device": "desktop"}}
    arms.write_text("visitor_id,arm,time\nv1,voucher,soon\n")
    with pytest.raises(ValueError, match="line 2: time 'soon' is not ISO 8601"):
        assignments_in_file(arms)
    arms.write_text("visitor_id,arm\nv1,voucher\n")
    with pytest.raises(ValueError, match="no column 'time'; add it"):
        assignments_in_file(arms)
    persons.write_text("user_id,device\n,phone\n")
    with pytest.raises(ValueError, match="line 2: user_id and visitor_id are empty"):
        attributes_in_file(persons)


def made_persons(n: int, seed: int = 0) -> tuple[TrialPersons, np.ndarray]:
    """Of two devices and months: the treatment gains with a desktop, and loses on a phone in January."""
    random = np.random.default_rng(seed)
    phone, late, treated = (random.integers(0, 2, n) for _ in range(3))
    effect = np.where(phone == 0, 0.3, np.where(late == 0, -0.3, 0.0))
    bought = random.poisson(1 + treated * effect).astype(np.float64)
    since_s = (START_S + late * 31 * DAY_S).astype(np.float64)
    features = np.stack([phone, late], 1).astype(np.float64)
    attributes = {
        "device": np.where(phone == 1, "phone", "desktop"), "few": np.where(np.arange(n) < 5, "some", "most"),
    }  # fmt: skip
    persons = TrialPersons(
        [str(row) for row in range(n)], treated, since_s, features, bought, bought,
        {"Shoes": random.poisson(0.2, n).astype(np.float64)}, attributes, 0,
    )  # fmt: skip
    return persons, bought


def test_slices_are_sorted_by_the_worst_case() -> None:
    """Month, device and category are slices, the lowest bound first; what is sure holds for all slices together."""
    persons, bought = made_persons(6_000)
    every, found = whole(persons, bought), slices(persons, bought, with_categories=True)
    assert every.low < every.difference < every.high
    assert [each.low for each in found] == sorted(each.low for each in found)
    assert (found[0].by, found[0].name, found[0].holds) == ("device", "phone", True)
    names = {(each.by, each.name): each for each in found}
    assert names["device", "desktop"].holds
    assert not names["category", "Shoes"].holds
    assert {("month", "2027-01"), ("month", "2027-02")} <= names.keys()
    assert ("few", "some") not in names
    assert names["month", "2027-02"].low < 0.15 < names["month", "2027-02"].high


def test_no_effect_is_rarely_sure() -> None:
    """Without an effect, at most 10 % of 100 experiments have a slice that is sure."""
    random, false = np.random.default_rng(0), 0
    for seed in range(100):
        persons, _ = made_persons(400, seed)
        false += any(each.holds for each in slices(persons, random.poisson(1, 400).astype(float), False))
    assert false <= 10


def test_the_qini_curve() -> None:
    """The curve ends at the effect on everybody; the right order lies above random, the wrong one as far below."""
    effect, treated = np.repeat([1.0, 0.0], 100), np.tile([1, 0], 100)
    outcomes = effect * treated
    assert curve(effect, treated, outcomes)[-1] == pytest.approx(0.5)
    assert qini(effect, treated, outcomes) == pytest.approx(0.125, abs=0.01)
    assert qini(-effect, treated, outcomes) == pytest.approx(-0.125, abs=0.01)


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_learners_find_whom_a_treatment_moves(name: str) -> None:
    """Each learner orders persons it has not seen by an effect that only some of them have."""
    random = np.random.default_rng(0)
    features = random.normal(size=(3_000, 3))
    treated = random.integers(0, 2, 3_000)
    effect = np.clip(features[:, 0], 0, None)
    outcomes = features[:, 1] + effect * treated + random.normal(0, 0.5, 3_000)
    found = uplifts(LEARNERS[name], features, treated, outcomes)
    assert np.corrcoef(found, effect)[0, 1] > 0.7
    measured = compared({name: found, "random": random.random(3_000)}, "random", treated, outcomes, draws=100)
    assert measured[name].low > 0
    assert measured["random"].low < 0 < measured["random"].high
    assert measured[name].above_baseline[1] > 0


def test_one_arm() -> None:
    """Without a person in one arm there is no uplift."""
    with pytest.raises(ValueError, match="needs both"):
        uplifts(LEARNERS["T-learner"], np.zeros((10, 1)), np.ones(10, np.int64), np.ones(10))
