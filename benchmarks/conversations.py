"""How long shoppers wait for the first words of the assistant, with several conversations in flight.

    kairos up --detach
    python -m benchmarks.conversations --target 127.0.0.1:50050 --out C.json

At each moment `--in-flight` conversations wait for an answer: that many clients talk without a pause, in English and
Chinese by turns. For the second half of the time they search instead, with the same utterances: the baseline, since
most turns make a search. The clients are a process of their own. Twice `--warm-up` seconds before do not count. Without
`--target` the whole suite runs in this process, which is slower. The shop is the demo shop, which is imported.
Intervals are 95 %, by the bootstrap over conversations.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.conversation import Conversation
from demo.loading import load_products
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite

_TIMEOUT_S = 30.0
_DRAWS = 1_000
# What is to hold, of the first words.
GOAL_MS = 300.0
CONVERSATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("en", ("I am looking for running shoes", "under $100", "how much is the second one?", "why?")),
    ("zh", ("我想买一条牛仔裤，有什么推荐吗？", "便宜一点的", "第二个有货吗？")),
    ("en", ("do you have wireless headphones?", "the first one in black", "compare the first two")),
    ("zh", ("有什么推荐的外套吗？", "红色的呢", "可以退货吗？")),
)


@dataclass(frozen=True)
class Call:
    """One answer. A turn: until the first words (without any, until the end), and until the end. A search: both until
    the answer.
    """

    kind: str
    conversation: str
    began_s: float
    first_ms: float
    whole_ms: float
    is_degraded: bool


@contextlib.contextmanager
def suite(target: str) -> Iterator[str]:
    """The address of a gateway with the demo shop."""
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        address = target or held.enter_context(in_process_suite(folder / "suite")).gateway_target
        load_products(Connection(address, timeout_s=_TIMEOUT_S), folder)
        yield address


def talk(target: str, in_flight: int, seconds: float) -> list[Call]:
    """The clients: turns for the first half of the time, searches for the second."""
    calls, lock = list[Call](), threading.Lock()

    def client(number: int) -> None:
        with grpc.insecure_channel(target) as channel:
            began_s, turn = time.monotonic(), number
            while time.monotonic() - began_s < seconds:
                locale, said = CONVERSATIONS[turn % len(CONVERSATIONS)]
                is_search = time.monotonic() - began_s >= seconds / 2
                made = list(_searches(channel, locale, said) if is_search else _turns(channel, locale, said))
                turn += 1
                with lock:
                    calls.extend(made)

    with ThreadPoolExecutor(in_flight) as threads:
        # Raises what a client raised.
        list(threads.map(client, range(in_flight)))
    return calls


def _turns(channel: grpc.Channel, locale: str, said: Sequence[str]) -> Iterator[Call]:
    id = uuid.uuid4().hex
    conversation = Conversation(channel, id, locale)
    for text in said:
        began_s = time.monotonic()
        reply = conversation.say(text)
        whole_ms = (time.monotonic() - began_s) * 1e3
        is_degraded = reply.ended is None or bool(reply.ended.degradations)
        first_ms = reply.first_ms if reply.segments else whole_ms
        yield Call("turn", id, began_s, first_ms, whole_ms, is_degraded)


def _searches(channel: grpc.Channel, locale: str, said: Sequence[str]) -> Iterator[Call]:
    id, stub = uuid.uuid4().hex, gateway_pb2_grpc.GatewayServiceStub(channel)
    for text in said:
        request, began_s = gateway_pb2.SearchRequest(query=text, visitor_id=id, locale=locale), time.monotonic()
        answer = stub.Search(request, timeout=_TIMEOUT_S)
        ms = (time.monotonic() - began_s) * 1e3
        yield Call("search", id, began_s, ms, ms, bool(answer.degradations))


def quantiles(calls: Sequence[Call], field: str, random: np.random.Generator) -> dict[str, float]:
    """p50, p95 with its interval, and p99, in milliseconds."""
    by_conversation: dict[str, list[float]] = {}
    for call in calls:
        by_conversation.setdefault(call.conversation, []).append(getattr(call, field))
    groups = [np.array(group) for group in by_conversation.values()]
    values = np.concatenate(groups)
    draws = [
        np.quantile(np.concatenate([groups[place] for place in random.integers(len(groups), size=len(groups))]), 0.95)
        for _ in range(_DRAWS)
    ]
    low, high = np.quantile(draws, (0.025, 0.975))
    p50, p95, p99 = np.quantile(values, (0.5, 0.95, 0.99))
    return {"p50": float(p50), "p95": float(p95), "low": float(low), "high": float(high), "p99": float(p99)}


def report(calls: Sequence[Call], seconds: float) -> dict[str, dict[str, object]]:
    """By what was measured."""
    random, rows = np.random.default_rng(1), dict[str, dict[str, object]]()
    for name, kind, field in (
        ("first words", "turn", "first_ms"), ("whole turn", "turn", "whole_ms"), ("search", "search", "whole_ms")
    ):  # fmt: skip
        of_kind = [call for call in calls if call.kind == kind]
        degraded = sum(call.is_degraded for call in of_kind) / len(of_kind)
        each_s = len(of_kind) / (seconds / 2)
        rows[name] = {
            "count": len(of_kind), "a second": each_s, "degraded": degraded, **quantiles(of_kind, field, random)
        }  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="", help="gateway of a running suite, host:port")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    with suite(arguments.target) as target, ProcessPoolExecutor(1, mp_context=fresh) as clients:
        clients.submit(talk, target, arguments.in_flight, 2 * arguments.warm_up).result()
        calls = clients.submit(talk, target, arguments.in_flight, arguments.seconds).result()
    rows = report(calls, arguments.seconds)
    table = Table(title=f"{arguments.in_flight} conversations in flight; the goal of first words is {GOAL_MS:.0f} ms")
    for column in ("", "p50 ms", "p95 ms", "p99 ms", "a second", "degraded"):
        table.add_column(column, justify="left" if not column else "right")
    for name, row in rows.items():
        interval = f"{row['p95']:.0f} ({row['low']:.0f}–{row['high']:.0f})"
        table.add_row(
            name, f"{row['p50']:.0f}", interval, f"{row['p99']:.0f}", f"{row['a second']:.1f}", f"{row['degraded']:.1%}"
        )
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps({"rows": rows, "calls": [asdict(call) for call in calls]}))


if __name__ == "__main__":
    main()
