"""The learner's loop: test on new pages, train on them, propose a version, and watch the version on trial."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import structlog
from opentelemetry import trace

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.learner.drift import DriftWatch
from services.learner.item_vectors import ItemVectorKeeper
from services.learner.memory import Memory
from services.learner.metrics import LearnerMetrics
from services.learner.pages import PageReader, Taken
from services.learner.release import Release
from services.learner.settings import LearnerSettings
from services.learner.state import State, StateFolder
from services.learner.text_trials import Collections, TextTrials
from services.learner.trials import Trials, shown_pages
from services.ranker.domain.user_features import IntArray
from services.ranker.domain.weights import ServingWeights
from services.ranker.ports import ProfileStore
from training.ranking.examples import Examples
from training.ranking.guardrail import log_losses

LOG = "impressions"
# Over the buffer, for a working copy that starts from random weights.
_FIRST_EPOCHS = 3

_log = structlog.get_logger("kairos.learner")
_tracer = trace.get_tracer("kairos")


class Learner:
    """For one thread. After an exception it must not be used: a new one continues from the folder.

    `registry` is that of the ranking networks, `shoppers` that of the shopper models, `texts` that of the text models,
    which are watched if their `collections` are given too. `clock` gives seconds since the epoch.
    """

    def __init__(
        self, store: ProfileStore, registry: ModelRegistry, shoppers: ModelRegistry, weights: ServingWeights,
        settings: LearnerSettings, metrics: LearnerMetrics, clock: Callable[[], float] = time.time,
        vectors: ItemVectorKeeper | None = None, texts: ModelRegistry | None = None,
        collections: Collections | None = None,
    ) -> None:  # fmt: skip
        self._store, self._settings, self._metrics, self._clock = store, settings, metrics, clock
        self._folder = StateFolder(settings.data_dir)
        self._memory = Memory(settings.training, lambda persons: store.oldest_impressions(settings.tenant, persons))
        known = self._folder.load()
        self._state, self._working = known or (State(self._committed()), None)
        counts = partial(store.counts, settings.tenant)
        self._trials = Trials(registry, counts, settings.trial, metrics, self._state.ranking)
        self._shopper_trials = Trials(shoppers, counts, settings.trial, metrics, self._state.shopper)
        self._text_trials: TextTrials | None = None
        if texts is not None and collections is not None:
            self._text_trials = TextTrials(texts, collections, settings.trial, metrics, self._state.text)
        self._registry, self._shoppers, self._texts = registry, shoppers, texts
        self._vectors, self._looked_s = vectors, -math.inf
        self._release = Release(registry, shoppers, self._trials, weights, settings, metrics, clock)
        self._pages = PageReader(store, settings.tenant, self._state.position, settings.training)
        for positions in (self._state.replay, self._state.held):
            self._memory.restore(*self._pages.again(positions))
        if self._working is None:
            self._start_working_copy()
        # What drifted since the last proposal, and whether the next update is the first one after a drift.
        self._drift, self._drifted, self._has_drifted = DriftWatch(settings.drift, metrics), set[str](), False
        self._waiting_s = self._saved_s = clock()
        self._noted: list[dict[str, object]] = []
        # Up to this position of the log, missed pages are reported.
        self._reported = self._state.position
        # The current versions that the metrics show.
        self._live = set[str]()

    def turn(self) -> None:
        """Reads what the log has, and does what is due."""
        now_s = self._clock()
        self._report_missed()
        self._watch_trials()
        self._look_at_vectors(now_s)
        taken = self._pages.take(now_s)
        if taken is not None:
            if self._text_trials is not None:
                self._text_trials.count(taken.searches, self._settings.tenant)
            self._test(taken)
        if refunded := self._pages.refunded():
            self._memory.relabel(refunded, self._pages.again)
        fresh, training = len(self._memory.fresh), self._settings.training
        if not fresh:
            self._waiting_s = now_s
        elif fresh >= training.least_pages or now_s - self._waiting_s >= training.patience_s:
            self._learn()
        if self._pages.position > self._state.position and now_s - self._saved_s >= training.checkpoint_s:
            self.save()
        if self._drifted or self._state.since_proposal >= self._settings.guardrail.pages:
            self._propose()
        self._update_metrics(now_s)

    def _report_missed(self) -> None:
        """Pages that the ranker's retention removed before they were taken: learning goes on with what is left."""
        removed, first = (
            self._store.trimmed(self._settings.tenant).get(LOG, 0),
            max(self._reported, self._pages.position),
        )
        if first and removed > first:
            _log.warning(
                "pages were removed before they were learned from; raise KAIROS_RANKER_RETENTION__IMPRESSIONS__DAYS or "
                "__COUNT, or let the learner run more often", after=first, up_to=removed,
            )  # fmt: skip
            self._metrics.missed.inc(removed - first)
        self._reported = max(self._reported, removed)

    @_tracer.start_as_current_span("save")
    def save(self) -> None:
        """Trains on what was taken, saves it and commits its position."""
        self._learn()
        state, memory, start = self._state, self._memory, self._state.position
        state.position = self._pages.position
        state.replay, state.held = memory.replay.positions.tolist(), memory.held.positions.tolist()
        # The journal first: if the process dies in between, a stretch is in it twice, and none is missing.
        self._folder.note({"at_s": self._clock(), "from": start, "to": state.position, "taken": self._noted})
        self._folder.save(state, self._working)
        self._store.commit(self._settings.tenant, self._settings.group, {LOG: state.position})
        self._saved_s, self._noted = self._clock(), []

    @_tracer.start_as_current_span("test")
    def _test(self, taken: Taken) -> None:
        """Compares predictions with outcomes, counts them for the versions on trial, and puts the pages into memory."""
        if not len(taken.positions):
            return
        rows = self._memory.without_deleted(taken.examples, taken.positions)
        examples, positions = taken.examples.take(rows), taken.positions[rows]
        if not len(positions):
            return
        self._use_vectors_of(self._pages.vector_version, examples.dimensions, examples.clicked_pages)
        self._count(taken, rows, examples)
        r = examples.page_count
        sizes = np.bincount(examples.page, minlength=r)
        clicks = np.bincount(examples.page, examples.click, r) / sizes
        noted: dict[str, object] = {"to": taken.end, "pages": r, "click_rate": float(clicks.mean())}
        # Before the first update there are no predictions to compare with.
        if self._working is not None and self._working.pages_seen:
            each = log_losses(examples, self._working.predict_as_shown(examples))
            losses = np.bincount(examples.page, each, r) / sizes
            drifted = self._drift.update(losses.tolist(), clicks.tolist())
            self._drifted, self._has_drifted = self._drifted | drifted, self._has_drifted or bool(drifted)
            noted |= {"log_loss": float(losses.mean()), "drift": sorted(drifted)}
        noted["held"] = self._memory.add(examples, positions)
        self._noted.append(noted)
        self._metrics.pages.inc(r)

    @_tracer.start_as_current_span("learn")
    def _learn(self) -> None:
        for person in self._memory.forget_deleted():
            self._pages.forget(person)
        settings, state = self._settings, self._state
        random, count = np.random.default_rng([settings.seed, state.updates]), len(self._memory.fresh)
        batch = self._memory.next_batch(random, self._has_drifted)
        if self._working is None or not len(batch):
            return
        epochs = settings.drift.epochs if self._has_drifted else settings.training.epochs
        self._working.update(batch, epochs, settings.seed + state.updates)
        state.updates += 1
        self._metrics.updates.inc()
        state.since_proposal += count
        self._waiting_s, self._has_drifted = self._clock(), False

    def _propose(self) -> None:
        if self._working is None or not self._working.pages_seen or not self._release.is_ready(self._memory):
            return
        for person in self._memory.forget_deleted():
            self._pages.forget(person)
        reason = f"drift of {', '.join(sorted(self._drifted))}" if self._drifted else "new pages"
        if self._release.propose(self._working, self._memory, reason, self._pages.position):
            self._drifted, self._state.since_proposal = set(), 0

    def _update_metrics(self, now_s: float) -> None:
        # What is not saved yet is lost if the process dies.
        if self._pages.position == self._state.position:
            self._metrics.learned_up_to.set(now_s - self._pages.behind_s(now_s))
        live = {
            f"{before}{current}": registry
            for before, registry in (("", self._registry), ("shopper/", self._shoppers))
            if (current := registry.rollout().current)
        }
        if live.keys() != self._live:
            self._metrics.live_version_made.clear()
            for name, registry in live.items():
                made_s = registry.manifest(name.rpartition("/")[2]).get("created_s")
                if made_s is not None:
                    self._metrics.live_version_made.labels(name).set(made_s)
            self._live = set(live)

    def _watch_trials(self) -> None:
        # Training does not continue from a version that was rolled back.
        if self._trials.watch() is StepKind.ROLLED_BACK:
            self._start_working_copy()
        if self._shoppers.stamp() is not None:
            self._shopper_trials.watch()
        if self._text_trials is not None and self._text_trials.rollout().other is not None:
            self._text_trials.watch()

    def _look_at_vectors(self, now_s: float) -> None:
        if self._vectors is not None and now_s - self._looked_s >= self._settings.item_vectors_s:
            self._vectors.look()
            self._looked_s = now_s

    def _count(self, taken: Taken, rows: IntArray, examples: Examples) -> None:
        """Counts for the versions of ranking networks and shopper models that are compared."""
        pages = shown_pages(examples, [taken.whom[at] for at in rows.tolist()])
        for trials in (self._trials, self._shopper_trials):
            trials.count(pages, self._settings.tenant)

    def _use_vectors_of(self, vector_version: str, dimensions: int, clicked: int = 0) -> None:
        """Makes a working copy if there is none; a new one, with an empty memory, for vectors of another model.

        There is none before enough pages had a click; `clicked` are those that are not in memory yet.
        """
        if self._working is not None and self._working.vector_version == vector_version:
            return
        if self._working is not None:
            _log.warning("vectors of another model; learning starts again", model_version=vector_version)
            self._memory.clear()
        self._working = None
        if self._memory.clicked() + clicked < self._settings.training.least_clicked:
            return
        # Imported here: they import torch, which a learner that has nothing to train does not load.
        from training.ranking.learnable import LearnableRanker
        from training.ranking.network import NetworkSettings

        self._working = LearnableRanker(
            NetworkSettings(dimensions), vector_version=vector_version, seed=self._settings.seed
        )
        if len(self._memory.replay):
            self._working.update(self._memory.replay.examples, _FIRST_EPOCHS, self._settings.seed)

    def _start_working_copy(self) -> None:
        """Starts from the current version; without one, from random weights and the pages in the buffer."""
        self._working, self._state.since_proposal = self._release.current(), 0
        examples = self._memory.replay.examples
        if self._working is None and len(examples):
            self._use_vectors_of(self._pages.vector_version, examples.dimensions)
        elif self._working is not None and not self._working.pages_seen and len(examples):
            self._working.update(examples, _FIRST_EPOCHS, self._settings.seed)

    def _committed(self) -> int:
        return self._store.committed(self._settings.tenant, self._settings.group).get(LOG, 0)
