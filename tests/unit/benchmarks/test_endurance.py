"""Growth of memory and descriptors in a long run."""

from __future__ import annotations

from typing import Any

from benchmarks.endurance import rows

MB = 10**6


def report(**samples: list[tuple[float, int, int]]) -> dict[str, Any]:
    return {"minutes": 60, "samples": samples}


def steady(until_s: int, growth_bytes: int = 0, opened: int = 0) -> list[tuple[float, int, int]]:
    """A reading every 30 s of a process whose caches fill in the first ten minutes; noise of half a per cent."""

    def reading(at_s: int) -> tuple[float, int, int]:
        resident = 100 * MB + min(at_s, 600) * 10_000 + at_s * growth_bytes + at_s % 7 * 80_000
        return float(at_s), resident, 40 + at_s * opened // 600

    return [reading(at_s) for at_s in range(0, until_s, 30)]


def test_growth_is_told_from_noise() -> None:
    """A process is flat with noise and with caches that fill at first, but not if it grows by 2 % or a descriptor."""
    found = {
        row["process"]: row["flat"]
        for row in rows(report(still=steady(3_600), leaks=steady(3_600, 2_000), opens=steady(3_600, opened=1)))
    }
    assert found == {"still": True, "leaks": False, "opens": False}


def test_a_process_that_ended_has_no_slope() -> None:
    """Only processes that lived to the end are judged: a replaced one has nothing to say about an hour."""
    assert [row["process"] for row in rows(report(still=steady(3_600), replaced=steady(1_200)))] == ["still"]
