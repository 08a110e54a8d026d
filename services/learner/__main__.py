"""Trains on the ranker's event log until it is stopped (SIGTERM, SIGINT).

The journal in its folder and the registry's log (`kairos models list`) record what it did. docs/reference/metrics.md
describes its metrics. Settings: KAIROS_LEARNER_*, and KAIROS_RANKER_* for the log and the registry. Beside a suite on
this machine, KAIROS_SUITE_DATA_DIR is the folder of both.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

import structlog

from services.common.errors import InvalidArgument
from services.common.models.registry import ModelRegistry
from services.common.models.text_version import FOLDER as TEXTS
from services.common.settings import load_settings
from services.common.telemetry import configure_telemetry
from services.learner.item_vectors import ItemVectorKeeper
from services.learner.learner import Learner
from services.learner.metrics import LearnerMetrics
from services.learner.settings import LearnerSettings
from services.learner.state import StateFolder
from services.learner.text_trials import GatewayCollections
from services.ranker.models.served_shoppers import FOLDER as SHOPPERS
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_store

# After a failure, for example of the store, the time until the next attempt.
_PAUSE_S = 2.0

_log = structlog.get_logger("kairos.learner")


def main() -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    argparse.ArgumentParser("python -m services.learner", description=__doc__).parse_args()
    _use_folder_of_suite()
    # torch reads it when it is imported, which happens when there is something to train.
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        settings, ranker = load_settings(LearnerSettings), load_settings(RankerSettings)
        configure_telemetry("learner", settings.telemetry)
        os.nice(settings.niceness)
        with StateFolder(settings.data_dir).alone():
            metrics = LearnerMetrics()
            metrics.serve(settings.metrics)
            run(settings, ranker, metrics, stop)
    except (InvalidArgument, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _use_folder_of_suite() -> None:
    """Without folders of their own, learner and ranker use those of the suite, as `kairos up` gives them."""
    if not (suite := os.environ.get("KAIROS_SUITE_DATA_DIR")):
        return
    for service in ("learner", "ranker"):
        prefix = f"KAIROS_{service.upper()}_"
        if f"{prefix}CONFIG" not in os.environ:
            os.environ.setdefault(f"{prefix}DATA_DIR", str(Path(suite) / service))


def run(settings: LearnerSettings, ranker: RankerSettings, metrics: LearnerMetrics, stop: threading.Event) -> None:
    """Until `stop`. A failure is logged, and a new learner continues from what was saved."""
    registry, shoppers, texts = (_registry(ranker, settings.tenant, *below) for below in ((), (SHOPPERS,), (TEXTS,)))
    refreshed_s = -math.inf
    collections = GatewayCollections(settings.gateway)
    vectors = ItemVectorKeeper(shoppers, settings.gateway, texts=texts)
    while not stop.is_set():
        try:
            store = build_store(ranker)
            learner = Learner(
                store,
                registry,
                shoppers,
                ranker.serving_weights,
                settings,
                metrics,
                vectors=vectors if settings.item_vectors_s else None,
                texts=texts,
                collections=collections,
            )
            _log.info("learning", group=settings.group, tenant=settings.tenant)
            while not stop.wait(settings.poll_s):
                if ranker.registry_url and time.monotonic() - refreshed_s > ranker.registry_poll_s:
                    # A mirror: what others have written on the object store.
                    registry.repair()
                    shoppers.repair()
                    texts.repair()
                    refreshed_s = time.monotonic()
                learner.turn()
            learner.save()
            store.close()
        except Exception:
            _log.exception("the learner failed; a new one continues from what was saved")
            stop.wait(_PAUSE_S)


def _registry(ranker: RankerSettings, *names: str) -> ModelRegistry:
    if not ranker.registry_url:
        return ModelRegistry(ranker.models_dir.joinpath(*names))
    # Imported here: without an object store, fsspec is not needed.
    from services.common.models.registry_mirror import registry_at

    # Text versions have some 200 MB each, and no new one is made here.
    return registry_at(ranker.models_dir, ranker.registry_url, *names, everything=TEXTS not in names)


if __name__ == "__main__":
    sys.exit(main())
