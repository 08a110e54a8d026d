"""One turn after the other: test on what is new, learn from it, propose a version, watch over the one on trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import structlog

from services.ranker.adapters.model_registry import ModelRegistry
from services.ranker.domain.ranking import Weights
from services.ranker.domain.rollout import Rollout, StepKind
from services.ranker.ports import ProfileStore
from training.learner.buffer import Buffer, still_there
from training.learner.drift import DriftWatch
from training.learner.guardrail import Predictor, Verdict, compare, log_losses
from training.learner.online import Arm
from training.learner.scoring_function import ScoringFunction
from training.learner.settings import LearnerSettings
from training.learner.showings import Showings, Taken
from training.learner.split import is_held_back
from training.learner.state import State, StateFolder
from training.learner.trial import decide
from training.ranker.examples import Examples
from training.ranker.learnable import LearnableRanker
from training.ranker.network import NetworkSettings

# Of a working copy that begins anew from what the buffer holds.
_EPOCHS_ANEW = 3

_log = structlog.get_logger("kairos.learner")


class Learner:
    """Not for two threads. After an exception it is of no use: another one goes on from the folder.

    `weights` are of the scoring function, the opponent as long as no version is current. `clock` gives seconds since
    the epoch.
    """

    def __init__(
        self, store: ProfileStore, registry: ModelRegistry, weights: Weights, settings: LearnerSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._registry, self._weights = store, registry, weights
        self._settings, self._clock = settings, clock
        self._folder, teaching = StateFolder(settings.data_dir), settings.teaching
        self._registry.repair()
        known = self._folder.load()
        self._state, self._working = known or (State(self._committed()), self._current_network())
        self._showings = Showings(store, settings.tenant, self._state.position, teaching)
        self._fresh = Buffer(teaching.most_showings)
        self._replay, self._held = Buffer(teaching.recent, teaching.reservoir), Buffer(teaching.held_recent)
        for buffer, positions in ((self._replay, self._state.replay), (self._held, self._state.held)):
            buffer.add(*self._showings.again(positions))
        self._drift, self._drifted = DriftWatch(settings.drift), dict[str, float]()
        self._waiting_s = self._saved_s = clock()
        self._noted: list[dict[str, object]] = []

    def turn(self) -> None:
        """Takes what the log has, and does what is due."""
        now_s = self._clock()
        self._watch_over()
        taken = self._showings.take(now_s)
        if taken is not None:
            self._test(taken)
        patience_s, least = self._settings.teaching.patience_s, self._settings.teaching.least_showings
        if not len(self._fresh):
            self._waiting_s = now_s
        elif len(self._fresh) >= least or now_s - self._waiting_s >= patience_s:
            self._learn()
        if self._showings.position > self._state.position and self._is_due(now_s):
            self.save()
        if self._drifted or self._state.since_proposal >= self._settings.guardrail.showings:
            self._propose()

    def save(self) -> None:
        """What was taken is learned, written down and committed."""
        if len(self._fresh):
            self._learn()
        start, state = self._state.position, self._state
        state.position = self._showings.position
        state.replay, state.held = self._replay.positions.tolist(), self._held.positions.tolist()
        # Noted first: a death in between repeats a stretch in the journal, and leaves none out.
        line = {"at_s": self._clock(), "from": start, "to": state.position, "updates": self._noted}
        self._folder.note(line)
        self._folder.save(state, self._working)
        self._store.commit(self._settings.tenant, self._settings.group, {"impressions": state.position})
        self._saved_s, self._noted = self._clock(), []

    def _test(self, taken: Taken) -> None:
        """What was shown is compared with what was thought, counted for who showed it, and put where it belongs."""
        examples, positions = taken.examples, taken.positions
        if not len(positions):
            return
        oldest = self._store.oldest_impressions(self._settings.tenant, np.unique(examples.user_ids).tolist())
        stays = np.flatnonzero(still_there(examples, positions, oldest))
        examples, positions = examples.take(stays), positions[stays]
        self._begin_anew_for(self._showings.vector_version, examples)
        self._count(taken, stays, examples)
        r, working = examples.showing_count, self._working
        sizes = np.maximum(np.bincount(examples.showing, minlength=r), 1)
        clicks = np.bincount(examples.showing, examples.click, r) / sizes
        # The first update has nothing to be surprised by.
        losses = np.zeros(0)
        if working is not None and working.showings_seen:
            losses = np.bincount(examples.showing, log_losses(examples, working.predict_as_shown(examples)), r) / sizes
            self._drifted |= self._drift.update(losses, clicks)
        held = is_held_back(examples.ranking_ids.tolist(), self._settings.teaching.held_back)
        for buffer, rows in ((self._held, np.flatnonzero(held)), (self._fresh, np.flatnonzero(~held))):
            buffer.add(examples.take(rows), positions[rows])
        self._noted.append(
            {"to": taken.end, "showings": r, "held": int(held.sum()), "click_rate": float(clicks.mean()) if r else 0.0,
             "log_loss": float(losses.mean()) if len(losses) else None, "drift": list(self._drifted)}
        )  # fmt: skip

    def _learn(self) -> None:
        self._forget()
        settings, state = self._settings.teaching, self._state
        fresh, positions = self._fresh.examples, self._fresh.positions
        self._fresh = Buffer(settings.most_showings)
        if self._working is None or not len(positions):
            return
        random = np.random.default_rng([self._settings.seed, state.updates])
        epochs = self._settings.drift.epochs if self._drifted else settings.epochs
        # After drift the old world teaches the wrong things: what is recent comes along instead.
        count = round(len(positions) * settings.replay)
        old = self._replay.newest(settings.recent) if self._drifted else self._replay.sample(count, random)
        parts = [part for part in (old, fresh) if len(part)]
        self._working.update(Examples.joined(parts), epochs, self._settings.seed + state.updates)
        self._replay.add(fresh, positions)
        state.updates += 1
        state.since_proposal += len(positions)
        self._waiting_s = self._clock()

    def _forget(self) -> None:
        """Drops what the log has no more: users who were deleted."""
        buffers = (self._fresh, self._replay, self._held)
        users = {user for buffer in buffers for user in buffer.examples.user_ids.tolist() if user}
        oldest = self._store.oldest_impressions(self._settings.tenant, sorted(users))
        gone = {
            user
            for buffer in buffers
            for user, stays in zip(
                buffer.examples.user_ids.tolist(), still_there(buffer.examples, buffer.positions, oldest), strict=True
            )
            if not stays
        }
        for buffer in buffers:
            buffer.forget(oldest)
        for user in gone:
            self._showings.forget(user)

    def _begin_anew_for(self, vector_version: str, examples: Examples) -> None:
        """A working copy where there is none yet; another one, and empty buffers, when vectors are another model's."""
        if self._working is not None and self._working.vector_version == vector_version:
            return
        settings = self._settings.teaching
        if self._working is not None:
            _log.warning("vectors of another model; learning begins anew", model_version=vector_version)
            self._fresh, self._held = Buffer(settings.most_showings), Buffer(settings.held_recent)
            self._replay = Buffer(settings.recent, settings.reservoir)
        self._working = self._untaught(examples.dimensions, vector_version)

    def _count(self, taken: Taken, stays: np.ndarray, examples: Examples) -> None:
        rollout, state = self._registry.rollout(), self._state
        if rollout.other is None:
            return
        if state.trial != rollout.trial:
            state.trial, state.arms = rollout.trial, {}
        r = examples.showing_count
        shown = np.bincount(examples.showing, minlength=r)
        clicks, purchases = (np.bincount(examples.showing, of, r) for of in (examples.click, examples.purchase))
        for row, at in enumerate(stays.tolist()):
            who, version = taken.whom[at], taken.versions[at]
            if who and examples.shown_s[row] >= rollout.since_s and version in (rollout.current, rollout.other):
                state.arms.setdefault(version, Arm()).add(who, int(shown[row]), clicks[row], purchases[row])

    def _watch_over(self) -> None:
        """Takes the next step of a trial when it is due."""
        rollout = self._registry.rollout()
        if rollout.other is None:
            return
        arms = self._state.arms if self._state.trial == rollout.trial else {}
        counts = self._store.counts(self._settings.tenant, rollout.trial)
        decision = decide(rollout, counts, arms, self._settings.trial)
        if decision.kind is None:
            return
        version = rollout.current if rollout.challenger is None else rollout.challenger
        trial = self._settings.trial

        def change(now: Rollout) -> Rollout:
            if now.trial != rollout.trial:
                raise ValueError("somebody else has taken a step meanwhile")
            if decision.kind is StepKind.SHARE:
                return now.with_share(version, trial.share)
            if decision.kind is StepKind.PROMOTED:
                return now.promoted(version, trial.holdback)
            return now.alone() if decision.kind is StepKind.SETTLED else now.rolled_back()

        try:
            self._registry.take_step(decision.kind, version, change, decision.reason, decision.figures)
        except ValueError as error:
            _log.info("a step was not taken", step=decision.kind.value, reason=str(error))
            return
        _log.info("step", step=decision.kind.value, version=version, reason=decision.reason)
        if decision.kind is StepKind.ROLLED_BACK:
            self._go_back()

    def _go_back(self) -> None:
        """What led to a version that fell is not built upon."""
        network = self._current_network()
        if network is None and self._working is not None:
            network = self._untaught(self._working.settings.dimensions, self._working.vector_version)
            if len(self._replay):
                network.update(self._replay.examples, _EPOCHS_ANEW, self._settings.seed)
        self._working, self._drifted, self._state.since_proposal = network, {}, 0

    def _propose(self) -> None:
        """A version of the working copy goes to the registry, and into shadow where it beats the current one."""
        rollout, working = self._registry.rollout(), self._working
        self._forget()
        is_early = rollout.other is not None or len(self._held) < self._settings.guardrail.least_held
        if is_early or working is None or not len(self._replay):
            return
        reason = f"drift: {', '.join(self._drifted)}" if self._drifted else "new showings"
        try:
            verdict = self._compared(working)
        except ValueError as error:
            _log.info("nothing is proposed", reason=str(error))
            return
        version = self._registry.publish(working.save, self._about(working, rollout, verdict))
        figures = verdict.figures() | {"held_showings": len(self._held)}
        self._registry.take_step(StepKind.PROPOSED, version, reason=reason, figures=figures)
        if verdict.passed:
            self._registry.take_step(StepKind.SHADOW, version, lambda now: now.with_shadow(version), verdict.reason)
        else:
            self._registry.take_step(StepKind.REFUSED, version, reason=verdict.reason, figures=figures)
        self._registry.prune(self._settings.keep_versions)
        self._drifted, self._state.since_proposal = {}, 0

    def _compared(self, working: LearnableRanker) -> Verdict:
        current: Predictor | None = self._current_network()
        if current is None or current.vector_version != working.vector_version:  # type: ignore[attr-defined]
            current = ScoringFunction(self._weights, self._replay.examples)
        return compare(self._held.examples, current, working, self._settings.guardrail, self._state.updates)

    def _about(self, working: LearnableRanker, rollout: Rollout, verdict: Verdict) -> dict[str, object]:
        shown = self._replay.examples.shown_s
        return {
            "created_s": self._clock(), "parent": rollout.current,
            "metrics": {name: each.challenger for name, each in verdict.differences.items()},
            "data": {"showings_seen": working.showings_seen, "to_position": self._showings.position,
                     "recent_from_s": float(shown.min()), "recent_to_s": float(shown.max())},
            "features": {"vector_version": working.vector_version},
            "settings": self._settings.model_dump(mode="json", include={"teaching", "drift", "guardrail", "seed"})
            | {"training": asdict(working.training), "network": asdict(working.settings)},
        }  # fmt: skip

    def _current_network(self) -> LearnableRanker | None:
        current = self._registry.rollout().current
        return LearnableRanker.load(self._registry.path(current)) if current else None

    def _untaught(self, dimensions: int, vector_version: str) -> LearnableRanker:
        return LearnableRanker(
            NetworkSettings(dimensions), vector_version=vector_version, seed=self._settings.seed
        )

    def _committed(self) -> int:
        return self._store.committed(self._settings.tenant, self._settings.group).get("impressions", 0)

    def _is_due(self, now_s: float) -> bool:
        return now_s - self._saved_s >= self._settings.teaching.checkpoint_s
