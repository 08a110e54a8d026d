"""Calls that arrive during a write share the next write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.common.group_commit import GroupCommit

# The name of a call, and the ids of its rows.
Batch = tuple[str, list[str]]
Recorder = GroupCommit[Batch, list[str]]


class SlowDisk:
    """The first write waits until the test releases it."""

    def __init__(self) -> None:
        self.writes: list[list[str]] = []
        self.began, self.go_on = threading.Event(), threading.Event()
        self.broken = False

    def record(self, batches: Sequence[Batch]) -> list[list[str]]:
        self.writes.append([name for name, _ in batches])
        self.began.set()
        self.go_on.wait(10)
        if self.broken:
            raise OSError("the disk is full")
        return [ids for _, ids in batches]


def batch(name: str, rows: int = 1) -> Batch:
    return name, [f"{name}{n}" for n in range(rows)]


def recorder_of(disk: SlowDisk, executor: ThreadPoolExecutor) -> Recorder:
    return GroupCommit(disk.record, lambda batch: len(batch[1]), executor)


async def calls(recorder: Recorder, disk: SlowDisk, *batches: Batch) -> list[asyncio.Task[list[str]]]:
    """The first call is being written when the others arrive."""
    tasks = [asyncio.create_task(recorder.add(batches[0]))]
    await asyncio.to_thread(disk.began.wait, 10)
    tasks += [asyncio.create_task(recorder.add(other)) for other in batches[1:]]
    await asyncio.sleep(0)
    return tasks


async def test_one_write_for_many() -> None:
    """Calls that arrive meanwhile are written together, and each call gets the ids of its own events."""
    disk = SlowDisk()
    with ThreadPoolExecutor(1) as executor:
        recorder = recorder_of(disk, executor)
        tasks = await calls(recorder, disk, batch("a"), batch("b", 2), batch("c", 3))
        disk.go_on.set()
        assert await asyncio.gather(*tasks) == [["a0"], ["b0", "b1"], ["c0", "c1", "c2"]]
    assert disk.writes == [["a"], ["b", "c"]]


async def test_a_failed_write_fails_its_calls_only() -> None:
    """All calls of a failed write fail, and the next write works."""
    disk = SlowDisk()
    with ThreadPoolExecutor(1) as executor:
        recorder = recorder_of(disk, executor)
        tasks = await calls(recorder, disk, batch("a"))
        disk.broken = True
        disk.go_on.set()
        with pytest.raises(OSError, match="full"):
            await tasks[0]
        disk.broken = False
        assert await recorder.add(batch("b")) == ["b0"]


async def test_a_cancelled_call_is_not_recorded() -> None:
    """A call that was cancelled before its write began is skipped."""
    disk = SlowDisk()
    with ThreadPoolExecutor(1) as executor:
        recorder = recorder_of(disk, executor)
        tasks = await calls(recorder, disk, batch("a"), batch("b"), batch("c"))
        tasks[1].cancel()
        await asyncio.sleep(0)
        disk.go_on.set()
        assert [await tasks[0], await tasks[2]] == [["a0"], ["c0"]]
    assert disk.writes == [["a"], ["c"]]
