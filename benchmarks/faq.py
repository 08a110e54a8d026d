"""Answers of the FAQ through the gateway: right, abstained, calibrated; and entries above searches for products.

    python -m benchmarks.faq --data ../shared/data --out R.json

--data has `faq/bitext_full.csv.gz` (instruction, intent, response), `faq/afqmc_train.tsv.gz` (text, text, same) and
`homedepot/judgements.csv.gz` (search_term). Questions belong to the half "development" or "held-out" by their hash;
only the first was used to choose anything.

| part | FAQ | asked |
|---|---|---|
| paraphrases | one entry for each intent of Bitext, with --alternatives of its sentences | other sentences of Bitext |
| foreign | the same | queries of Home Depot, and questions of AFQMC |
| pairs | the first texts of AFQMC's pairs | their second texts: is the entry of the pair the answer? |
| reverse | the same | sentences of Bitext, and queries of Home Depot |
| searches | the FAQ of Bitext beside the products of Home Depot | queries for products: an entry above them is false |

Baselines of the pairs: BM25 (bm25s over the words of rjieba), and the cosine of the encoder alone.
The work folder and R.json keep what is finished: the same command continues.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import bm25s
import grpc
import numpy as np
import rjieba
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from benchmarks.abstention import share
from benchmarks.results import Results
from kairos.common.v1 import faq_pb2
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.gateway.v1 import faq_pb2 as gateway_faq_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.in_process import InProcessSuite, in_process_suite
from services.common.convert import vectors_from_proto
from services.common.faq import faq_batches
from training.search.train import import_products

HALVES = DEVELOPMENT, HELD_OUT = ("development", "held-out")
BITEXT, AFQMC = "bitext", "afqmc"
_SEED, _TIMEOUT_S, _NEAR = 0, 60.0, 10
_RESAMPLES, _TEXTS = 500, 256


def half_of(text: str) -> str:
    return HALVES[hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % 2]


def read_bitext(path: Path) -> dict[str, list[str]]:
    """The distinct sentences of each intent, in a fixed random order."""
    by_intent: dict[str, dict[str, None]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            by_intent[row["intent"]][row["instruction"].strip()] = None
    random = Random(_SEED)
    return {intent: random.sample(sorted(texts), len(texts)) for intent, texts in sorted(by_intent.items())}


def read_pairs(path: Path, half: str, count: int) -> list[tuple[str, str, int]]:
    """Pairs with distinct first texts."""
    firsts: dict[str, tuple[str, str, int]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            first, second, same = line.rstrip("\n").split("\t")
            if half_of(first) == half and first.strip() and second.strip():
                firsts.setdefault(first, (first, second, int(same)))
    return Random(_SEED).sample(sorted(firsts.values()), min(count, len(firsts)))


def read_queries(path: Path, half: str, count: int) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        queries = sorted({row["search_term"].strip() for row in csv.DictReader(file)})
    return Random(_SEED).sample([query for query in queries if half_of(query) == half], count)


class Faq:
    """A client of the gateway."""

    def __init__(self, suite: InProcessSuite) -> None:
        self._channel = grpc.insecure_channel(suite.gateway_target, [("grpc.max_receive_message_length", 16 << 20)])
        self.stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)

    def load(self, entries: Iterable[faq_pb2.FaqEntry]) -> int:
        stored = 0
        for batch in faq_batches(entries):
            request = gateway_faq_pb2.ImportFaqEntriesRequest(entries=batch)
            answer = self.stub.ImportFaqEntries(request, timeout=10 * _TIMEOUT_S)
            if answer.rejected:
                raise RuntimeError(f"rejected: {answer.rejected[0]}")
            stored += answer.imported_count + answer.unchanged_count
        return stored

    def ask(self, questions: Sequence[str], title: str) -> list[dict[str, Any]]:
        """The answer, its confidence, and the confidences of all entries near."""
        found = []
        for question in tqdm(questions, desc=title):
            request = gateway_faq_pb2.AskFaqRequest(question=question, near_count=_NEAR)
            began = time.perf_counter()
            answer = self.stub.AskFaq(request, timeout=_TIMEOUT_S)
            latency_ms = 1e3 * (time.perf_counter() - began)
            matches = ([answer.answer] if answer.HasField("answer") else []) + list(answer.near)
            found.append(
                {
                    "question": question,
                    "answer": answer.answer.entry.id,
                    "best": matches[0].entry.id if matches else "",
                    "confidence": round(matches[0].confidence, 4) if matches else 0.0,
                    "near": {match.entry.id: round(match.confidence, 4) for match in matches},
                    "latency_ms": round(latency_ms, 2),
                }
            )
        return found

    def close(self) -> None:
        self._channel.close()


def bitext_entries(sentences: dict[str, list[str]], alternatives: int) -> list[faq_pb2.FaqEntry]:
    """The answers are the intents: nothing is read from them."""
    return [
        faq_pb2.FaqEntry(id=intent, question=texts[0], alternative_questions=texts[1 : 1 + alternatives], answer=intent)
        for intent, texts in sentences.items()
    ]


def afqmc_entries(pairs: Sequence[tuple[str, str, int]]) -> list[faq_pb2.FaqEntry]:
    return [faq_pb2.FaqEntry(id=f"q{n}", question=first, answer=first) for n, (first, _, _) in enumerate(pairs)]


def paraphrases(asked: Sequence[dict[str, Any]], truths: Sequence[str]) -> dict[str, Any]:
    answered = [bool(each["answer"]) for each in asked]
    right = [each["answer"] == truth for each, truth in zip(asked, truths, strict=True) if each["answer"]]
    best = [each["best"] == truth for each, truth in zip(asked, truths, strict=True)]
    return {
        "answered": share(answered),
        "right": share(right),
        "right without abstention": share(best),
        "calibration error": calibration_error([each["confidence"] for each in asked], best),
        "latency_ms_p50": float(np.percentile([each["latency_ms"] for each in asked], 50)),
    }


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error."""
    places = np.minimum((np.array(confidences) * bins).astype(int), bins - 1)
    error = 0.0
    for place in range(bins):
        rows = places == place
        if rows.any():
            error += rows.mean() * abs(np.array(confidences)[rows].mean() - np.array(right)[rows].mean())
    return round(float(error), 4)


