"""Latency of query encoding: torch, ONNX Runtime, and the served encoder.

    python -m benchmarks.encoder --out R.json [--queries FILE] [--products P.csv.gz --map id=product_uid,…]
        [--idle-ms 2 10 30]

One query at a time, one thread. The rounds of the backends alternate, so that other load disturbs all of them alike; a
figure is the median of all calls, a ratio is a ratio of medians. The input is the text, except for the session alone,
whose input is word pieces. "served" is EncodeQuery over gRPC on loopback in another process, which also detects
language and conditions and corrects the spelling, with the words of P if it is given. Parity is the cosine to torch
fp32.

The session alone and the served encoder are also measured after an idle time before each query, as they are in a suite:
the inference itself is slower on a core that was idle. Each ratio compares the two after the same idle time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.encoder_server import encoder_server
from catalog.mapping import parse_mapping
from catalog.rows import column_names, read_rows
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.arrays import FloatArray
from services.common.context import DEFAULT_TENANT
from services.common.convert import product_from_proto, vectors_from_proto
from services.common.product import Product
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.adapters.onnx_encoder import OnnxEncoder
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.adapters.tokenizer import BatchTokenizer
from services.query_encoder.adapters.torch_encoder import load_model
from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.constraints import ConstraintFinder, without_price
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander, shop_words
from services.query_encoder.domain.lexicon import terms_of
from services.query_encoder.domain.text import detect_language, normalise, tokens
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder, embedded_model_dir

# 8 to 16 word pieces of MiniLM, including [CLS] and [SEP].
QUERIES = (
    "stainless steel burr coffee grinder", "wireless noise cancelling headphones under 200",
    "waterproof hiking boots for women", "4k hdmi cable 6 ft gold plated",
    "replacement water filter for samsung refrigerator", "6 inch dimmable led recessed lighting",
    "mens slim fit dark blue jeans 32x34", "cordless drill with two batteries and charger",
    "queen size memory foam mattress topper", "usb c to lightning cable 2m braided",
    "kids rain jacket with hood size 8", "mechanical keyboard with brown switches",
    "55 inch 4k smart tv under $500", "non stick frying pan for induction hob",
    "outdoor string lights solar powered 100 ft", "mesh office chair with lumbar support",
    "running shoes for flat feet women", "organic dry dog food for small breeds",
    "white cotton bath towels set of 6", "portable bluetooth speaker waterproof black",
    "electric toothbrush heads compatible with oral b", "travel backpack 40l carry on",
    "gas grill cover 58 inch heavy duty", "gaming mouse with adjustable weights",
    "bathroom vanity 36 inch with sink", "stainless steel water bottle 32 oz",
    "bamboo cutting board with juice groove", "baby monitor with camera and night vision",
    "ceiling fan with light and remote control", "adjustable dumbbells set 50 lbs",
    "yoga mat extra thick non slip", "action camera with image stabilisation 4k",
)  # fmt: skip
TORCH, TORCH_INT8, FP32, INT8 = "torch fp32 eager", "torch int8 (dynamic)", "ONNX Runtime fp32", "ONNX Runtime int8"
SESSION, SERVED = "its session alone", "served: EncodeQuery over gRPC"
# About the time between two inferences of a service that is called back to back.
_BETWEEN_MS = 2.0
GOALS = {"torch_of_int8": 4.0, "served_of_session": 1.5, "parity_mean": 0.985}
_TIMEOUT_S = 10.0
Encode = Callable[[str], FloatArray]


def torch_runner(quantized: bool) -> Encode:
    """transformers with default settings, with our tokenizer and pooling."""
    settings, model_dir = QueryEncoderSettings(), embedded_model_dir()
    model, tokenizer = load_model(model_dir), BatchTokenizer(model_dir)
    if quantized:
        model = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            model, {torch.nn.Linear}, dtype=torch.qint8
        )

    def run(text: str) -> FloatArray:
        ((_, ids, mask),) = tokenizer.batches([text], settings.max_query_tokens, settings.max_query_tokens, "query")
        with torch.inference_mode():
            vectors = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        row: FloatArray = vectors[0]
        return row

    return run


def encoder_runner(encoder: Encoder) -> Encode:
    limit = QueryEncoderSettings().max_query_tokens
    return lambda text: encoder.encode([text], limit, "query")[0]


def session_runner(encoder: OnnxEncoder, queries: Sequence[str]) -> Encode:
    """The inference alone: the text is tokenized in advance."""
    settings, tokenizer = QueryEncoderSettings(), BatchTokenizer(embedded_model_dir())
    inputs = {}
    for query in queries:
        ((_, ids, mask),) = tokenizer.batches([query], settings.max_query_tokens, settings.max_query_tokens, "query")
        inputs[query] = {"input_ids": ids, "attention_mask": mask}

    def run(text: str) -> FloatArray:
        vector: FloatArray = encoder.session.run(None, inputs[text])[0][0]
        return vector

    return run


def served_runner(channel: grpc.Channel) -> Encode:
    stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)

    def run(text: str) -> FloatArray:
        answer = stub.EncodeQuery(encoder_pb2.EncodeQueryRequest(text=text), timeout=_TIMEOUT_S)
        vector: FloatArray = vectors_from_proto(answer.vector, "vector")[0]
        return vector

    return run


def retrieval_texts(channel: grpc.Channel, queries: Sequence[str]) -> list[str]:
    stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)
    return [stub.EncodeQuery(encoder_pb2.EncodeQueryRequest(text=query)).retrieval_text for query in queries]


def after(name: str, idle_ms: float) -> str:
    """The name of the row that waits before each query."""
    return f"{name}, after {idle_ms:g} ms"


def measure(
    runners: Mapping[str, Encode], idle_ms: Mapping[str, float], queries: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of every call, by name. `idle_ms`: by name, how long to wait before each call; default 0."""
    names, found = list(runners), {name: list[float]() for name in runners}
    for number in tqdm(range(rounds), unit=" rounds"):
        # Each round starts with another backend.
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            run = runners[name]
            run(queries[0])
            for query in queries:
                if name in idle_ms:
                    time.sleep(idle_ms[name] / 1e3)
                began = time.perf_counter()
                run(query)
                found[name].append((time.perf_counter() - began) * 1e3)
    return found


