"""Records the answers to a plan, and compares two recordings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc

from ops.in_process import InProcessSuite
from tests.golden.contract import Data, GoldenClient

# Recorded scores are rounded; two that are this near are the same.
TOLERANCE = 0.001
_ROUNDING = 1e-9
_WAIT_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What is asked. Every request is answered independently of the others.

    `popular` names a product that has become the most popular one by the last events; `past_queries` were sent before,
    each with how often: they may be suggested.
    """

    requests: Sequence[Data]
    popular: str
    past_queries: dict[str, int]


@dataclass(frozen=True)
class Recording:
    """A plan and, request by request, its answers."""

    plan: Plan
    answers: Sequence[Data]

    def write(self, path: Path) -> None:
        """One request a line, so that a diff can be read."""
        head = _text({"popular": self.plan.popular, "past_queries": self.plan.past_queries})
        lines = (
            _text({"request": request, "answer": answer})
            for request, answer in zip(self.plan.requests, self.answers, strict=True)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"plan": {head}, "entries": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Recording:
        data = json.loads(path.read_text(encoding="utf-8"))
        requests, answers = ([entry[part] for entry in data["entries"]] for part in ("request", "answer"))
        return cls(Plan(requests, **data["plan"]), answers)


def record(suite: InProcessSuite, plan: Plan, shuffle: int | None = None) -> Recording:
    """Ask a fresh suite. `shuffle` is a seed for another order of the requests; the answers must not depend on it."""
    with grpc.insecure_channel(suite.gateway_target, [("grpc.max_receive_message_length", 16 << 20)]) as channel:
        client = GoldenClient(channel)
        client.record_events([event for request in plan.requests for event in request.get("events", ())])
        suite.wait_until_counted()
        _wait_until_popular(client, plan.popular)
        for query, count in plan.past_queries.items():
            for _ in range(count):
                client.answer({"method": "search", "query": query, "literal": True})
        order = list(range(len(plan.requests)))
        if shuffle is not None:
            Random(shuffle).shuffle(order)
        # Every search adds to the queries that may be suggested, so suggestions are asked for first.
        order.sort(key=lambda number: plan.requests[number]["method"] != "suggest")
        answers = {number: _answer(client, plan.requests[number]) for number in order}
    return Recording(plan, [answers[number] for number in range(len(plan.requests))])


def differences(expected: Recording, found: Recording) -> Iterator[str]:
    """One line for each difference, with the request's id and the place in the answer."""
    for request, before, now in zip(expected.plan.requests, expected.answers, found.answers, strict=True):
        for line in _differences(before, now):
            yield f"{request['id']}: {line}"


def _answer(client: GoldenClient, request: Data) -> Data:
    for earlier in request.get("before", ()):
        client.answer(earlier)
    if request.get("impressions"):
        # The gateway logs what it showed a moment later.
        _wait(lambda: client.impression_count(request["user"]) >= request["impressions"], "the impressions")
    return client.answer(request)


def _wait_until_popular(client: GoldenClient, item: str) -> None:
    """The gateway reads the popular items now and then: wait until it has read them after the last event."""
    request = {"method": "recommend", "page_size": 100}
    _wait(lambda: item in [row[0] for row in client.answer(request).get("results", ())], "the popular items")


def _wait(done: Any, what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {_WAIT_S:.0f} s")
        time.sleep(0.1)


def _differences(before: Data, now: Data) -> Iterator[str]:
    if "results" in before and "results" in now:
        yield from _of_results(before["results"], now["results"])
    for name in sorted({*before, *now} - ({"results"} if "results" in before and "results" in now else set())):
        yield from _of_values(name, before.get(name), now.get(name))


def _of_results(before: Sequence[Any], now: Sequence[Any]) -> Iterator[str]:
    """Products, their order, then what stands in the rows of those that both have."""
    old, new = ([row[0] for row in rows] for rows in (before, now))
    if old != new:
        gone, come = [id for id in old if id not in new], [id for id in new if id not in old]
        scores = {row[0]: row[1] for row in before}
        pairs = zip(old, new, strict=False)
        is_tie = not gone and not come and all(_near(scores[one], scores[other]) for one, other in pairs)
        kind = "order among equal scores" if is_tie else "order" if not (gone or come) else "products"
        yield f"{kind}: was {old}, is {new}"
    rows = {row[0]: row for row in now}
    for row in before:
        if row[0] in rows:
            yield from _of_values(row[0], row[1:], rows[row[0]][1:])


def _of_values(path: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted({*before, *now}):
            yield from _of_values(f"{path}.{name}", before.get(name), now.get(name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from _of_values(f"{path}[{index}]", one, other)
    elif not (before == now or _near(before, now)):
        yield f"{path}: was {_text(before)}, is {_text(now)}"


def _near(before: Any, now: Any) -> bool:
    """Only for scores and shares: counts are whole numbers, and equal or not."""
    numbers = isinstance(before, float | int) and isinstance(now, float | int)
    if not numbers or (isinstance(before, int) and isinstance(now, int)):
        return bool(before == now)
    return bool(abs(before - now) <= TOLERANCE + _ROUNDING)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
