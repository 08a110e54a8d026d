"""The load benchmarks: the schedule, the outcomes, and the JSON file that a later run continues."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.load_calls import Call, Calls, degradations_of
from benchmarks.load_goals import Report
from benchmarks.load_phases import IN_FLIGHT, plan
from benchmarks.load_summary import latencies, merged, summarise, whole_by_bin, whole_share
from benchmarks.load_traffic import KINDS, Traffic, Visit, poisson
from benchmarks.results import Results
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2

SHOP = [Visit("kettle", "anna", "s1", "p1"), Visit("red shoes")]


def calls(*outcomes: tuple[float, float, str, tuple[str, ...]]) -> Calls:
    """(due, seconds of latency, code, degradations) of each call; each was sent 10 ms late."""
    return Calls([Call(0, due, 0.01, took, code, missing, True) for due, took, code, missing in outcomes], 0.5, 2.0)


def test_a_schedule_follows_its_rates_and_its_seed() -> None:
    """Arrivals are a Poisson process of each rate in turn, equal for equal seeds."""
    one, same, other = (poisson([(500, 10), (50, 10)], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert np.all(np.diff(one) >= 0)
    assert int(np.sum(one < 10)) == pytest.approx(5_000, rel=0.1)
    assert int(np.sum(one >= 10)) == pytest.approx(500, rel=0.2)
    gaps = np.diff(one[one < 10])
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)


def test_traffic_is_drawn_by_shares() -> None:
    """Each kind has its share of the calls, and events have ids of their own."""
    kinds = [kind for kind in KINDS if kind.name != "second page"]
    arrivals = Traffic(SHOP, kinds).arrivals(np.arange(4_000) / 100, Random(1))
    for place, kind in enumerate(kinds):
        share = sum(arrival.kind == place for arrival in arrivals) / len(arrivals)
        assert share == pytest.approx(kind.share / sum(other.share for other in kinds), abs=0.03)
    place = [kind.name for kind in kinds].index("record events")
    sent = [gateway_pb2.RecordEventsRequest.FromString(a.payload) for a in arrivals if a.kind == place]
    assert len({message.events[0].event_id for message in sent}) == len(sent)


def test_outcomes_are_counted() -> None:
    """Whole, degraded, refused and failed calls; a refusal counts from the time when it was sent."""
    found = summarise(
        calls(
            (0.0, 0.05, "OK", ()), (0.1, 0.16, "OK", ("ranker late",)), (0.2, 0.012, "RESOURCE_EXHAUSTED", ()),
            (0.3, 0.17, "DEADLINE_EXCEEDED", ()),
        ),
        KINDS, seconds=2.0,
    )  # fmt: skip
    assert (found["sent"], found["whole"], found["degraded"], found["refused"]) == (4, 1, 1, 1)
    assert (found["errors"], found["degradations"]) == ({"DEADLINE_EXCEEDED": 1}, {"ranker late": 1})
    assert found["in_time_share"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["latency"]["max"] == pytest.approx(160, rel=0.01)
    assert found["refusal_latency"]["p99"] == pytest.approx(2, rel=0.01)
    assert found["client"]["cpu_share"] == 0.25


def test_degradations_of_content_are_whole() -> None:
    """A query in an unknown language is degraded without load; a late ranker is not."""
    answer = gateway_pb2.SearchResponse()
    for reason in (common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE, common_pb2.DEGRADATION_REASON_LATE):
        answer.degradations.add(stage=common_pb2.STAGE_RANKER, reason=reason)
    assert degradations_of(answer) == ("ranker late",)


def test_histograms_add_up() -> None:
    """The histograms of rounds are merged from their stored text."""
    both = merged(latencies(values)["histogram_us"] for values in ([0.001] * 99, [0.1]))
    assert both.get_total_count() == 100
    assert both.get_value_at_percentile(99) == pytest.approx(1_000, rel=0.001)


def test_recovery_is_read_in_bins() -> None:
    """Calls count in the 100 ms in which they were due."""
    bins = whole_by_bin(
        calls((4.95, 0.1, "OK", ()), (5.05, 0.1, "OK", ("ranker late",)), (5.95, 0.1, "OK", ()), (6.05, 0.1, "OK", ())),
        5.0, 7.0,
    )  # fmt: skip
    assert (bins[0], bins[9], bins[10], len(bins)) == ([1, 0], [1, 1], [1, 1], 20)
    assert whole_share(bins, 0.0) == pytest.approx(2 / 3, abs=1e-4)
    assert whole_share(bins, 0.5) == 1


def test_goals_compare_with_the_saturation_of_their_round() -> None:
    """A round on a slower machine is compared with its own saturation."""
    good = summarise(calls(*[(n / 10, 0.02, "OK", ()) for n in range(10)]), KINDS, 1.0)
    parts = {phase.name: dict(good) for phase in plan(1.0, [0.5, 2.0], [50.0], 2)}
    for number, whole_per_s in ((1, 100.0), (2, 50.0)):
        parts[f"round {number}: saturation"]["whole_per_s"] = whole_per_s
        parts[f"round {number}: 2 × saturation"]["whole_per_s"] = 0.8 * whole_per_s
        parts[f"round {number}: 5 × then 0.5 × saturation"]["after_overload"] = [[1, 0]] * 9 + [[1, 1]] * 20
    assert [f"{count} in flight" in parts for count in IN_FLIGHT] == [True] * len(IN_FLIGHT)
    held = {goal.name: goal.holds for goal in Report(parts, (0.5, 2.0), (50.0,), 2).goals()}
    assert not held.pop("whole at 2 × / at saturation")
    assert set(held.values()) == {True}


def test_a_finished_part_is_not_measured_again(tmp_path: Path) -> None:
    """A later run with the same settings continues; other settings are refused with the remedy."""
    file = tmp_path / "load.json"
    Results(file, {"seconds": 1}).part("one", lambda: {"whole": 1})
    assert Results(file, {"seconds": 1}).part("one", pytest.fail) == {"whole": 1}
    with pytest.raises(SystemExit, match="another file"):
        Results(file, {"seconds": 2})