def parity(run: Encode, queries: Sequence[str], reference: Sequence[FloatArray]) -> dict[str, float]:
    cosines = [float(run(query) @ expected) for query, expected in zip(queries, reference, strict=True)]
    return {"mean": round(statistics.fmean(cosines), 5), "min": round(min(cosines), 5)}


def parts_of_served(data_dir: Path, queries: Sequence[str], rounds: int) -> dict[str, float]:
    """Median milliseconds of EncodeQuery's steps other than the inference, each measured alone in this process."""
    with closing(SqliteLexiconStore(data_dir)) as store:
        lexicon = store.read(DEFAULT_TENANT, None)
    corrector, settings = SpellCorrector(lexicon.words, lexicon.pairs), QueryEncoderSettings()
    domain = embedded_domain()
    constraints = ConstraintFinder(domain.conditions, domain.graph, settings.default_currency)
    finder, expander = ConceptFinder(domain.graph), Expander(domain.graph, shop_words(lexicon.words))
    tokenizer = BatchTokenizer(embedded_model_dir())

    def conditions(query: str) -> None:
        found = [constraints.price(query, lexicon), *constraints.names(query, lexicon)]
        without_price(query, [constraint for constraint in found if constraint])

    def concepts(query: str) -> None:
        expander.expand(finder.read(query), query)

    def pieces(query: str) -> None:
        list(tokenizer.batches([query], settings.max_query_tokens, settings.max_query_tokens, "query"))

    def texts(query: str) -> None:
        normal = normalise(query)
        detect_language(normal)
        tokens(normal, domain.stop_words)

    steps: dict[str, Callable[[str], object]] = {
        "normal form, language, tokens": texts, "spelling": corrector.correct, "conditions": conditions,
        "concepts": concepts, "word pieces": pieces,
    }  # fmt: skip
    found = {name: list[float]() for name in steps}
    for name, step in steps.items():
        for query in (query for _ in range(rounds) for query in queries):
            began = time.perf_counter()
            step(query)
            found[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(times) for name, times in found.items()}


def read_queries(path: Path | None) -> Sequence[str]:
    return QUERIES if path is None else [line for line in path.read_text("utf-8").splitlines() if line.strip()]


