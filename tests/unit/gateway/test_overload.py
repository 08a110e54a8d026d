"""A simulated suite (`simulated_suite`) stays whole and in time in an overload, under faults, and after them."""

from __future__ import annotations

import pytest

from services.gateway.domain.budget import Stage
from services.gateway.settings import GatewaySettings, LimitSettings
from services.gateway.stage_calls import STAGE_NUMBERS
from tests.unit.gateway import virtual_time
from tests.unit.gateway.simulated_suite import FLOW, Answers, Fault, SimulatedSuite

# Searches a second: what the two cores can do at most, and a usual load.
SATURATION, USUAL = 85.0, 40.0


async def under_load(per_s: float, settings: GatewaySettings | None = None) -> Answers:
    """The answers of six seconds of the steady state, which begins two seconds after the load."""
    suite = SimulatedSuite(1, settings)
    await suite.search_for(1, USUAL)
    _, steady = await suite.search_for(8, per_s, splits=[2])
    return steady


def whole_per_s(times: float, settings: GatewaySettings | None = None) -> float:
    return virtual_time.run(under_load(times * SATURATION, settings)).whole / 6


@pytest.fixture(scope="module")
def at_saturation() -> float:
    return whole_per_s(1)


@pytest.mark.parametrize(("times", "least"), [(1.5, 0.9), (2, 0.9), (5, 0.9), (10, 0.75)])
def test_goodput(at_saturation: float, times: float, least: float) -> None:
    """Whole answers a second at several times the load that the suite can serve, as a part of those at saturation.

    At ten times the load refusals take a sixth of the machine.
    """
    assert whole_per_s(times) >= least * at_saturation


def test_the_simulation_can_fail(at_saturation: float) -> None:
    """With a limit that does not follow the latency, an overload leaves few whole answers: the machine is no help."""
    fixed = GatewaySettings(limits=LimitSettings(minimum_in_flight=64, maximum_in_flight=64))
    assert whole_per_s(2, fixed) < 0.5 * at_saturation


@pytest.mark.parametrize("times", [0.5, 2, 5])
def test_admitted_is_answered_in_time(times: float) -> None:
    """What is admitted is answered within its budget and 5 ms."""
    answers = virtual_time.run(under_load(times * SATURATION))
    assert answers.late <= 0.001 * answers.admitted + 1


def test_recovery() -> None:
    """One second after an overload everything is whole again."""

    async def overloaded() -> Answers:
        suite = SimulatedSuite(2)
        await suite.search_for(5, 10 * SATURATION)
        _, later = await suite.search_for(5, USUAL, splits=[1])
        return later

    later = virtual_time.run(overloaded())
    assert later.whole_share >= 0.99


def test_a_gateway_that_starts_in_an_overload() -> None:
    """Without any knowledge of latencies the limit finds its place within two seconds."""

    async def started() -> Answers:
        _, later = await SimulatedSuite(3).search_for(8, 3 * SATURATION, splits=[2])
        return later

    later = virtual_time.run(started())
    assert later.whole / 6 >= 0.9 * 80
    assert later.whole >= 0.97 * later.admitted


async def around(fault: Fault, stage: Stage, seed: int = 4) -> tuple[Answers, Answers]:
    """The answers during a fault of five seconds, and from one second after its end."""
    suite = SimulatedSuite(seed)
    await suite.search_for(2, USUAL)
    suite.faults[stage] = fault
    (during,) = await suite.search_for(5, USUAL)
    suite.faults[stage] = Fault()
    _, after = await suite.search_for(4, USUAL, splits=[1])
    return during, after


@pytest.mark.parametrize("stage", FLOW)
@pytest.mark.parametrize("fault", [Fault(slower_s=0.2), Fault(paused=True), Fault(failing=1.0)], ids=str)
def test_a_stage_that_gives_no_answer(stage: Stage, fault: Fault) -> None:
    """All answers are in time with that stage's fallback, hardly any call is refused, and the others are not affected.
    When the stage has returned, the answers are whole."""
    during, after = virtual_time.run(around(fault, stage))
    number = STAGE_NUMBERS[stage]
    of_others = sum(count for reason, count in during.reasons.items() if not reason.startswith(f"{number}:"))
    assert during.late == 0
    assert during.refused <= 0.05 * during.admitted
    assert of_others <= 0.03 * during.admitted
    assert after.whole_share >= 0.98


def test_a_stage_that_fails_half_of_its_calls() -> None:
    """The breaker stays closed: the other half of the answers is whole."""
    during, after = virtual_time.run(around(Fault(failing=0.5), Stage.RANKER))
    assert 0.4 <= during.whole_share <= 0.7
    assert after.whole_share >= 0.98


def test_a_slightly_slower_stage() -> None:
    """A stage that takes 20 ms more is waited for."""
    during, after = virtual_time.run(around(Fault(slower_s=0.02), Stage.PRICING))
    assert min(during.whole_share, after.whole_share) >= 0.98


def test_the_base_latency_follows_the_suite() -> None:
    """A catalogue that makes retrieval twice as expensive, and one that makes it cheap again: the goodput is each time
    what the cores allow."""

    async def grown() -> tuple[Answers, Answers]:
        suite = SimulatedSuite(5)
        await suite.search_for(2, USUAL)
        suite.faults[Stage.RETRIEVAL] = Fault(heavier=2.0)
        _, heavy = await suite.search_for(14, 2 * SATURATION, splits=[6])
        suite.faults[Stage.RETRIEVAL] = Fault()
        _, light = await suite.search_for(14, 2 * SATURATION, splits=[6])
        return heavy, light

    heavy, light = virtual_time.run(grown())
    # 22 ms of CPU a search are 28 ms now: 71 searches a second instead of 91.
    assert heavy.whole / 8 >= 0.85 * 71
    assert light.whole / 8 >= 0.85 * 91
