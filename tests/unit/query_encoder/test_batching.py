"""Dynamic batching of queries."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.common.errors import BudgetExpired
from services.query_encoder.batching import ON_THE_LOOP_S, QueryBatcher


class HeldModel:
    """Gives each text its length as vector, once `gate` is open; records the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = threading.Event()
        self.gate = threading.Event()

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.batches.append(list(texts))
        self.began.set()
        self.gate.wait(10)
        if "bad" in texts:
            raise ValueError("bad text")
        return np.array([[len(text)] for text in texts], dtype=np.float32)


class Fixture:
    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.model = HeldModel()
        self.batcher = QueryBatcher(self.model.encode, executor, max_batch=3)

    async def start(self, *texts: str, deadline_s: float | None = None) -> list[asyncio.Task[FloatArray]]:
        """One call for each text; the first batch is being encoded when this returns."""
        tasks = [asyncio.create_task(self.batcher.encode(text, deadline_s)) for text in texts]
        await asyncio.to_thread(self.model.began.wait, 10)
        return tasks


@pytest.fixture
async def held() -> AsyncIterator[Fixture]:
    with ThreadPoolExecutor(1) as executor:
        fixture = Fixture(executor)
        yield fixture
        fixture.model.gate.set()


async def test_what_arrives_meanwhile_is_the_next_batch(held: Fixture) -> None:
    """The first query is encoded at once; those that arrive meanwhile form batches of at most `max_batch`."""
    first = await held.start("a")
    rest = await held.start("bb", "ccc", "dddd", "eeeee")
    held.model.gate.set()
    assert [float(vector[0]) for vector in await asyncio.gather(*first, *rest)] == [1, 2, 3, 4, 5]
    assert held.model.batches == [["a"], ["bb", "ccc", "dddd"], ["eeeee"]]


async def test_expired_work_is_dropped(held: Fixture) -> None:
    """A query whose budget ends in the queue fails and is not encoded."""
    first = await held.start("a")
    late = await held.start("late", deadline_s=time.monotonic())
    fine = await held.start("fine")
    held.model.gate.set()
    await asyncio.gather(*first, *fine)
    with pytest.raises(BudgetExpired):
        await late[0]
    assert held.model.batches == [["a"], ["fine"]]


async def test_cancelled_work_is_dropped(held: Fixture) -> None:
    """A query that is cancelled in the queue is not encoded, and the others are answered."""
    first = await held.start("a")
    gone, kept = await held.start("gone", "kept")
    gone.cancel()
    await asyncio.wait([gone])
    held.model.gate.set()
    await asyncio.gather(*first, kept)
    assert held.model.batches == [["a"], ["kept"]]


async def test_cancelled_while_it_runs(held: Fixture) -> None:
    """Cancelling the query that is being encoded does not affect the next one."""
    (gone,) = await held.start("gone")
    gone.cancel()
    (kept,) = await held.start("kept")
    held.model.gate.set()
    assert float((await kept)[0]) == 4


async def test_an_error_fails_only_its_batch(held: Fixture) -> None:
    """An error of the model fails every query of that batch, and the next batch is encoded."""
    bad = await held.start("bad")
    held.model.gate.set()
    with pytest.raises(ValueError, match="bad text"):
        await bad[0]
    assert float((await held.batcher.encode("fine", None))[0]) == 4


async def test_a_quick_query_stays_on_the_loop() -> None:
    """A query is encoded on the event loop if the last one was quick and the model has been idle for as long."""
    threads: list[bool] = []
    now_s, took_s = 0.0, ON_THE_LOOP_S / 2

    def encode(texts: Sequence[str]) -> FloatArray:
        threads.append(threading.current_thread() is not threading.main_thread())
        nonlocal now_s
        now_s += took_s
        return np.zeros((len(texts), 1), dtype=np.float32)

    with ThreadPoolExecutor(1) as executor:
        batcher = QueryBatcher(encode, executor, max_batch=3, clock=lambda: now_s, cpu_clock=lambda: now_s)
        for idle_s in (0.0, took_s, took_s / 2, 1.0):
            now_s += idle_s
            await batcher.encode("a", None)
        took_s = 2 * ON_THE_LOOP_S
        for _ in range(2):
            now_s += 1
            await batcher.encode("slow", None)
    assert threads == [True, False, True, False, False, True]


async def test_expired_work_is_not_begun_on_the_loop() -> None:
    """A query whose budget has ended is not encoded, also if nothing else is being encoded."""
    texts: list[str] = []

    def encode(batch: Sequence[str]) -> FloatArray:
        texts.extend(batch)
        return np.zeros((len(batch), 1), dtype=np.float32)

    now_s = 0.0
    with ThreadPoolExecutor(1) as executor:
        batcher = QueryBatcher(encode, executor, max_batch=3, clock=lambda: now_s, cpu_clock=lambda: now_s)
        await batcher.encode("a", None)
        with pytest.raises(BudgetExpired):
            await batcher.encode("late", now_s)
    assert texts == ["a"]
