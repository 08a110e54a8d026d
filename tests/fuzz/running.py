"""Sends cases to a gateway with API keys, and collects what must not happen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.protobuf import message_factory

from services.gateway.message_limits import GATEWAY_SERVICE, GRPC_MESSAGE_BYTES
from services.gateway.server import GatewayServer, start_gateway
from services.gateway.settings import GatewaySettings, MetricsSettings, SecuritySettings, ServerSettings
from tests.contract.gateways import hashed_key
from tests.fuzz.messages import METHODS, Case, Cases

SEEDS = Path(__file__).parent / "seeds.txt"
CALLERS = 6
# A call that takes longer has found something that does not end.
_LONGEST_S = 20.0
_KNOWN = 500
_FORBIDDEN = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})
_WITHOUT_KEY = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
# grpc.aio's client reports INTERNAL with this text if the server ends a stream while the client still sends.
_CLIENT_MADE = "Internal error from Core"
# Outcomes of calls to stages that are defects of a stage.
_DEFECTS = ("internal", "unknown", "data_loss", "unimplemented")


@dataclass
class Report:
    """`findings` is empty if everything held. `long_steps`: of the event loop, by kind."""

    codes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    stage_defects: dict[str, float] = field(default_factory=dict)
    long_steps: dict[str, float] = field(default_factory=dict)
    # Growth of the process, the stages included if they run in it.
    grown_mb: float = 0.0
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return self.codes.total()


@asynccontextmanager
async def fuzzed_gateway(targets: dict[str, str]) -> AsyncIterator[GatewayServer]:
    """A gateway with a key of each role and generous quotas. `targets`: addresses of the stages by name."""
    keys = tuple(hashed_key(role, "shop", role, calls_per_s=1e6) for role in ("read", "write"))
    settings = GatewaySettings(
        stages={stage: {"target": target} for stage, target in targets.items()},  # type: ignore[arg-type]
        security=SecuritySettings(api_keys=keys),
        server=ServerSettings(port=0, drain_s=0),
        metrics=MetricsSettings(port=0),
    )
    gateway = await start_gateway(settings)
    try:
        yield gateway
    finally:
        await gateway.stop()


async def fuzz(gateway: GatewayServer, numbers: Iterable[int], seconds: float, cases: Cases | None = None) -> Report:
    """First the kept seeds, then the cases of `numbers`, from several callers at once, for at most so many seconds.

    The callers have an event loop of their own: that of the gateway is watched.
    """
    cases, report, began = cases or Cases(), Report(), time.monotonic()
    waiting = itertools.chain(kept(), map(cases.case, numbers))
    await asyncio.to_thread(
        asyncio.run, _call_all(f"127.0.0.1:{gateway.port}", waiting, began + seconds, cases, report)
    )
    report.seconds = time.monotonic() - began
    registry = gateway.gateway.parts.metrics.registry
    for sample in (sample for family in registry.collect() for sample in family.samples):
        if sample.name == "kairos_gateway_stage_calls_total" and sample.labels["outcome"] in _DEFECTS:
            report.stage_defects[f"{sample.labels['stage']}: {sample.labels['outcome']}"] = sample.value
        if sample.name == "kairos_gateway_event_loop_long_steps_total":
            report.long_steps[sample.labels["kind"]] = sample.value
    return report


async def _call_all(target: str, waiting: Iterator[Case], until_s: float, cases: Cases, report: Report) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", GRPC_MESSAGE_BYTES)]
    async with grpc.aio.insecure_channel(target, options) as channel:

        async def caller() -> None:
            for case in waiting:
                if time.monotonic() > until_s:
                    return
                await _call(channel, case, cases, report)
                report.grown_mb = max(report.grown_mb, (process.memory_info().rss - before) / 1e6)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


def kept() -> Iterator[Case]:
    """The cases that found a defect: METHOD ROLE HEX, several messages separated by commas."""
    for number, line in enumerate(SEEDS.read_text().splitlines()):
        if line and not line.startswith("#"):
            method, role, *messages = line.split(" ")
            assert method in METHODS, f"{SEEDS.name}:{number + 1} names no method"
            data = [bytes.fromhex(part) for part in "".join(messages).split(",")]
            yield Case(-1 - number, method, data, None if role == "-" else role, 10.0)


async def _call(channel: grpc.aio.Channel, case: Case, cases: Cases, report: Report) -> None:
    metadata = (("authorization", f"Bearer {case.role}"),) if case.role else ()
    path, descriptor = f"/{GATEWAY_SERVICE.full_name}/{case.method}", GATEWAY_SERVICE.methods_by_name[case.method]
    kind = "stream_unary" if descriptor.client_streaming else "unary_unary"
    method: Any = getattr(channel, "unary_stream" if descriptor.server_streaming else kind)(path)
    sent = iter(case.messages) if descriptor.client_streaming else case.messages[0]
    call = method(sent, metadata=metadata, timeout=case.deadline_s)
    try:
        async with asyncio.timeout(_LONGEST_S):
            if descriptor.server_streaming:
                # The status comes when all messages have been read.
                with contextlib.suppress(grpc.aio.AioRpcError):
                    async for _ in call:
                        pass
            # The status, not the answer: if a stream is refused while it is sent, waiting for the answer is cancelled.
            code = await call.code()
    except TimeoutError:
        report.findings.append(f"{_named(case)}: no answer in {_LONGEST_S:g} s")
        return
    if await call.details() == _CLIENT_MADE:
        code = grpc.StatusCode.CANCELLED
    report.codes[code.name] += 1
    if code in _FORBIDDEN:
        report.findings.append(f"{_named(case)}: {code.name}: {await call.details()}")
    if case.role is None and code not in _WITHOUT_KEY:
        report.findings.append(f"{_named(case)}: {code.name} without a key")
    if code is grpc.StatusCode.OK and len(cases.known) < _KNOWN and not descriptor.server_streaming:
        _learn(case.method, await call, cases)


def _learn(method: str, answer: bytes, cases: Cases) -> None:

    response: Any = message_factory.GetMessageClass(GATEWAY_SERVICE.methods_by_name[method].output_type).FromString(
        answer
    )
    for name in ("next_page_token", "attribution_token", "request_id"):
        if text := getattr(response, name, ""):
            cases.known.append(text)
    cases.known.extend(result.product.id for result in getattr(response, "results", ())[:3])


def _named(case: Case) -> str:
    """With the line for seeds.txt, if it is short."""
    sent = ",".join(message.hex() for message in case.messages)
    line = f"{case.method} {case.role or '-'} {sent}"
    return f"case {case.number}: {line if len(line) < 4_000 else f'{line[:200]}…'}"
