"""`python -m services.learner` as a process: what it exports while it learns, and what it leaves when it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_store
from tests.e2e.collector import collecting
from tests.unit.learner.logs import STEP_S, Shop

PAGES = 80
_PATIENCE_S = 60.0


def test_a_learner_is_seen_from_outside(tmp_path: Path) -> None:
    """Started in the folder of a suite, it has caught up with the ranker's log there as HTTP shows; stopped, it ends
    with 0 and its spans are at the collector.
    """
    settings = RankerSettings(data_dir=tmp_path / "ranker")
    store = build_store(settings)
    Shop(store, now_s=time.time() - 2 * 3_600 - PAGES * STEP_S).show(PAGES)
    store.close()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with collecting() as collector:
        environment = os.environ | {
            "KAIROS_SUITE_DATA_DIR": str(tmp_path),
            "KAIROS_LEARNER_POLL_S": "0.1",
            "KAIROS_LEARNER_METRICS__PORT": str(port),
            "KAIROS_LEARNER_TRAINING__CHECKPOINT_S": "0",
            "KAIROS_LEARNER_TRAINING__LEAST_CLICKED": "0",
            "KAIROS_LEARNER_TELEMETRY__OTLP_ENDPOINT": f"127.0.0.1:{collector.port}",
        }
        process = subprocess.Popen([sys.executable, "-m", "services.learner"], env=environment, stderr=subprocess.PIPE)
        try:
            began = time.time()
            while (seen := scraped(port)).get("kairos_learner_learned_up_to_timestamp_seconds", 0.0) < began:
                assert process.poll() is None
                assert time.time() < began + _PATIENCE_S, seen
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=_PATIENCE_S)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, said.decode()
    assert list((tmp_path / "learner").iterdir())
    assert (seen["kairos_learner_pages_total"], seen["kairos_learner_updates_total"]) == (PAGES, 1)
    assert {("kairos-learner", name) for name in ("test", "learn", "save")} <= {span[:2] for span in collector.spans}


def scraped(port: int) -> dict[str, float]:
    """Value by name, of what has no labels; nothing while no server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except OSError:
        return {}
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}
