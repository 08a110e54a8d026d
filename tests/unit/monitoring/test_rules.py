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
    return promtool(folder, inputs, cases)


def promtool(
    folder: Path, inputs: list[dict[str, str]], cases: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """Evaluates the rules over `inputs`, one value a minute."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_groups()))
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


CLAIM = '{persistentvolumeclaim="data-kairos-redis-0"}'
# Of alerts without an error budget: series that make it fire, the labels of the alert, and series that do not.
CONDITIONS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {
    "KairosDiskFilling": (
        {f"kubelet_volume_stats_used_bytes{CLAIM}": "90x80", f"kubelet_volume_stats_capacity_bytes{CLAIM}": "100x80"},
        {"persistentvolumeclaim": "data-kairos-redis-0"},
        {f"kubelet_volume_stats_used_bytes{CLAIM}": "79x80", f"kubelet_volume_stats_capacity_bytes{CLAIM}": "100x80"},
    ),
    "KairosDiskFull": (
        {f"kubelet_volume_stats_used_bytes{CLAIM}": "96x80", f"kubelet_volume_stats_capacity_bytes{CLAIM}": "100x80"},
        {"persistentvolumeclaim": "data-kairos-redis-0"},
        {f"kubelet_volume_stats_used_bytes{CLAIM}": "94x80", f"kubelet_volume_stats_capacity_bytes{CLAIM}": "100x80"},
    ),
    "KairosJobFailed": (
        {'kube_job_failed{namespace="kairos",job_name="kairos-backup-1",condition="true"}': "1x80",
         'kube_job_created{namespace="kairos",job_name="kairos-backup-1"}': "0x80"},
        {"job_name": "kairos-backup-1"},
        {'kube_job_failed{namespace="kairos",job_name="kairos-backup-1",condition="true"}': "0x80",
         'kube_job_created{namespace="kairos",job_name="kairos-backup-1"}': "0x80"},
    ),
    # The first evaluation is at 1970-01-01: a success of 35 hours before it is old after 70 minutes.
    "KairosBackupOld": (
        {'kube_cronjob_status_last_successful_time{namespace="kairos",cronjob="kairos-backup"}': "-127000x80",
         'kube_cronjob_created{namespace="kairos",cronjob="kairos-backup"}': "-900000x80"},
        {"cronjob": "kairos-backup"},
        {'kube_cronjob_status_last_successful_time{namespace="kairos",cronjob="kairos-backup"}': "-100000x80",
         'kube_cronjob_created{namespace="kairos",cronjob="kairos-backup"}': "-900000x80"},
    ),
    "KairosEngineDown": (
        {'kube_statefulset_replicas{namespace="kairos",statefulset="kairos-qdrant"}': "3x80",
         'kube_statefulset_status_replicas_ready{namespace="kairos",statefulset="kairos-qdrant"}': "2x80"},
        {"statefulset": "kairos-qdrant"},
        {'kube_statefulset_replicas{namespace="kairos",statefulset="kairos-qdrant"}': "3x80",
         'kube_statefulset_status_replicas_ready{namespace="kairos",statefulset="kairos-qdrant"}': "3x80"},
    ),
    "KairosControlDown": (
        {'kairos_control_database_up{pod="a"}': "1x80", 'kairos_control_database_up{pod="b"}': "0x80"},
        {},
        {'kairos_control_database_up{pod="a"}': "1x80", 'kairos_control_database_up{pod="b"}': "1x80"},
    ),
    "KairosSnapshotBehind": (
        {'kairos_control_snapshot_version{tenant="default"}': "7x80",
         'kairos_gateway_snapshot_version{tenant="default",pod="a"}': "7x80",
         'kairos_gateway_snapshot_version{tenant="default",pod="b"}': "6x80"},
        {"tenant": "default"},
        {'kairos_control_snapshot_version{tenant="default"}': "7x80",
         'kairos_gateway_snapshot_version{tenant="default",pod="a"}': "7x80"},
    ),
    "KairosAuditNotArchived": (
        {'kairos_control_audit_archive_failures_total{pod="a"}': "0+1x80"},
        {},
        {'kairos_control_audit_archive_failures_total{pod="a"}': "0x30 1x50"},
    ),
    "KairosAuditRepeated": (
        {'kairos_control_audit_duplicates_total{pod="a"}': "0+300x80",
         'kairos_control_audit_entries_total{pod="a"}': "0+200x80"},
        {},
        {'kairos_control_audit_duplicates_total{pod="a"}': "0+20x80",
         'kairos_control_audit_entries_total{pod="a"}': "0+200x80"},
    ),
    # A limit of changes may hold every price; a floor not a fifth of them.
    "KairosGuardrailsHold": (
        {'kairos_price_publisher_decisions_total{guardrail="none"}': "0+3x80",
         'kairos_price_publisher_decisions_total{guardrail="price_floor"}': "0+1x80"},
        {},
        {'kairos_price_publisher_decisions_total{guardrail="daily_change"}': "0+5x80",
         'kairos_price_publisher_decisions_total{guardrail="price_floor"}': "0+1x80"},
    ),
    # 70 minutes are 4,200 s: the time of the last look is that of the beginning.
    "KairosPriceLearningBehind": (
        {"kairos_price_learning_up_to_date_timestamp_seconds": "1x80"},
        {},
        {"kairos_price_learning_up_to_date_timestamp_seconds": "0+60x80"},
    ),
    "KairosPricePoliciesRefused": (
        {"kairos_price_publisher_policies_valid": "0x80"},
        {},
        {"kairos_price_publisher_policies_valid": "1x80",
         'kairos_price_publisher_refused_snapshots_total{pod="a"}': "3x80"},
    ),
    "KairosPriceReviewsFail": (
        {'kairos_price_publisher_review_failures_total{pod="a"}': "0+1x80"},
        {},
        {'kairos_price_publisher_review_failures_total{pod="a"}': "0x30 1x50"},
    ),
    "KairosListPriceOnly": (
        {'kairos_price_publisher_list_price_only{pod="a"}': "1x80"},
        {},
        {'kairos_price_publisher_list_price_only{pod="a"}': "0x80"},
    ),
    "KairosBillsBehind": (
        {"kairos_biller_up_to_date_timestamp_seconds": "1x80"},
        {},
        {"kairos_biller_up_to_date_timestamp_seconds": "0+60x80"},
    ),
    "KairosAdsOnNoBill": (
        {"kairos_biller_unknown_campaign_impressions": "3x80"},
        {},
        {"kairos_biller_unknown_campaign_impressions": "3x50 0x30"},
    ),
    "KairosBudgetsNotLeased": (
        {'ray_kairos_sponsored_lease_failures{pod="a"}': "0+30x80",
         'ray_kairos_sponsored_lease_failures{pod="b"}': "0x80"},
        {},
        {'ray_kairos_sponsored_lease_failures{pod="a"}': "0x30 40x50"},
    ),
    "KairosOutboxWaits": (
        {'kairos_price_publisher_outbox_oldest_age_seconds{pod="a"}': "0+60x80",
         'ray_kairos_pricing_outbox_oldest_age_seconds{pod="b"}': "1x80"},
        {},
        {'ray_kairos_pricing_outbox_oldest_age_seconds{pod="a"}': "1x80"},
    ),
    "KairosOutboxFull": (
        {'ray_kairos_pricing_outbox_fill_ratio{pod="a"}': "0.81x80"},
        {},
        {'ray_kairos_pricing_outbox_fill_ratio{pod="a"}': "0.4x80"},
    ),
    "KairosRedisNotSaved": (
        {"redis_aof_last_write_status": "0x80", "redis_aof_last_bgrewrite_status": "1x80"},
        {},
        {"redis_aof_last_write_status": "1x80", "redis_aof_last_bgrewrite_status": "1x80"},
    ),
    "KairosQdrantReplicaDead": (
        {'collection_dead_replicas{pod="kairos-qdrant-0"}': "1x80",
         'collection_dead_replicas{pod="kairos-qdrant-1"}': "0x80"},
        {},
        {'collection_dead_replicas{pod="kairos-qdrant-0"}': "0x80",
         'collection_dead_replicas{pod="kairos-qdrant-1"}': "0x80"},
    ),
}  # fmt: skip


def condition_outcome(
    folder: Path, alert: str, series: dict[str, str], expected: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """Succeeds where `alert` fires exactly as `expected` after 70 minutes of these `series`."""
    case = {"alertname": alert, "eval_time": "70m", "exp_alerts": expected}
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    return promtool(folder, inputs, [case])


@pytest.mark.parametrize("alert", CONDITIONS)
def test_a_condition_fires_its_alert(alert: str, tmp_path: Path) -> None:
    """The alert of disks, jobs and engines fires with what is wrong in its labels and its summary."""
    series, labels, _ = CONDITIONS[alert]
    (rule,) = (rule for rule in ALERTS if rule["alert"] == alert)
    summary = rule["annotations"]["summary"]
    for label, value in labels.items():
        summary = summary.replace(f"{{{{ $labels.{label} }}}}", value)
    fired = {"exp_labels": labels | rule["labels"], "exp_annotations": rule["annotations"] | {"summary": summary}}
    outcome = condition_outcome(tmp_path, alert, series, [fired])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("alert", CONDITIONS)
def test_without_its_condition_an_alert_is_silent(alert: str, tmp_path: Path) -> None:
    """A disk with room, a job that succeeded, an engine with all pods: no alert."""
    outcome = condition_outcome(tmp_path, alert, CONDITIONS[alert][2], [])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_backup_that_never_succeeded_is_old(tmp_path: Path) -> None:
    """Without a success the time counts from the creation of the job's schedule."""
    series = {'kube_cronjob_created{namespace="kairos",cronjob="kairos-backup"}': "-200000x80"}
    assert condition_outcome(tmp_path, "KairosBackupOld", series, []).returncode == 1


def test_an_unexpected_alert_is_a_failure(tmp_path: Path) -> None:
    """promtool fails where an alert fires that the case does not expect: the tests above can fail."""
    bad, good = EVENTS["pricing"]
    assert outcome_of(tmp_path, {bad: "0+40x80", good: "0+60x80"}, []).returncode == 1
