"""Trains the text model (encoder and fusion as one version) on the searches of the log, judges it, and proposes it.

A share of the queries is held back from the training of every version, by a hash of the query. On them a version is
compared with the search that answers now: DCG@10 of clicks over expected examinations, for an unknown shopper. NDCG of
the training's smoothed gains would prefer the search that was logged.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.common.models.text_version import (
    ENCODER,
    EXPORTED,
    FUSION,
    PREFIX,
    TextVersion,
    read_text_version,
    write_text_version,
)
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.wiring import embedded_model_dir
from services.retrieval.adapters.fusion_model import save_fusion
from services.retrieval.settings import FusionSettings
from training.bootstrap import mean_interval
from training.search.catalogue import ModelChoice, SearchedCatalogue, TrainedSearch, configured_search
from training.search.clicks import Clicked, SearchedList, judged_by_clicks, normalised
from training.search.data import NDCG_DEPTH, Judgements, dcg, relevant_pairs, split
from training.search.train import fit_encoder, fit_fusion
from training.suite.log import ReadLog, product_of
from training.suite.mixing import ChosenMixing, choose_mixing, sessions_of
from training.suite.outcome import Outcome, Result
from training.suite.publishing import copy_files, publish
from training.suite.searches import searches_of
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

KIND, REPORT = "text", "report.json"
KEPT_VERSIONS = 5
# Of the queries; the same ones for every version.
TRAINED_SHARE = 0.8
# At most so many held-back queries are searched.
_MOST_JUDGED = 2_000


@dataclass(frozen=True)
class Data:
    """`for_encoder`, `for_fusion` and `held` have the queries with clicks, each query in one of them."""

    catalogue: SearchedCatalogue
    searches: Sequence[SearchedList]
    clicked: Clicked
    for_encoder: Judgements
    for_fusion: Judgements
    held: Judgements
    pairs: int

    def missing(self, settings: SuiteTraining) -> str:
        """What is missing for training; empty if the data suffice."""
        queries, batch = len(self.clicked.judgements), settings.text.encoder.batch
        if queries < settings.least.queries:
            return f"{queries:,} queries with a click, needs {settings.least.queries:,}"
        if self.pairs < batch:
            return f"{self.pairs:,} pairs of a query and a product clicked for it, needs {batch:,}"
        return ""


@dataclass(frozen=True)
class Judged:
    """DCG@10 on the held-back queries, with unsmoothed rates as gains, and the 95 % interval of the difference.

    A gain of 1 is a purchase at each examination, 1/3 a click.
    """

    version: float
    current: float
    low: float
    high: float
    queries: int

    @property
    def passed(self) -> bool:
        return self.low > 0

    @property
    def reason(self) -> str:
        verb = "is better than" if self.passed else "is not surely better than"
        return f"DCG@10 of clicks on held-back queries {verb} that of the search that answers now"

    def figures(self) -> dict[str, float]:
        return {
            "dcg@10": self.version, "dcg@10 of current": self.current, "difference, low": self.low,
            "difference, high": self.high, "queries": float(self.queries),
        }  # fmt: skip


def data_of(work: WorkFolder, settings: SuiteTraining, now_s: float) -> Data:
    """Of what was read into the work folder."""
    products = [product_of(each.body) for each in work.products()]
    texts = {product.id: product_text(product) for product in products}
    searches = searches_of(ReadLog(work, "", now_s), settings.window_s)
    clicked = judged_by_clicks(searches)
    known = {
        query: found
        for query, judged in clicked.judgements.items()
        if (found := {item_id: relevance for item_id, relevance in judged.items() if item_id in texts})
    }
    trained, held = split(known, TRAINED_SHARE, "held")
    for_encoder, for_fusion = split(trained, settings.text.encoder_share, "fusion")
    held = dict(list(held.items())[:_MOST_JUDGED])
    catalogue = SearchedCatalogue(products, work.folder / KIND / "catalogue")
    return Data(catalogue, searches, clicked, for_encoder, for_fusion, held, len(relevant_pairs(for_encoder, texts)))


def train_text(
    work: WorkFolder, registry: ModelRegistry, settings: SuiteTraining, clock: Callable[[], float] = time.time
) -> Outcome:
    """A version that passes is proposed for shadow; a refused one is published for its report."""
    began, now_s = time.monotonic(), clock()
    if (other := registry.rollout().challenger) is not None:
        return Outcome(KIND, Result.SKIPPED, f"{KIND}/{other} is on trial; its end makes room for a new version")
    data = data_of(work, settings, now_s)
    if missing := data.missing(settings):
        return Outcome(KIND, Result.SKIPPED, missing)
    current, folder = current_search(registry), work.trained(KIND, settings.text) / "version"
    version = _trained(data, current, settings, folder)
    judged = _judged(data, version, current, settings.seed)
    last = [each for each in data.searches if normalised(each.query) in data.held]
    mixing = choose_mixing(data.catalogue, version, sessions_of(data.searches, last), settings.seed)
    about = TextVersion(version.model.version, mixing.alpha, mixing.beta, fusion=True)
    write_text_version(about, folder)
    report = _report(data, judged, mixing, settings, registry.rollout().current, now_s)
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    name = publish(registry, folder, about.name, report)
    result = take_steps(registry, name, judged.passed, judged.reason, judged.figures())
    registry.prune(KEPT_VERSIONS)
    seconds = time.monotonic() - began
    return Outcome(
        KIND, result, judged.reason, name, about.name, judged.figures(), seconds, str(registry.path(name))
    )  # fmt: skip


def current_search(registry: ModelRegistry) -> TrainedSearch:
    """The version that answers; without one, what the settings of the services name."""
    if not (current := registry.rollout().current):
        return configured_search()
    folder = registry.path(current)
    return search_of(folder, read_text_version(folder))


def search_of(folder: Path, version: TextVersion) -> TrainedSearch:
    """What the version in `folder` serves."""
    exported = folder / EXPORTED if (folder / EXPORTED).is_dir() else None
    learned = FusionSettings(method="learned", model_dir=folder / FUSION)
    # A version without a fusion is served with the fixed weights, whatever fusion the settings name for their model.
    fixed = configured_search().fusion
    fixed = fixed.model_copy(update={"method": "linear"}) if fixed.method == "learned" else fixed
    return TrainedSearch(ModelChoice(folder / ENCODER, version.name, exported), learned if version.fusion else fixed)


def _trained(data: Data, current: TrainedSearch, settings: SuiteTraining, folder: Path) -> TrainedSearch:
    """Encoder and fusion in `folder`. What an earlier call has finished is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    base_dir = configured_search().model.model_dir or embedded_model_dir()
    encoder, fusion = folder.with_name(ENCODER), folder / FUSION
    fit_encoder(data.catalogue, data.for_encoder, base_dir, encoder, settings.text.encoder, current)
    if not (folder / ENCODER).is_dir():
        draft = folder / f"{ENCODER}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        copy_files(encoder, draft)
        draft.rename(folder / ENCODER)
    # The services that have no torch need the ONNX form.
    model = ModelChoice(folder / ENCODER, PREFIX + digest(encoder), folder / EXPORTED)
    if not fusion.is_dir():
        network = fit_fusion(data.catalogue, data.for_fusion, model, settings.text.fusion)
        shutil.rmtree(draft := folder.with_name("fusion.draft"), ignore_errors=True)
        save_fusion(network, draft, {"queries": len(data.for_fusion)})
        draft.rename(fusion)
    return TrainedSearch(model, FusionSettings(method="learned", model_dir=fusion))