def auc(scores: Sequence[float], same: Sequence[int]) -> dict[str, Any]:
    """With a 95 % interval by resampling pairs."""
    values, labels, random = np.array(scores), np.array(same), np.random.default_rng(_SEED)
    drawn = []
    for _ in range(_RESAMPLES):
        rows = random.integers(0, len(labels), len(labels))
        if 0 < labels[rows].sum() < len(rows):
            drawn.append(roc_auc_score(labels[rows], values[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    value = roc_auc_score(labels, values)
    return {"value": round(float(value), 4), "interval_95": [round(low, 4), round(high, 4)], "queries": len(labels)}


def bm25_scores(pairs: Sequence[tuple[str, str, int]]) -> list[float]:
    """Of each pair among all first texts."""
    firsts = [rjieba.cut(first.lower()) for first, _, _ in pairs]
    index = bm25s.BM25()
    index.index(firsts, show_progress=False)
    return [float(index.get_scores(rjieba.cut(second.lower()))[place]) for place, (_, second, _) in enumerate(pairs)]


def cosines(suite: InProcessSuite, pairs: Sequence[tuple[str, str, int]]) -> list[float]:
    """Of the encoder alone; 0 if it knows the language of neither text."""
    with grpc.insecure_channel(suite.stages_target, [("grpc.max_receive_message_length", 64 << 20)]) as channel:
        stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)

        def encode(texts: Sequence[str]) -> np.ndarray:
            rows = []
            for start in range(0, len(texts), _TEXTS):
                request = encoder_pb2.EncodeTextsRequest(texts=texts[start : start + _TEXTS])
                answer = stub.EncodeTexts(request, metadata=(("application", "query_encoder"),))
                rows.append(vectors_from_proto(answer.vectors, "vectors"))
            return np.concatenate(rows)

        first, second = encode([each[0] for each in pairs]), encode([each[1] for each in pairs])
    return [float(value) for value in (first * second).sum(axis=1)]


def shown_above(suite: InProcessSuite, queries: Sequence[str]) -> dict[str, Any]:
    """Searches that an entry stands above, and their time with and without the FAQ."""
    faq = Faq(suite)
    shown, times = list[str](), {mode: list[float]() for mode in ("on", "off")}
    modes = {"on": gateway_pb2.FAQ_MODE_ON, "off": gateway_pb2.FAQ_MODE_OFF}
    for query in tqdm(queries, desc="searches"):
        for mode, number in modes.items():
            began = time.perf_counter()
            answer = faq.stub.Search(gateway_pb2.SearchRequest(query=query, faq=number), timeout=_TIMEOUT_S)
            times[mode].append(1e3 * (time.perf_counter() - began))
            if answer.HasField("faq"):
                shown.append(f"{query} -> {answer.faq.matched_question} ({answer.faq.confidence:.2f})")
    faq.close()
    differences = np.array(times["on"]) - np.array(times["off"])
    return {
        "shown": share([place < len(shown) for place in range(len(queries))]),
        "examples": shown[:20],
        "latency_ms_p50": {mode: round(float(np.median(each)), 2) for mode, each in times.items()},
        "added_ms_p50": round(float(np.median(differences)), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with faq/ and homedepot/")
    parser.add_argument("--half", choices=HALVES, default=HELD_OUT, help="of the questions that are asked")
    parser.add_argument("--alternatives", type=int, default=50, help="alternative questions of an entry of Bitext")
    parser.add_argument("--questions", type=int, default=1_000, help="questions of each kind")
    parser.add_argument("--pairs", type=int, default=3_000, help="pairs of AFQMC")
    parser.add_argument("--products", type=int, default=0, help="with the part `searches`: products of Home Depot")
    parser.add_argument("--model-dir", type=Path, help="the folder of another encoder")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--work", type=Path, help="the folder of the suite's state; without it beside the JSON file")
    arguments = parser.parse_args()
    folder = (arguments.work or arguments.out.with_suffix("")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    names = ("half", "alternatives", "questions", "pairs", "products")
    settings = {name: getattr(arguments, name) for name in names} | {"model_dir": str(arguments.model_dir or "")}
    results = Results(arguments.out, settings)
    sentences = read_bitext(arguments.data / "faq" / "bitext_full.csv.gz")
    asked_of = [
        (text, intent)
        for intent, texts in sentences.items()
        for text in texts[1 + arguments.alternatives :]
        if half_of(text) == arguments.half
    ]
    asked_of = Random(_SEED).sample(asked_of, min(arguments.questions, len(asked_of)))
    pairs = read_pairs(arguments.data / "faq" / "afqmc_train.tsv.gz", arguments.half, arguments.pairs)
    products = read_queries(arguments.data / "homedepot" / "judgements.csv.gz", arguments.half, arguments.questions)
    chinese = [second for _, second, _ in pairs][: arguments.questions]
    encoder = {} if arguments.model_dir is None else {"model_dir": arguments.model_dir.resolve()}
    figures: dict[str, Any] = {}
    with in_process_suite(folder / BITEXT, encoder=encoder) as suite:
        faq = Faq(suite)
        results.part("bitext import", lambda: faq.load(bitext_entries(sentences, arguments.alternatives)))
        own = results.part("paraphrases", lambda: faq.ask([text for text, _ in asked_of], "paraphrases"))
        figures["paraphrases"] = paraphrases(own, [intent for _, intent in asked_of])
        for name, texts in (("products", products), ("chinese", chinese)):
            foreign = results.part(f"foreign {name}", partial(faq.ask, texts, name))
            figures[f"foreign {name}: abstained"] = share([not each["answer"] for each in foreign])
        if arguments.products:
            path = arguments.data / "homedepot" / "products.csv.gz"
            results.part("products", lambda: _import(suite, path, arguments.products, folder))
            figures["searches"] = results.part("searches", lambda: shown_above(suite, products))
        faq.close()
    with in_process_suite(folder / AFQMC, encoder=encoder) as suite:
        faq = Faq(suite)
        results.part("afqmc import", lambda: faq.load(afqmc_entries(pairs)))
        asked = results.part("pairs", lambda: faq.ask([second for _, second, _ in pairs], "pairs"))
        same = [each[2] for each in pairs]
        found = [each["near"].get(f"q{place}", 0.0) for place, each in enumerate(asked)]
        figures["pairs: kairos"] = auc(found, same)
        figures["pairs: bm25"] = auc(results.part("bm25", lambda: bm25_scores(pairs)), same)
        figures["pairs: encoder"] = auc(results.part("encoder", lambda: cosines(suite, pairs)), same)
        for name, texts in (("bitext", [text for text, _ in asked_of]), ("products", products)):
            foreign = results.part(f"reverse {name}", partial(faq.ask, texts, name))
            figures[f"reverse {name}: abstained"] = share([not each["answer"] for each in foreign])
        faq.close()
    results.parts["figures"] = figures
    results.part("end", lambda: True)
    _print(figures)
    return 0


def _import(suite: InProcessSuite, path: Path, count: int, folder: Path) -> Any:
    """The first `count` products."""
    cut = folder / "products.csv"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        cut.write_text("".join(line for _, line in zip(range(count + 1), file, strict=False)), encoding="utf-8")
    return import_products(suite, cut, "id=product_uid,title=product_title", folder)


def _print(figures: dict[str, Any]) -> None:
    table = Table(title="FAQ")
    for heading in ("", "queries", "value", "95 %"):
        table.add_column(heading, justify="right" if heading else "left")

    def add(name: str, of: Any) -> None:
        if isinstance(of, dict) and "interval_95" in of:
            table.add_row(name, str(of["queries"]), f"{of['value']:.3f}", "{:.3f} to {:.3f}".format(*of["interval_95"]))
        elif isinstance(of, dict):
            for part, value in of.items():
                add(f"{name}: {part}", value)
        elif not isinstance(of, list):
            table.add_row(name, "", f"{of}", "")

    for name, of in figures.items():
        add(name, of)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
