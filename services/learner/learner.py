"""One turn after the other: test on what is new, learn from it, propose a version, watch over the one on trial."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import structlog
from opentelemetry import trace

from services.learner.drift import DriftWatch
from services.learner.guardrail import log_losses
from services.learner.memory import Memory
from services.learner.metrics import LearnerMetrics
from services.learner.online import Arm
from services.learner.release import Release
from services.learner.settings import LearnerSettings
from services.learner.showings import Showings, Taken
from services.learner.state import State, StateFolder
from services.ranker.adapters.model_registry import ModelRegistry
from services.ranker.domain.rollout import StepKind
from services.ranker.domain.user_features import IntArray
from services.ranker.domain.weighted_sum import Weights
from services.ranker.ports import ProfileStore
from training.ranking.examples import Examples
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

LOG = "impressions"
# Over the buffer, of a working copy that begins anew.
_EPOCHS_ANEW = 3

_log = structlog.get_logger("kairos.learner")
_tracer = trace.get_tracer("kairos")


class Learner:
    """Not for two threads. After an exception it is of no use: another one goes on from the folder.

    `clock` gives seconds since the epoch.
    """

    def __init__(
        self, store: ProfileStore, registry: ModelRegistry, weights: Weights, settings: LearnerSettings,
        metrics: LearnerMetrics, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._settings, self._metrics, self._clock = store, settings, metrics, clock
        self._folder = StateFolder(settings.data_dir)
        self._release = Release(registry, weights, settings, metrics, clock)
        self._memory = Memory(settings.teaching, lambda users: store.oldest_impressions(settings.tenant, users))
        known = self._folder.load()
        self._state, self._working = known or (State(self._committed()), None)
        self._showings = Showings(store, settings.tenant, self._state.position, settings.teaching)
        for buffer, positions in (
            (self._memory.replay, self._state.replay), (self._memory.held, self._state.held),
        ):  # fmt: skip
            buffer.add(*self._showings.again(positions))
        if self._working is None:
            self._begin_anew()
        # What drifted since the last proposal; and whether the next update is the first one since.
        self._drift, self._drifted, self._is_new_world = DriftWatch(settings.drift, metrics), set[str](), False
        self._waiting_s = self._saved_s = clock()
        self._noted: list[dict[str, object]] = []
        # The current version, as it was last told; None: not yet.
        self._live: str | None = None

    def turn(self) -> None:
        """Takes what the log has, and does what is due."""
        now_s = self._clock()
        self._watch_over()
        taken = self._showings.take(now_s)
        if taken is not None:
            self._test(taken)
        fresh, teaching = len(self._memory.fresh), self._settings.teaching
        if not fresh:
            self._waiting_s = now_s
        elif fresh >= teaching.least_showings or now_s - self._waiting_s >= teaching.patience_s:
            self._learn()
        if self._showings.position > self._state.position and now_s - self._saved_s >= teaching.checkpoint_s:
            self.save()
        if self._drifted or self._state.since_proposal >= self._settings.guardrail.showings:
            self._propose()
        self._tell(now_s)

    @_tracer.start_as_current_span("save")
    def save(self) -> None:
        """What was taken is learned, written down and committed."""
        self._learn()
        state, memory, start = self._state, self._memory, self._state.position
        state.position = self._showings.position
        state.replay, state.held = memory.replay.positions.tolist(), memory.held.positions.tolist()
        # Noted first: a death in between repeats a stretch in the journal, and leaves none out.
        self._folder.note({"at_s": self._clock(), "from": start, "to": state.position, "taken": self._noted})
        self._folder.save(state, self._working)
        self._store.commit(self._settings.tenant, self._settings.group, {LOG: state.position})
        self._saved_s, self._noted = self._clock(), []

    @_tracer.start_as_current_span("test")
    def _test(self, taken: Taken) -> None:
        """What was shown is compared with what was thought, counted for who showed it, and put where it belongs."""
        if not len(taken.positions):
            return
        rows = self._memory.without_deleted(taken.examples, taken.positions)
        examples, positions = taken.examples.take(rows), taken.positions[rows]
        if not len(positions):
            return
        self._meet(self._showings.vector_version, examples.dimensions)
        self._count(taken, rows, examples)
        r = examples.showing_count
        sizes = np.bincount(examples.showing, minlength=r)
        clicks = np.bincount(examples.showing, examples.click, r) / sizes
        noted: dict[str, object] = {"to": taken.end, "showings": r, "click_rate": float(clicks.mean())}
        # Before the first update there is nothing to be surprised.
        if self._working is not None and self._working.showings_seen:
            each = log_losses(examples, self._working.predict_as_shown(examples))
            losses = np.bincount(examples.showing, each, r) / sizes
            drifted = self._drift.update(losses.tolist(), clicks.tolist())
            self._drifted, self._is_new_world = self._drifted | drifted, self._is_new_world or bool(drifted)
            noted |= {"log_loss": float(losses.mean()), "drift": sorted(drifted)}
        noted["held"] = self._memory.add(examples, positions)
        self._noted.append(noted)
        self._metrics.showings.inc(r)

    @_tracer.start_as_current_span("learn")
    def _learn(self) -> None:
        for user in self._memory.forget_deleted():
            self._showings.forget(user)
        settings, state = self._settings, self._state
        random, count = np.random.default_rng([settings.seed, state.updates]), len(self._memory.fresh)
        lesson = self._memory.next_lesson(random, self._is_new_world)
        if self._working is None or not len(lesson):
            return
        epochs = settings.drift.epochs if self._is_new_world else settings.teaching.epochs
        self._working.update(lesson, epochs, settings.seed + state.updates)
        state.updates += 1
        self._metrics.updates.inc()
        state.since_proposal += count
        self._waiting_s, self._is_new_world = self._clock(), False

    def _propose(self) -> None:
        if self._working is None or not self._working.showings_seen or not self._release.is_ready(self._memory):
            return
        for user in self._memory.forget_deleted():
            self._showings.forget(user)
        reason = f"drift of {', '.join(sorted(self._drifted))}" if self._drifted else "new showings"
        if self._release.propose(self._working, self._memory, reason, self._showings.position):
            self._drifted, self._state.since_proposal = set(), 0

    def _tell(self, now_s: float) -> None:
        # What is not written down yet, a death would undo.
        if self._showings.position == self._state.position:
            self._metrics.learned_up_to.set(now_s - self._showings.behind_s(now_s))
        current = self._release.rollout().current
        if current != self._live:
            self._metrics.live_version_made.clear()
            if current and (made_s := self._release.made_s(current)) is not None:
                self._metrics.live_version_made.labels(current).set(made_s)
            self._live = current

    def _watch_over(self) -> None:
        rollout, state = self._release.rollout(), self._state
        if rollout.other is None:
            return
        if state.trial != rollout.trial:
            state.trial, state.arms = rollout.trial, {}
        counts = self._store.counts(self._settings.tenant, rollout.trial)
        # What led to a version that fell is not built upon.
        if self._release.watch_over(counts, state.arms, rollout) is StepKind.ROLLED_BACK:
            self._begin_anew()

    def _count(self, taken: Taken, rows: IntArray, examples: Examples) -> None:
        """For the versions that are compared with each other, since they are."""
        rollout, r = self._release.rollout(), examples.showing_count
        if rollout.other is None or self._state.trial != rollout.trial:
            return
        shown = np.bincount(examples.showing, minlength=r)
        clicks, purchases = (np.bincount(examples.showing, of, r) for of in (examples.click, examples.purchase))
        for row, at in enumerate(rows.tolist()):
            who, version = taken.whom[at], taken.versions[at]
            if who and examples.shown_s[row] >= rollout.since_s and version in (rollout.current, rollout.other):
                self._state.arms.setdefault(version, Arm()).add(who, int(shown[row]), clicks[row], purchases[row])

    def _meet(self, vector_version: str, dimensions: int) -> None:
        """A working copy where there is none; another one, and an empty memory, when vectors are another model's."""
        if self._working is not None and self._working.vector_version == vector_version:
            return
        if self._working is not None:
            _log.warning("vectors of another model; learning begins anew", model_version=vector_version)
            self._memory.clear()
        self._working = LearnableRanker(
            NetworkSettings(dimensions), vector_version=vector_version, seed=self._settings.seed
        )

    def _begin_anew(self) -> None:
        """With the version that answers; where none does, with what the buffer teaches."""
        self._working, self._state.since_proposal = self._release.current(), 0
        examples = self._memory.replay.examples
        if self._working is None and len(examples):
            self._meet(self._showings.vector_version, examples.dimensions)
        if self._working is not None and not self._working.showings_seen and len(examples):
            self._working.update(examples, _EPOCHS_ANEW, self._settings.seed)

    def _committed(self) -> int:
        return self._store.committed(self._settings.tenant, self._settings.group).get(LOG, 0)
