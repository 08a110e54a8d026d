"""Dashboards and alerts query exported metrics only, and each alert has its section in the runbook."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
import yaml
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from deploy.checks.build import built
from deploy.monitoring.__main__ import files
from deploy.monitoring.panels import STAGES, dashboards
from deploy.monitoring.slos import SLOS, WINDOWS, anchor, rule_groups
from kairos.common.v1 import common_pb2, event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from services.assistant.metrics import MEASURES as OF_ASSISTANT
from services.common.models.rollout import StepKind
from services.control.metrics import ControlMetrics
from services.gateway.domain.budget import Stage
from services.gateway.metrics import Metrics
from services.gateway.settings import GatewaySettings
from services.learner.drift import CLICKS, LOSS
from services.learner.metrics import LearnerMetrics
from services.learner.settings import LearnerSettings
from services.pricing.domain.guardrails import Guardrail
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.metrics import MEASURES as OF_PRICING
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.settings import PricePublisherSettings
from services.query_encoder.metrics import MEASURES as OF_QUERY_ENCODER
from services.ranker.metrics import MEASURES as OF_RANKER
from services.retrieval.metrics import MEASURES as OF_RETRIEVAL
from services.sponsored.biller.metrics import BillerMetrics
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.metrics import MEASURES as OF_SPONSORED
from tests.needed import needs

ROOT = Path(__file__).parents[3]
RULES: list[dict[str, Any]] = [rule for group in rule_groups()["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
# Kubernetes' name of a disk's claim in the kubelet's metrics.
CLAIM = "persistentvolumeclaim"
# Of the kubelet, kube-state-metrics, redis_exporter and Qdrant, as their documentation names them.
EXTERNAL = {
    "kubelet_volume_stats_used_bytes": frozenset({CLAIM}),
    "kubelet_volume_stats_capacity_bytes": frozenset({CLAIM}),
    "kube_job_failed": frozenset({"namespace", "job_name", "condition"}),
    "kube_job_created": frozenset({"namespace", "job_name"}),
    "kube_cronjob_created": frozenset({"namespace", "cronjob"}),
    "kube_cronjob_status_last_successful_time": frozenset({"namespace", "cronjob"}),
    "kube_statefulset_replicas": frozenset({"namespace", "statefulset"}),
    "kube_statefulset_status_replicas_ready": frozenset({"namespace", "statefulset"}),
    "redis_aof_last_write_status": frozenset(),
    "redis_aof_last_bgrewrite_status": frozenset(),
    "collection_dead_replicas": frozenset(),
}
# What Ray adds to the metrics of a replica: ray/serve/metrics.py.
OF_A_REPLICA = {"deployment", "replica", "application"}


def expressions() -> dict[str, str]:
    """By their place."""
    found = {f"{rule.get('alert') or rule['record']} {number}": rule["expr"] for number, rule in enumerate(RULES)}
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                found[f"{name}: {panel['title']} {target['refId']}"] = target["expr"]
    return found


@cache
def exported() -> dict[str, frozenset[str]]:
    """Labels of each series: of our own processes, of Ray's own source, of our recording rules."""
    series: dict[str, frozenset[str]] = {}
    gateway = Metrics()
    publisher = PublisherMetrics()
    prices = (publisher, publisher.published, LearningMetrics())
    own = (gateway, gateway.published, *prices, BillerMetrics(), LearnerMetrics(), ControlMetrics())
    for metric in (metric for metrics in own for metric in vars(metrics).values()):
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels = frozenset(metric._labelnames)  # prometheus_client has no public name for them
            if isinstance(metric, Histogram):
                series |= {f"{family.name}_{part}": labels for part in ("count", "sum")}
                series[f"{family.name}_bucket"] = labels | {"le"}
            else:
                series[f"{family.name}_total" if family.type == "counter" else family.name] = labels
    series |= dict(rays())
    # With the labels that Ray gives each process.
    of_stages = (*OF_QUERY_ENCODER, *OF_RETRIEVAL, *OF_RANKER, *OF_PRICING, *OF_SPONSORED, *OF_ASSISTANT)
    series |= {f"ray_{name}": frozenset({"WorkerId"}) for name in of_stages}
    series |= EXTERNAL
    return series | {slo.series(window): frozenset() for slo in SLOS for window in WINDOWS}


