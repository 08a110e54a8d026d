"""The steps of `kairos models` for text models: the registry's pointer and the collections change together.

    promote     shadow (the encoder loads the version) ──► staged collection filled and checked
                ──► share, or: collections switched ──► promoted
    rollback    the earlier collection completed, if it is not ──► collections switched ──► rolled back

Between any two of these steps searches are answered right: the encoder puts the vector of the shopper's version first,
and retrieval answers from the collection with vectors of that version. Repeating an interrupted command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import grpc

from cli.calls import err
from cli.reembedding import Reembedding, Refused
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, Stage, StepKind
from services.common.models.text_version import PREFIX, read_text_version

# How long the encoder may take to load a version; exporting it takes half a minute.
_LOAD_S, _PAUSE_S = 300.0, 0.5
# In the figures of a step: the model version of the vectors of the settings' model.
_OF_SETTINGS = "model_of_settings"


@dataclass(frozen=True)
class TextSteps:
    """Of one tenant's registry of text models, and its collections at the gateway."""

    registry: ModelRegistry
    connection: Connection
    reason: str
    quiet: bool = False

    def promote(self, version: str, share: float) -> None:
        """Raises ValueError if the catalogue cannot be embedded; the version then stays in shadow."""
        name, now = self._model(version), self.registry.rollout()
        job = self._job(name)
        state = job.describe()
        if not state.HasField("live") and share < 1:
            raise ValueError("the catalogue is empty; import it first, or promote the version to all users")
        live = state.live.model_version
        # A rollback to the settings' model needs its name.
        of_settings = _of_settings(state)
        figures: dict[str, object] = {_OF_SETTINGS: of_settings} if of_settings else {}
        if version != now.current:
            self._make_room(now, name)
        if version not in (now.current, now.challenger):
            self._take(StepKind.SHADOW, version, lambda now: now.with_shadow(version), figures)
        figures |= self._complete(job) if live else {}
        if share >= 1:
            if live:
                job.switch()
            # To all users: a version on trial ends.
            if version != now.current or now.challenger is not None:
                self._take(StepKind.PROMOTED, version, lambda now: now.promoted(version, keep=True), figures)
        elif share > 0:
            self._take(StepKind.SHARE, version, lambda now: now.with_share(version, share), figures)
        elif self.registry.rollout().stage is not Stage.SHADOW:
            self._take(StepKind.SHADOW, version, lambda now: now.with_shadow(version))

    def rollback(self) -> None:
        """Raises ValueError if there is nothing to go back to."""
        now = self.registry.rollout()
        target, leaving = now.rolled_back().current, now.current if now.challenger is None else now.challenger
        job = self._job(self._model(target))
        if not job.model_version and now.challenger is None:
            raise ValueError(
                "the version of the settings' model is not known here; embed the catalogue by it with "
                "`kairos catalog reembed --model-version`, and repeat the command"
            )
        state = job.describe()
        if job.model_version and state.HasField("live") and state.live.model_version != job.model_version:
            is_there = state.HasField("staged") and state.staged.model_version == job.model_version
            if not is_there or state.staged.product_count != state.live.product_count:
                if target not in (now.current, now.other):
                    self._take(StepKind.SHADOW, target, lambda now: _beside(now, target))
                self._complete(job)
            job.switch()
        self._take(StepKind.ROLLED_BACK, leaving, lambda now: now.rolled_back(keep=True))

    def _complete(self, job: Reembedding) -> dict[str, object]:
        """Fills the staged collection of the job's model and checks it; gives the figures of the check. Does nothing if
        that model is live.
        """
        state = job.describe()
        if state.live.model_version == job.model_version:
            return {}
        if state.HasField("staged") and state.staged.model_version != job.model_version:
            self._job(state.staged.model_version).drop()
        self._once_loaded(job, job.begin)
        self._once_loaded(job, job.fill)
        if problems := job.check():
            raise ValueError(f"{job.model_version}: {'; '.join(problems)}; searches are answered as before")
        found = job.figures
        if not self.quiet:
            err.print(
                f"{job.embedded:,} products embedded; searches find {found.recall:.0%} of the nearest neighbours, and "
                f"{found.overlap:.0%} of these are nearest by the live model too"
            )
        return {"embedded": job.embedded, "recall": found.recall, "overlap": found.overlap}

    def _make_room(self, now: Rollout, name: str) -> None:
        """Another promotion may have been interrupted after its switch: the current version's collection is live
        again.
        """
        current = self._job(self._model(now.current))
        state = current.describe()
        is_other = state.live.model_version not in (name, current.model_version)
        if is_other and current.model_version and state.staged.model_version == current.model_version:
            current.switch()

    def _once_loaded(self, job: Reembedding, step: Callable[[], None]) -> None:
        """Replicas of the encoder load a version one after the other."""
        deadline, said = time.monotonic() + _LOAD_S, self.quiet
        while True:
            try:
                return step()
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION or time.monotonic() > deadline:
                    raise
            except Refused as error:
                raise ValueError(str(error)) from None
            if not said:
                err.print(f"waiting until the query encoder has loaded {job.model_version}")
                said = True
            time.sleep(_PAUSE_S)

    def _model(self, version: str) -> str:
        """The model version of its vectors; empty for the settings' model if no collection and no step names it."""
        if version:
            return read_text_version(self.registry.path(version)).name
        steps = reversed(self.registry.steps())
        named = (str(step.figures[_OF_SETTINGS]) for step in steps if _OF_SETTINGS in step.figures)
        return _of_settings(self._job("").describe()) or next(named, "")

    def _take(
        self,
        kind: StepKind,
        version: str,
        change: Callable[[Rollout], Rollout],
        figures: Mapping[str, object] | None = None,
    ) -> None:
        self.registry.take_step(kind, version, change, self.reason, figures)

    def _job(self, model_version: str) -> Reembedding:
        return Reembedding(self.connection, model_version, quiet=self.quiet)


def _of_settings(state: gateway_pb2.DescribeCollectionsResponse) -> str:
    """The model version of the collection whose vectors are of the settings' model; empty if there is none."""
    names = (state.live.model_version, state.staged.model_version)
    return next((name for name in names if name and not name.startswith(PREFIX)), "")


def _beside(now: Rollout, version: str) -> Rollout:
    """The encoder loads the version, which answers nobody."""
    return replace(now, other=version, stage=Stage.HOLDBACK, share=0.0)
