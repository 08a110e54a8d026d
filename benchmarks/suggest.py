"""Latency and hit rate of Suggest.

    python -m benchmarks.suggest --products P.csv.gz --out R.json

The lexicon has the words of P, as after an import. Encoder and gateway run in separate processes. The client types the
first words of random titles one letter after the other and calls Suggest for each prefix: once without and once with a
typo. "found" is the share of titles whose first two words were suggested before they were completely typed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.encoder import read_products
from benchmarks.encoder_server import encoder_server
from benchmarks.robustness import typo
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.context import DEFAULT_TENANT
from services.gateway.settings import StagesSettings
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.domain.lexicon import terms_of
from services.query_encoder.domain.text import normal_form, words

GOAL_P99_MS = 10.0
_LIMIT, _TIMEOUT_S, _START_S = 8, 5.0, 30.0
_TYPED_WORDS, _TARGET_WORDS = 3, 2


@contextlib.contextmanager
def gateway(encoder_target: str) -> Iterator[str]:
    """host:port of a started gateway with the encoder at `encoder_target` and no other stage."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    share = StagesSettings().query_encoder
    settings = {
        "SERVER__PORT": port, "SERVER__DRAIN_S": 0, "METRICS__PORT": 0, "TELEMETRY": '{"log_level": "error"}',
        "STAGES__QUERY_ENCODER": share.model_copy(update={"target": encoder_target}).model_dump_json(),
    }  # fmt: skip
    environment = os.environ | {f"KAIROS_GATEWAY_{name}": str(value) for name, value in settings.items()}
    with subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environment) as process:
        try:
            target = f"127.0.0.1:{port}"
            with grpc.insecure_channel(target) as channel:
                grpc.channel_ready_future(channel).result(_START_S)
            yield target
        finally:
            process.terminate()


def prefixes(text: str) -> list[str]:
    return [text[:end] for end in range(1, len(text) + 1)]


def ask_all(target: str, typed: Sequence[str], texts: Sequence[str], name: str) -> tuple[list[float], float, float]:
    """(milliseconds of each call, share of `texts` found, share of prefixes with suggestions) for the `typed` texts."""
    latencies, found, answered = [], 0, 0
    with grpc.insecure_channel(target) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for text, as_typed in tqdm(zip(texts, typed, strict=True), desc=name, total=len(texts), unit=" texts"):
            target_text = " ".join(text.split()[:_TARGET_WORDS])
            for prefix in prefixes(as_typed):
                began = time.perf_counter()
                answer = stub.Suggest(gateway_pb2.SuggestRequest(prefix=prefix, limit=_LIMIT), timeout=_TIMEOUT_S)
                latencies.append((time.perf_counter() - began) * 1e3)
                # There is no retrieval, which completes identifiers.
                if any(each.stage == common_pb2.STAGE_QUERY_ENCODER for each in answer.degradations):
                    raise RuntimeError(f"{prefix!r}: {answer.degradations}")
                answered += bool(answer.suggestions)
                is_early = len(prefix) < len(target_text)
                if is_early and any(target_text in suggestion.text for suggestion in answer.suggestions):
                    found += 1
                    break
    return latencies, found / len(texts), answered / len(latencies)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--texts", type=int, default=400, help="titles whose first words are typed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    products, rng = list(read_products(arguments.products, arguments.map)), random.Random(arguments.seed)
    starts = sorted({" ".join(words(normal_form(product.title))[:_TYPED_WORDS]) for product in products})
    texts = rng.sample(starts, min(arguments.texts, len(starts)))
    typos = [typo(text, rng) for text in texts]
    report: dict[str, object] = {"products": len(products), "texts": len(texts), "seed": arguments.seed}
    table = Table(title=f"{len(products):,} products, {len(texts)} texts typed letter by letter")
    for heading in ("", "calls", "p50 ms", "p99 ms", "answered", "found"):
        table.add_column(heading, justify="right" if heading else "left")
    with tempfile.TemporaryDirectory(prefix="kairos-suggest-") as folder, ExitStack() as stack:
        with closing(SqliteLexiconStore(Path(folder))) as store:
            store.put(DEFAULT_TENANT, {product.id: terms_of(product) for product in products})
        target = stack.enter_context(gateway(stack.enter_context(encoder_server(Path(folder)))))
        ask_all(target, texts[:20], texts[:20], "warming up")
        for name, typed in (("unchanged", texts), ("with a typo", typos)):
            latencies, found, answered = ask_all(target, typed, texts, name)
            p50, p99 = (round(float(value), 2) for value in np.percentile(latencies, [50, 99]))
            table.add_row(name, f"{len(latencies):,}", f"{p50:.2f}", f"{p99:.2f}", f"{answered:.0%}", f"{found:.0%}")
            report[name] = {
                "calls": len(latencies), "p50_ms": p50, "p99_ms": p99, "answered": round(answered, 3),
                "found": round(found, 3),
            }  # fmt: skip
    Console().print(table)
    print(f"Goal: p99 under {GOAL_P99_MS:.0f} ms.")
    arguments.out.write_text(json.dumps(report | {"goal_p99_ms": GOAL_P99_MS}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
