"""What one request costs each service in CPU time: what `benchmarks.scale` and docs/scaling.md count with.

    python -m benchmarks.request_costs --out R.json

All services in this process, over gRPC; each stage is called by itself with what the gateway sends it for a search of
the demo shop by a known shopper, then the gateway as a whole. CPU time depends little on what else runs on the machine.
The caller's own side of gRPC is in each figure; what hosting in Ray Serve adds is not:
benchmarks.hosting. Retrieval by the size of the catalogue is measured beside, on products whose vectors are drawn at
random, which is the hardest case for a vector graph.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
import psutil
from qdrant_edge import EdgeShard
from rich.console import Console

from benchmarks.restore import fill
from cli.client import Connection
from cli.suite.in_process import in_process_suite
from demo.catalogue import build_catalogue
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.context import RequestContext
from services.common.convert import context_to_proto
from services.common.product import Product
from services.retrieval.domain.candidates import IndexedProduct
from services.retrieval.ports import Columns, Narrowing, Search, Vectors
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_index

CANDIDATES, PAGE = 200, 10
_TIMEOUT_S = 60.0
_DIMENSIONS = 384


def costs(count: int, size: int) -> dict[str, Any]:
    """ms of CPU of a call, medians over `count` searches."""
    catalogue, random = build_catalogue(size=size), Random(7)
    spent: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        began = time.process_time()
        answer = call()
        spent.setdefault(name, []).append(1e3 * (time.process_time() - began))
        return answer

    with tempfile.TemporaryDirectory(prefix="kairos-costs-") as name, in_process_suite(Path(name)) as suite:
        connection = Connection(suite.gateway_target, timeout_s=_TIMEOUT_S)
        users = fill(connection, Path(name), catalogue, 100)
        with grpc.insecure_channel(suite.stages_target) as channel, connection.stub() as gateway:
            stubs = _Stubs(channel)
            for number in range(count + 20):
                if number == 20:  # the first ones warm up
                    spent.clear()
                query, user = " ".join(random.choice(catalogue).title.split()[:4]), random.choice(users)
                stubs.search(query, user, timed)
                whole = gateway_pb2.SearchRequest(query=query, user_id=user)
                timed("whole", partial(gateway.Search, whole, timeout=_TIMEOUT_S))
    means = {stage: statistics.median(times) for stage, times in spent.items()}
    means["gateway"] = means["whole"] - sum(means[stage] for stage in means if stage != "whole")
    return {"searches": count, "products": size, "cpu_ms": {stage: round(ms, 2) for stage, ms in means.items()}}


class _Stubs:
    """The four stages, asked as the gateway asks them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._encoder = encoder_pb2_grpc.QueryEncoderServiceStub(channel)
        self._retrieval = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        self._ranker = ranker_pb2_grpc.RankerServiceStub(channel)
        self._pricing = pricing_pb2_grpc.PricingServiceStub(channel)

    def search(self, query: str, user: str, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
        context = context_to_proto(RequestContext("costs"))
        encode = encoder_pb2.EncodeQueryRequest(context=context, text=query)
        encoded = timed("query_encoder", lambda: self._encoder.EncodeQuery(encode, timeout=_TIMEOUT_S))
        retrieve = retrieval_pb2.RetrieveCandidatesRequest(
            context=context, text=encoded.retrieval_text, query_vectors=encoded.vector, limit=CANDIDATES,
            with_vectors=True,
        )  # fmt: skip
        found = timed("retrieval", lambda: self._retrieval.RetrieveCandidates(retrieve, timeout=_TIMEOUT_S)).candidates
        products = [gateway_pb2.GetProductResponse().product.FromString(data) for data in found.products[:PAGE]]
        found.ClearField("products")
        rank = ranker_pb2.RankItemsRequest(context=context, user_id=user, query_vector=encoded.vector, candidates=found)
        timed("ranker", lambda: self._ranker.RankItems(rank, timeout=_TIMEOUT_S))
        items = [pricing_pb2.PricedItem(item_id=product.id, list_price=product.price) for product in products]
        quote = pricing_pb2.QuotePricesRequest(context=context, items=items)
        timed("pricing", lambda: self._pricing.QuotePrices(quote, timeout=_TIMEOUT_S))


def retrieval_costs(size: int, searches: int = 200) -> dict[str, float]:
    """Of one process with `size` products, optimised: ms of CPU of a search, bytes of memory a product."""
    random, draw = Random(size), np.random.default_rng(size)
    words = sorted({word for product in build_catalogue() for word in product.title.split()})
    with tempfile.TemporaryDirectory(prefix="kairos-costs-") as name:
        settings = RetrievalSettings(data_dir=Path(name))
        index = build_index(settings)
        for start in range(0, size, 1_000):
            count = min(1_000, size - start)
            products = [Product(f"p{start + number}", " ".join(random.sample(words, 8))) for number in range(count)]
            indexed = [IndexedProduct(product, b"x" * 600, product.id.encode()) for product in products]
            index.upsert("default", indexed, Vectors(_unit(draw, count), "random@1"))
        index.close()
        (generation,) = Path(name).glob("default/generation-*")
        shard = EdgeShard.load(str(generation))
        shard.optimize()
        shard.close()
        resident = psutil.Process().memory_info().rss
        index = build_index(settings)
        try:
            times = list[float]()
            for vector in _unit(draw, searches):
                text = " ".join(random.sample(words, 3))
                search = Search(text, vector[None], (1.0,), Narrowing(), CANDIDATES, Columns(vectors=True))
                began = time.process_time()
                index.search("default", search)
                times.append(time.process_time() - began)
            grown = psutil.Process().memory_info().rss - resident
        finally:
            index.close()
    return {
        "products": size,
        "cpu_ms": round(1e3 * statistics.median(times), 2),
        "bytes_a_product": round(grown / size),
    }


def _unit(draw: np.random.Generator, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = draw.normal(size=(count, _DIMENSIONS)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--size", type=int, default=3_000, help="products of the demo shop")
    parser.add_argument("--sizes", type=int, nargs="*", default=[5_000, 20_000, 50_000], help="products in retrieval")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {"retrieval": [retrieval_costs(size) for size in arguments.sizes]}
    if arguments.searches:
        report["suite"] = costs(arguments.searches, arguments.size)
    Console().print_json(data=report)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
