"""Prometheus during the demo."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ops.watching import config_for, prometheus


def test_it_scrapes_the_gateway_that_runs() -> None:
    """The configuration has the gateway's address and existing rule files."""
    config = yaml.safe_load(config_for("http://127.0.0.1:12345/metrics"))
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:12345"]}]
    assert all(yaml.safe_load(Path(file).read_text())["groups"] for file in config["rule_files"])


def test_it_runs_as_long_as_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus is started with its configuration and ended; without the command nothing is started."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", str(bin_folder))
    with prometheus("http://127.0.0.1:1/metrics", tmp_path / "var") as address:
        assert address is None
    command = bin_folder / "prometheus"
    command.write_text('#!/bin/sh\necho "$@"\nexec /bin/sleep 60\n')
    command.chmod(0o755)
    with prometheus("http://127.0.0.1:1/metrics", tmp_path / "var") as address:
        assert address is not None
        log = tmp_path / "var" / "prometheus.log"
        while not log.read_text():
            pass
    assert f"--web.listen-address={address.removeprefix('http://')}" in log.read_text()
    assert (tmp_path / "var" / "prometheus.yaml").is_file()