def read_products(path: Path, mapping: str) -> Iterator[Product]:
    columns = parse_mapping(mapping, column_names(path), "USD")
    return (product_from_proto(columns.product(row.values), "product") for row in read_rows(path) if not row.problem)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--queries", type=Path, help="one a line; default: a built-in list")
    parser.add_argument("--products", type=Path, help="catalogue whose words EncodeQuery knows")
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--idle-ms", type=float, nargs="*", default=[_BETWEEN_MS, 10, 30], help="before each query")
    arguments = parser.parse_args()
    queries = read_queries(arguments.queries)
    if not queries:
        parser.error(f"{arguments.queries} has no query")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kairos-encoder-") as folder, ExitStack() as stack:
        data_dir = Path(folder)
        if arguments.products:
            with closing(SqliteLexiconStore(data_dir)) as store:
                products = read_products(arguments.products, arguments.map)
                store.put(DEFAULT_TENANT, {product.id: terms_of(product) for product in products})
        fp32 = build_encoder(QueryEncoderSettings(backend="onnx-fp32"), threads=1)
        int8 = build_encoder(QueryEncoderSettings(backend="onnx-int8"), threads=1)
        assert isinstance(int8, OnnxEncoder)
        channel = stack.enter_context(grpc.insecure_channel(stack.enter_context(encoder_server(data_dir))))
        runners: dict[str, Encode] = {TORCH: torch_runner(quantized=False), TORCH_INT8: torch_runner(quantized=True)}
        runners |= {FP32: encoder_runner(fp32), INT8: encoder_runner(int8)}
        runners |= {SESSION: session_runner(int8, queries), SERVED: served_runner(channel)}
        reference = [runners[TORCH](query) for query in queries]
        same = {name: parity(run, queries, reference) for name, run in runners.items()}
        # EncodeQuery encodes the query without its price and with corrected typos.
        encoded_texts = [runners[TORCH](text) for text in retrieval_texts(channel, queries)]
        same[SERVED] = parity(runners[SERVED], queries, encoded_texts)
        waits = {after(name, ms): ms for ms in sorted({*arguments.idle_ms, _BETWEEN_MS}) for name in (SESSION, SERVED)}
        runners |= {name: runners[name.rpartition(", ")[0]] for name in waits}
        times = measure(runners, waits, queries, arguments.rounds)
        parts = parts_of_served(data_dir, queries, arguments.rounds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    parts["inference"] = medians[after(SESSION, _BETWEEN_MS)]
    parts["gRPC, threads, messages"] = medians[SERVED] - sum(parts.values())
    ratios = {
        "torch_of_int8": round(medians[TORCH] / medians[INT8], 2),
        "served_of_session": round(medians[SERVED] / medians[SESSION], 2),
    } | {
        f"served_of_session_after_{ms:g}_ms": round(medians[after(SERVED, ms)] / medians[after(SESSION, ms)], 2)
        for ms in sorted(set(waits.values()))
    }  # fmt: skip
    _print(queries, medians, same, parts, ratios)
    report = {
        "queries": len(queries), "rounds": arguments.rounds, "products": bool(arguments.products),
        "median_ms": {name: round(value, 3) for name, value in medians.items()}, "parity": same,
        "served_parts_ms": {name: round(value, 4) for name, value in parts.items()}, "ratios": ratios, "goals": GOALS,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _print(
    queries: Sequence[str], medians: Mapping[str, float], same: Mapping[str, Mapping[str, float]],
    parts: Mapping[str, float], ratios: Mapping[str, float],
) -> None:  # fmt: skip
    console = Console()
    table = Table(title=f"{len(queries)} queries, one at a time, one thread")
    for heading in ("", "p50 ms", "speed-up over torch fp32", "mean cosine", "lowest"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, median in medians.items():
        cosines = (f"{same[name]['mean']:.4f}", f"{same[name]['min']:.4f}") if name in same else ("", "")
        table.add_row(name, f"{median:.2f}", f"{medians[TORCH] / median:.1f}", *cosines)
    console.print(table)
    where = Table("part of the served query", "ms", box=None)
    for name, median in parts.items():
        where.add_row(name, f"{median:.3f}")
    console.print(where)
    idle = ", ".join(
        f"{ratio} {name[len('served_of_session_') :].replace('_', ' ')}"
        for name, ratio in ratios.items()
        if "after" in name
    )
    console.print(
        f"The backend is {ratios['torch_of_int8']} times as fast as torch fp32 (goal: {GOALS['torch_of_int8']}); "
        f"through the service a query takes {ratios['served_of_session']} times the time of its session back to back "
        f"and, both after an idle time: {idle} (goal: at most {GOALS['served_of_session']})."
    )


if __name__ == "__main__":
    sys.exit(main())
