"""Makes a smaller and faster copy of the encoder that answers now, judges it, and proposes it as a version of the text
model.

A copy is chosen on queries made from titles. It is then judged by whole searches through the gateway: on held-back
queries with clicks, or, while there are too few, on queries made from titles of products that nothing else has seen.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.common.models.registry import ModelRegistry
from services.common.models.text_version import (
    ENCODER,
    FUSION,
    PREFIX,
    TextVersion,
    read_text_version,
    write_text_version,
)
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import embedded_model_dir
from training.bootstrap import mean_interval
from training.compression.compress import Variant, measured, proposed, smaller_copies
from training.compression.sample import Sample, draw
from training.compression.settings import Compression
from training.search.catalogue import SearchedCatalogue, TrainedSearch
from training.search.data import NDCG_DEPTH, Judgements, ndcg, split
from training.search.title_queries import title_judgements
from training.suite import text
from training.suite.outcome import Outcome, Result
from training.suite.publishing import copy_files, publish
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

FOLDER = "compression"
# Pairs without which nothing can be pruned, and held-back queries with clicks without which titles judge.
LEAST_PAIRS, LEAST_CLICKED = 64, 100
# Of the products; the others judge while there are too few clicks.
_SEEN = 0.8
_MOST_JUDGED = 2_000


@dataclass(frozen=True)
class Data:
    """`sample` chooses a copy, `held` judges it."""

    catalogue: SearchedCatalogue
    sample: Sample
    held: Judgements
    is_clicked: bool

    @property
    def missing(self) -> str:
        if len(self.sample.pairs) < LEAST_PAIRS:
            return f"{len(self.sample.pairs)} queries made from titles, needs {LEAST_PAIRS}"
        return "" if self.held and self.sample.judgements else "no query to measure with: no title has two words"


@dataclass(frozen=True)
class Judged:
    """NDCG@10 of searches with the copy and with the encoder that answers now, the 95 % interval of their difference as
    a share of the latter, and milliseconds of a query.
    """

    copy: Variant
    whole: Variant
    ndcg: float
    current: float
    low: float
    high: float
    queries: int
    settings: Compression

    @property
    def passed(self) -> bool:
        return self.low >= -self.settings.margin and self.speed <= self.settings.slowest

    @property
    def speed(self) -> float:
        """The share of the time that the copy takes."""
        return self.copy.latency_ms / self.whole.latency_ms

    @property
    def reason(self) -> str:
        said = (
            f"{self.copy.name}: a query takes {self.copy.latency_ms:.2f} ms instead of {self.whole.latency_ms:.2f}, "
            f"and NDCG@10 of searches differs by {self.low:+.1%} to {self.high:+.1%}"
        )
        return said if self.passed else f"{said}; too slow, or too much may be lost"

    def figures(self) -> dict[str, float]:
        return {
            "ndcg@10": self.ndcg, "ndcg@10 of current": self.current, "relative difference, low": self.low,
            "relative difference, high": self.high, "queries": float(self.queries), "ms": self.copy.latency_ms,
            "ms of current": self.whole.latency_ms, "megabytes": self.copy.size_bytes / 1e6,
            "megabytes of current": self.whole.size_bytes / 1e6,
        }  # fmt: skip


def data_of(work: WorkFolder, settings: SuiteTraining, now_s: float) -> Data:
    """Of what was read into the work folder."""
    of_text, own = text.data_of(work, settings, now_s), settings.compression
    products = of_text.catalogue.products
    seen, unseen = (list(side.values()) for side in split({each.id: each for each in products}, _SEEN, FOLDER))
    sample = draw(seen, own.queries, own.catalogue, own.pairs, own.seed)
    is_clicked = len(of_text.held) >= LEAST_CLICKED
    held = of_text.held if is_clicked else title_judgements(unseen, own.seed, _MOST_JUDGED)
    return Data(SearchedCatalogue(products, work.folder / FOLDER / "catalogue"), sample, held, is_clicked)


def train_compression(
    work: WorkFolder, registry: ModelRegistry, settings: SuiteTraining, clock: Callable[[], float] = time.time
) -> Outcome:
    """A copy that passes is proposed for shadow, as a trained text model is; a refused one is published for its report.

    Raises ValueError for an encoder that cannot be pruned.
    """
    began, now_s = time.monotonic(), clock()
    if (other := registry.rollout().challenger) is not None:
        return Outcome(
            text.KIND, Result.SKIPPED, f"{text.KIND}/{other} is on trial; its end makes room for a new version"
        )
    data, own = data_of(work, settings, now_s), settings.compression
    if data.missing:
        return Outcome(text.KIND, Result.SKIPPED, data.missing)
    current = text.current_search(registry)
    whole_dir = current.model.model_dir or embedded_model_dir()
    # With other settings, or another encoder that answers, an interrupted run begins anew.
    chosen = hashlib.blake2b(f"{own!r} {current.model.version}".encode(), digest_size=6).hexdigest()
    folder = work.folder / FOLDER / chosen
    folder.mkdir(parents=True, exist_ok=True)
    copies = smaller_copies(whole_dir, data.sample, folder, own)
    served = QueryEncoderSettings(**current.model.settings() | {"model_dir": whole_dir})
    whole, variants = measured(served, copies, data.sample, own)
    best = proposed(whole, variants, own.tolerance)
    if best is None:
        reason = f"no smaller copy keeps NDCG@10 of its vectors within {own.tolerance:.1%} ({_best(whole, variants)})"
        return Outcome(text.KIND, Result.REFUSED, reason, seconds=time.monotonic() - began)
    about = _about(registry, best, current)
    _complete(best.folder, about, current)
    judged = _judged(data, text.search_of(best.folder, about), current, whole, best, own)
    report = _report(data, judged, [whole, *variants], registry.rollout().current, now_s)
    (best.folder / text.REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    name = publish(registry, best.folder, about.name, report)
    result = text.take_steps(registry, name, judged.passed, judged.reason, judged.figures())
    registry.prune(text.KEPT_VERSIONS)
    seconds = time.monotonic() - began
    return Outcome(
        text.KIND, result, judged.reason, name, about.name, judged.figures(), seconds, str(registry.path(name))
    )  # fmt: skip


def _about(registry: ModelRegistry, best: Variant, current: TrainedSearch) -> TextVersion:
    """As the current version: the same weights of a query's context, and the same fusion."""
    if version := registry.rollout().current:
        found = read_text_version(registry.path(version))
        alpha, beta = found.alpha, found.beta
    else:
        of_settings = QueryEncoderSettings()
        alpha, beta = of_settings.alpha, of_settings.beta
    return TextVersion(PREFIX + text.digest(best.folder / ENCODER), alpha, beta, current.fusion.method == "learned")


