"""A short run of the fuzzer, with fixed cases: `python -m tests.fuzz` runs for as long as one likes."""

from __future__ import annotations

from tests.fakes.stages import FakeStages
from tests.fuzz.messages import METHODS, Cases
from tests.fuzz.running import fuzz, fuzzed_gateway

CASES = 600
# Of the process with gateway and client: far below what a container of a gateway has.
MOST_MB = 250


def test_a_case_is_repeatable() -> None:
    """The number of a case determines it, and few numbers reach every method."""
    assert [Cases().case(number) for number in range(60)] == [Cases().case(number) for number in range(60)]
    assert {Cases().case(number).method for number in range(200)} == set(METHODS)


async def test_no_message_breaks_the_gateway() -> None:
    """Random and mutated messages with either key and without one: no INTERNAL, and memory stays bounded."""
    stages = FakeStages()
    await stages.start()
    try:
        async with fuzzed_gateway(stages.targets) as gateway:
            report = await fuzz(gateway, range(CASES), seconds=60)
    finally:
        await stages.stop()
    assert report.findings == []
    assert report.cases >= CASES
    assert {"OK", "INVALID_ARGUMENT", "UNAUTHENTICATED"} <= set(report.codes)
    assert report.grown_mb < MOST_MB