def _judged(data: Data, version: TrainedSearch, current: TrainedSearch, seed: int) -> Judged:
    queries, rates = list(data.held), data.clicked.rates
    found = [data.catalogue.results(search, queries, NDCG_DEPTH) for search in (version, current)]
    own, other = (np.array([dcg(results[query], rates[query]) for query in queries]) for results in found)
    low, high = mean_interval(own - other, seed) if len(queries) > 1 else (0.0, 0.0)
    mean = [float(values.mean()) if len(values) else 0.0 for values in (own, other)]
    return Judged(mean[0], mean[1], low, high, len(queries))


def _report(
    data: Data, judged: Judged, mixing: ChosenMixing, settings: SuiteTraining, parent: str, now_s: float
) -> dict[str, Any]:
    """Of the version, and its manifest."""
    return {
        "created_s": now_s,
        "parent": parent,
        "metrics": judged.figures(),
        "verdict": {"passed": judged.passed, "reason": judged.reason},
        "data": {
            "products": len(data.catalogue.products), "searches": data.clicked.lists, "clicks": data.clicked.clicks,
            "queries": {"encoder": len(data.for_encoder), "fusion": len(data.for_fusion), "held back": len(data.held)},
            "pairs": data.pairs, "examination": [round(float(each), 4) for each in data.clicked.examination[:21]],
        },
        "mixing": mixing.document(),
        "settings": asdict(settings.text),
    }  # fmt: skip


def digest(encoder: Path) -> str:
    """Of the weights: the same vectors have the same name."""
    found = hashlib.blake2b(digest_size=6)
    for file in sorted(encoder.rglob("*.safetensors")):
        found.update(file.read_bytes())
    return found.hexdigest()


def take_steps(
    registry: ModelRegistry, version: str, passed: bool, reason: str, figures: Mapping[str, float]
) -> Result:
    """A version of the text model that passed goes into shadow: the query encoder loads it."""
    registry.take_step(StepKind.PROPOSED, version, reason="kairos train", figures=figures)
    if not passed:
        registry.take_step(StepKind.REFUSED, version, reason=reason, figures=figures)
        return Result.REFUSED
    registry.take_step(StepKind.SHADOW, version, lambda now: now.with_shadow(version), reason)
    return Result.SHADOW