def rays() -> Iterator[tuple[str, frozenset[str]]]:
    """Each `metrics.Gauge("serve_…", tag_keys=(…))` in the source of the Ray that is installed."""
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    serve = Path(spec.origin).parent / "serve" / "_private"
    for file in ("replica.py", "deployment_state.py", "autoscaling_state.py"):
        for node in ast.walk(ast.parse((serve / file).read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            name = str(node.args[0].value) if isinstance(node.args[0], ast.Constant) else ""
            if node.func.attr in ("Gauge", "Counter", "Histogram") and name.startswith("serve_"):
                ending = {"Gauge": "", "Counter": "_total", "Histogram": "_bucket"}[node.func.attr]
                labels = {str(label.value) for keyword in node.keywords if keyword.arg == "tag_keys"
                          for label in ast.walk(keyword.value) if isinstance(label, ast.Constant)}  # fmt: skip
                yield f"ray_{name}{ending}", frozenset(labels | OF_A_REPLICA | {"le"})


def problems(expression: str) -> Iterator[str]:
    """What an expression queries and the code does not export. Raises ValueError where it is no PromQL."""
    parsed = promql_parser.parse(expression)
    selectors = list(_selectors(parsed))
    for selector in selectors:
        name = selector.name or ""
        labels = exported().get(name)
        if labels is None:
            yield f"{name} is not exported"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in labels:
                yield f"{name} has no label {matcher.name}"
            elif unknown := set(matcher.value.split("|")) - values(name, matcher.name):
                yield f"{name}: {matcher.name} is never {unknown}"
    known = {label for selector in selectors for label in exported().get(selector.name or "", ())}
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        if unknown := {label.strip() for label in grouping.split(",")} - known:
            yield f"nothing has the labels {unknown}"


def _selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    for name in ("lhs", "rhs", "expr", "param"):
        if (child := getattr(node, name, None)) is not None:
            yield from _selectors(child)
    for child in getattr(node, "args", None) or ():
        yield from _selectors(child)


def values(metric: str, label: str) -> set[str]:
    """Those that the code can give a label."""
    offers = {name.removeprefix("PRICE_REASON_").lower() for name in pricing_pb2.PriceReason.keys()}  # noqa: SIM118
    known: dict[str, set[str]] = {
        "method": {method.name for method in gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods},
        "code": {code.name for code in grpc.StatusCode},
        "stage": {stage.value for stage in Stage},
        "limiter": {"gateway", *(f"{stage.value}[.].*" for stage in Stage)},
        "application": {stage.value for stage in Stage},
        "reason": offers if "offers" in metric else set(common_pb2.DegradationReason.keys()),
        "type": {name.removeprefix("EVENT_TYPE_").lower() for name in event_pb2.EventType.keys()},  # noqa: SIM118
        "change": {"none", "lower", "higher"},
        "attribution": {"none", "attributed", "located"},
        "ranking": {"stored", "browsed", "recomputed"},
        "step": {kind.value for kind in StepKind},
        "measure": {LOSS, CLICKS},
        # Of a shopper model.
        "version": {"shopper/.*"},
        CLAIM: {".*kairos-.*"},
        # Parts of patterns: test_alerts_name_objects_of_the_manifests compares them with the names.
        "job_name": {"kairos-(backup", "postgres-backup", "qdrant-snapshots", "train)-.*"},
        "cronjob": {"kairos-(backup", "postgres-backup", "qdrant-snapshots)"},
        "statefulset": {"kairos-(redis", "gcs-redis", "qdrant", "postgres)"},
        "condition": {"true"},
        "window": {"now", "before"},
        "kind": {"published", "withdrawn"},
        "guardrail": {guardrail.name.lower() for guardrail in Guardrail},
        "at": {"price", "list_price", "best_price"},
        "le": {str(float(bound)) for bound in Metrics().budget_used._upper_bounds},
    }
    return known[label]


@pytest.mark.parametrize("where", expressions())
def test_queries_use_exported_metrics(where: str) -> None:
    """Each expression is PromQL, over metrics, labels and values that the code has."""
    assert list(problems(expressions()[where])) == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("sum(rate(kairos_gateway_request_total[5m]))", "is not exported"),
        ('kairos_gateway_requests_total{stage="ranker"}', "no label stage"),
        ('kairos_gateway_requests_total{method=~"Search|Recommended"}', "never {'Recommended'}"),
        ("sum by (stages) (kairos_gateway_circuit_open)", "nothing has the labels {'stages'}"),
        ('kairos_gateway_budget_used_bucket{le="1"}', "never {'1'}"),
        ('kairos_gateway_degradations_total{reason="unknown_language"}', "never {'unknown_language'}"),
        ('kairos_learner_drifts_total{measure="loss"}', "never {'loss'}"),
        ("ray_serve_replica_processing_query", "is not exported"),
        ("kairos:latency:error_ratio_4h", "is not exported"),
    ],
)
def test_a_mistake_is_found(expression: str, problem: str) -> None:
    """A misspelt metric, label, value or rule is reported."""
    assert [found for found in problems(expression) if problem in found]


