"""Prometheus's own promtool reads its configuration and evaluates the alert rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.__main__ import FOLDER
from deploy.monitoring.slos import SLOS, rule_groups

ALERTS = [rule for group in rule_groups()["groups"] for rule in group["rules"] if "alert" in rule]
# Of each SLO: the bad and the good events, as series of the gateway.
EVENTS = {
    "availability": ('requests_total{method="QuotePrices",code="UNAVAILABLE"}', 'requests_total{method="Q",code="OK"}'),
    "latency": ('budget_used_count{method="Search"}', 'budget_used_bucket{method="Search",le="1.0"}'),
    "wholeness": ('degraded_answers_total{method="Search"}', 'requests_total{method="Search",code="OK"}'),
    "pricing": ('offers_total{reason="fallback"}', 'offers_total{reason="list"}'),
    "impressions": ("impressions_dropped_total", 'requests_total{method="Search",code="OK"}'),
}

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of Prometheus, is not installed")


def outcome_of(
    folder: Path, series: dict[str, str], expected: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """Succeeds where exactly the `expected` alerts of all SLOs fire after 70 minutes of these `series`."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_groups()))
    cases = [
        {
            "alertname": slo.alert,
            "eval_time": "70m",
            "exp_alerts": [
                {"exp_labels": alert["labels"], "exp_annotations": alert["annotations"]}
                for alert in expected
                if alert["alert"] == slo.alert
            ],
        }
        for slo in SLOS
    ]
    inputs = [{"series": f"kairos_gateway_{name}", "values": values} for name, values in series.items()]
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": cases}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(content))
    command = ["promtool", "test", "rules", str(folder / "test.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_configuration_is_valid() -> None:
    """Prometheus takes deploy/monitoring/prometheus.yaml and the rules that it names."""
    command = ["promtool", "check", "config", str(FOLDER / "prometheus.yaml")]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("name", EVENTS)
def test_a_missed_slo_fires_its_alerts(name: str, tmp_path: Path) -> None:
    """If two of five events are bad, all alerts of that SLO fire, and no other alert."""
    bad, good = EVENTS[name]
    # Latency counts all events and the good ones.
    series = {bad: "0+100x80", good: "0+60x80"} if name == "latency" else {bad: "0+40x80", good: "0+60x80"}
    (slo,) = (slo for slo in SLOS if slo.name == name)
    outcome = outcome_of(tmp_path, series, [alert for alert in ALERTS if alert["alert"] == slo.alert])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_met_slo_fires_no_alert(tmp_path: Path) -> None:
    """If all events are good, no alert fires."""
    series = {good: "0+60x80" for _, good in EVENTS.values()} | {EVENTS["latency"][0]: "0+60x80"}
    outcome = outcome_of(tmp_path, series, [])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_an_unexpected_alert_is_a_failure(tmp_path: Path) -> None:
    """promtool fails where an alert fires that the case does not expect: the tests above can fail."""
    bad, good = EVENTS["pricing"]
    assert outcome_of(tmp_path, {bad: "0+40x80", good: "0+60x80"}, []).returncode == 1