def _complete(folder: Path, about: TextVersion, current: TrainedSearch) -> None:
    """The folder becomes that of a version."""
    if about.fusion and current.fusion.model_dir is not None:
        (folder / FUSION).mkdir(exist_ok=True)
        copy_files(current.fusion.model_dir, folder / FUSION)
    write_text_version(about, folder)


def _judged(
    data: Data, version: TrainedSearch, current: TrainedSearch, whole: Variant, best: Variant, settings: Compression
) -> Judged:
    queries = list(data.held)
    found = [data.catalogue.results(search, queries, NDCG_DEPTH) for search in (version, current)]
    own, other = (np.array([ndcg(results[query], data.held[query]) for query in queries]) for results in found)
    mean = float(np.nanmean(other))
    low, high = mean_interval((own - other) / mean, settings.seed) if mean and len(queries) > 1 else (-1.0, 1.0)
    return Judged(best, whole, float(np.nanmean(own)), mean, low, high, len(queries), settings)


def _report(data: Data, judged: Judged, variants: list[Variant], parent: str, now_s: float) -> Mapping[str, Any]:
    """Of the version, and its manifest."""
    rows = [
        {"name": each.name or "as it is", "bytes": each.size_bytes, "ms": each.latency_ms, "ndcg@10": each.ndcg}
        for each in variants
    ]
    return {
        "created_s": now_s,
        "parent": parent,
        "metrics": judged.figures(),
        "verdict": {"passed": judged.passed, "reason": judged.reason},
        "cut": judged.copy.name,
        "data": {
            "products": len(data.catalogue.products), "sample": len(data.sample.products),
            "queries": {"choose": len(data.sample.judgements), "held back": len(data.held)},
            "held back": "queries with clicks" if data.is_clicked else "queries made from titles",
        },
        "variants": rows,
        "settings": asdict(judged.settings),
    }  # fmt: skip


def _best(whole: Variant, variants: list[Variant]) -> str:
    found = max(variants, key=lambda each: each.ndcg)
    return f"{found.name}: {found.ndcg:.4f} instead of {whole.ndcg:.4f}"