def test_a_query_that_is_none_is_found() -> None:
    """Half an expression does not pass."""
    with pytest.raises(ValueError, match="unclosed"):
        list(problems("sum(rate(kairos_gateway_requests_total[5m])"))


def test_the_files_are_what_the_code_says() -> None:
    """`python -m deploy.monitoring` was run after the last change."""
    stale = [path.name for path, text in files() if not path.is_file() or path.read_text() != text]
    assert stale == []


def test_prometheus_scrapes_where_metrics_are() -> None:
    """prometheus.yaml has the default addresses of the metrics of gateway, publisher, biller and learner."""
    content = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yaml").read_text())
    found = {job["job_name"]: job["static_configs"][0]["targets"] for job in content["scrape_configs"]}
    gateway, learner = GatewaySettings().metrics, LearnerSettings().metrics
    publisher, biller = PricePublisherSettings().metrics, BillerSettings().metrics
    assert found == {
        "kairos-gateway": [f"{gateway.host}:{gateway.port}"],
        "kairos-price-publisher": [f"{publisher.host}:{publisher.port}"],
        "kairos-biller": [f"{biller.host}:{biller.port}"],
        "kairos-learner": [f"{learner.host}:{learner.port}"],
    }


def test_every_service_has_a_dashboard() -> None:
    """One each, one for the shop, one for the learner; kustomize takes them all along."""
    assert dashboards().keys() == {"shop", "gateway", "learner", "control", *STAGES}
    assert {stage.value for stage in Stage} == set(STAGES)
    text = (ROOT / "deploy/monitoring/kustomization.yaml").read_text()
    assert set(re.findall(r"dashboards/(\w+)\.json", text)) == dashboards().keys()


def test_every_alert_has_its_page() -> None:
    """`runbook_url` leads to a heading of docs/how-to/runbook.md, and the runbook has no section of a removed alert."""
    text = (ROOT / "docs/how-to/runbook.md").read_text()
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in text.splitlines()
                if line.startswith("#")}  # fmt: skip
    for alert in ALERTS:
        path, _, wanted = alert["annotations"]["runbook_url"].partition("#")
        assert (ROOT / path).is_file()
        assert wanted in headings
    named = {heading for heading in headings if heading.startswith("kairos") and " " not in heading}
    assert named <= {anchor(alert["alert"]) for alert in ALERTS}


@pytest.mark.parametrize(
    ("label", "kind", "covered"),
    [
        ("cronjob", "CronJob", {"kairos-backup", "kairos-postgres-backup", "kairos-qdrant-snapshots"}),
        ("statefulset", "StatefulSet", {"kairos-redis", "kairos-gcs-redis", "kairos-qdrant", "kairos-postgres"}),
    ],
)
def test_alerts_name_objects_of_the_manifests(label: str, kind: str, covered: set[str]) -> None:
    """The names that an alert selects are those of the overlay `production` with its options."""
    needs("kubectl")
    names = {item["metadata"]["name"] for item in built("production-with-options") if item["kind"] == kind}
    patterns = {found for alert in ALERTS for found in re.findall(rf'{label}=~"(.*?)"', alert["expr"])}
    assert patterns
    for pattern in patterns:
        assert {name for name in names if re.fullmatch(pattern, name)} == covered


def test_an_alert_needs_both_windows() -> None:
    """Each SLO has four alerts, and each needs a long window and a short one."""
    for slo in SLOS:
        burning = [rule["expr"] for rule in ALERTS if rule["alert"] == slo.alert]
        assert len(burning) == 4
        assert all(expression.count(f"kairos:{slo.name}:error_ratio_") == 2 for expression in burning)
