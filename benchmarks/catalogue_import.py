"""Rows per second of a catalogue import, and the memory of the suite, with an idle learner, after it.

    python -m benchmarks.catalogue_import --products P.csv.gz --map id=upc,title=name,... --out R.json

Starts the whole suite on free ports and imports the file through the gateway in blocks. After each block two baselines
encode rows of the same block with torch, fp32, eager, on all cores: with the product's own batching and token limit,
and as sentence-transformers does (32 rows a batch, longest first, 256 tokens). The import also validates, indexes and
stores; the baselines only encode. At the end the same rows are imported again, which must change nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from transformers import AutoTokenizer

from catalog.mapping import ProductMapping, parse_mapping
from catalog.rows import RowRefused, column_names, read_rows
from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.control import start
from ops.processes import SuiteProcess, suite_processes
from ops.settings import SuiteSettings
from services.common.convert import product_from_proto
from services.query_encoder.adapters.torch_encoder import PooledEncoder, TorchEncoder, load_model
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import embedded_model_dir

GOAL = 3.0
# Of the whole suite with an idle learner and 45,000 products.
MEMORY_GOAL_MB = 4_000
_MESSAGE = 200
# Processes whose memory is printed; the JSON has all.
_LARGEST = 10
_TIMEOUT_S = 3_600.0
# all-MiniLM-L6-v2's own limit, and sentence-transformers' batch.
_DEFAULT_TOKENS, _DEFAULT_BATCH = 256, 32
IMPORT, TORCH = "kairos import", "torch fp32, our token limit"
SENTENCE_TRANSFORMERS = "torch fp32, as sentence-transformers"

Counts = dict[str, int]


def read_products(path: Path, mapping: ProductMapping) -> list[product_pb2.Product]:
    """The first product of each id; rows without an id or a title are skipped."""
    products: dict[str, product_pb2.Product] = {}
    for row in tqdm(read_rows(path), desc="Reading", unit=" rows"):
        if row.problem or row.is_hidden:
            continue
        try:
            product = mapping.product(row.values)
        except RowRefused:
            continue
        products.setdefault(product.id, product)
    return list(products.values())


def import_all(connection: Connection, products: Sequence[product_pb2.Product]) -> Counts:
    messages = (
        gateway_pb2.ImportProductsRequest(products=products[first : first + _MESSAGE])
        for first in range(0, len(products), _MESSAGE)
    )
    with connection.stub() as stub:
        answer = stub.ImportProducts(messages, timeout=_TIMEOUT_S)
    return {
        outcome: getattr(answer, f"{outcome}_count") for outcome in ("received", "imported", "unchanged", "rejected")
    }


class SentenceTransformerEncoder:
    """The same steps as `SentenceTransformer.encode`, without the package."""

    def __init__(self, model_dir: Path) -> None:
        self._model: PooledEncoder = load_model(model_dir)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)

    def encode(self, texts: Sequence[str]) -> None:
        ordered = sorted(texts, key=len, reverse=True)
        with torch.inference_mode():
            for first in range(0, len(ordered), _DEFAULT_BATCH):
                batch = self._tokenizer(
                    ordered[first : first + _DEFAULT_BATCH],
                    padding=True, truncation=True, max_length=_DEFAULT_TOKENS, return_tensors="pt",
                )  # fmt: skip
                self._model(batch["input_ids"], batch["attention_mask"])


class Stopwatch:
    """(rows, seconds) of each measured block by name; a rate is that of all blocks together."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[tuple[int, float]]] = {}

    def measure(self, name: str, rows: int, work: Any) -> Any:
        began = time.perf_counter()
        outcome = work()
        self.blocks.setdefault(name, []).append((rows, time.perf_counter() - began))
        return outcome

    def rate(self, name: str) -> float:
        rows, seconds = np.sum(self.blocks[name], axis=0)
        return float(rows / seconds)


def run(products: list[product_pb2.Product], connection: Connection, blocks: int, sample: int) -> tuple[Stopwatch, int]:
    """(the times, the number of imported products)."""
    settings, model_dir = QueryEncoderSettings(), embedded_model_dir()
    ours, default = TorchEncoder(model_dir, settings.model_version), SentenceTransformerEncoder(model_dir)
    watch, imported = Stopwatch(), 0
    with tqdm(total=len(products), desc="Importing", unit=" products") as progress:
        for block in np.array_split(np.arange(len(products)), blocks):
            part = [products[index] for index in block]
            counts = watch.measure(IMPORT, len(part), lambda part=part: import_all(connection, part))
            imported += counts["imported"]
            texts = [product_text(product_from_proto(product, "product")) for product in part[:sample]]
            watch.measure(
                TORCH, len(texts), lambda texts=texts: ours.encode(texts, settings.max_product_tokens, "product")
            )
            watch.measure(SENTENCE_TRANSFORMERS, len(texts), lambda texts=texts: default.encode(texts))
            progress.update(len(part))
    return watch, imported


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--map", default="", help="as for `kairos catalog import`")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--sample", type=int, default=300, help="rows of each block that the baselines encode")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the rows: blocks are random samples")
    arguments = parser.parse_args()
    mapping = parse_mapping(arguments.map, column_names(arguments.products), "USD")
    products = read_products(arguments.products, mapping)
    order = np.random.default_rng(arguments.seed).permutation(len(products))
    products = [products[index] for index in order]
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="kairos-import-") as folder:
        supervisor, state = start(SuiteSettings.on_free_ports(Path(folder)))
        try:
            connection = Connection(state.gateway)
            watch, imported = run(products, connection, arguments.blocks, arguments.sample)
            again = watch.measure("second import", len(products), lambda: import_all(connection, products))
            processes = suite_processes(Path(folder))
        finally:
            supervisor.terminate()
            supervisor.wait()
    report(watch, imported, again, processes, arguments.out)
    return 0


def report(watch: Stopwatch, imported: int, again: Counts, processes: Sequence[SuiteProcess], out: Path) -> None:
    rates = {name: watch.rate(name) for name in watch.blocks}
    ratios = {name: rates[IMPORT] / rates[name] for name in (TORCH, SENTENCE_TRANSFORMERS)}
    resident = sum(process.resident_bytes for process in processes)
    table = Table("", "rows/s", "import is faster by", title=f"{imported:,} products")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{ratios[name]:.2f}x" if name in ratios else "")
    console = Console()
    console.print(table)
    console.print(f"The second import changed {again['imported']} products and left {again['unchanged']:,} unchanged.")
    megabytes = f"{resident / 1e6:,.0f} MB (goal: {MEMORY_GOAL_MB:,})"
    console.print(f"The {len(processes)} processes of the suite then take {megabytes}:")
    for process in sorted(processes, key=lambda one: -one.resident_bytes)[:_LARGEST]:
        console.print(f"  {process.resident_bytes / 1e6:5,.0f} {process.name}")
    document = {
        "cpus": os.cpu_count(),
        "products": imported,
        "rows_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "import_faster_by": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "goal": GOAL,
        "memory_goal_mb": MEMORY_GOAL_MB,
        "second_import": again,
        "resident_bytes": resident,
        "processes": [vars(process) for process in processes],
    }
    out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except grpc.RpcError as error:
        sys.exit(f"the import failed: {error}")
