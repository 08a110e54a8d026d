"""Runs Prometheus during the demo, if it is installed. It scrapes the gateway, the learner and the price publisher."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from ops.settings import LOOPBACK

MONITORING = Path(__file__).parents[1] / "deploy" / "monitoring"


@contextlib.contextmanager
def prometheus(metrics: str, folder: Path) -> Iterator[str | None]:
    """Runs Prometheus and gives its address. It scrapes the URL `metrics`. None if there is no command, or no rules."""
    command = shutil.which("prometheus")
    if command is None or not MONITORING.is_dir():
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yaml").write_text(config_for(metrics))
    with socket.create_server((LOOPBACK, 0)) as free:
        address = f"{LOOPBACK}:{free.getsockname()[1]}"
    arguments = [
        f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("ab") as log:
        process = subprocess.Popen([command, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def config_for(metrics: str) -> str:
    """deploy/monitoring/prometheus.yaml for a gateway with its metrics at the URL `metrics`."""
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["rule_files"] = [str(MONITORING / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [urlsplit(metrics).netloc]}]
    return yaml.safe_dump(config)
