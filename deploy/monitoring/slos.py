"""Service level objectives of the suite, and their alert rules.

Each SLO limits the share of bad events. An alert fires when the error budget of 30 days burns too fast, over a long
window for certainty and a short one that ends the alert soon: Beyer et al., The Site Reliability Workbook (2018),
chapter 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Relative to the repository: put the address of your copy in front of it.
RUNBOOK = "docs/how-to/runbook.md"
_SHOPPER = 'method=~"Search|Recommend"'
# Faults of the suite, and overload; not mistakes of callers.
_FAULTS = 'code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|DATA_LOSS"'


@dataclass(frozen=True)
class Slo:
    """`bad` and `all` are rates over `{window}`; `objective` is the share of good ones."""

    name: str
    alert: str
    summary: str
    objective: float
    bad: str
    all: str

    def series(self, window: str) -> str:
        return f"kairos:{self.name}:error_ratio_{window}"


SLOS = (
    Slo(
        "availability", "KairosUnavailable", "Calls fail or are refused.", 0.999,
        f"sum(rate(kairos_gateway_requests_total{{{_FAULTS}}}[{{window}}]))",
        "sum(rate(kairos_gateway_requests_total[{window}]))",
    ),
    Slo(
        "latency", "KairosLate", "Answers come after the caller's budget.", 0.99,
        "sum(rate(kairos_gateway_budget_used_count[{window}]))"
        ' - sum(rate(kairos_gateway_budget_used_bucket{le="1.0"}[{window}]))',
        "sum(rate(kairos_gateway_budget_used_count[{window}]))",
    ),
    Slo(
        "wholeness", "KairosDegraded", "Answers are degraded to be on time.", 0.99,
        f"sum(rate(kairos_gateway_degraded_answers_total{{{_SHOPPER}}}[{{window}}]))",
        f"sum(rate(kairos_gateway_requests_total{{{_SHOPPER}}}[{{window}}]))",
    ),
    Slo(
        "pricing", "KairosPricesNotOnRecord", "Prices are shown without a quote on record.", 0.995,
        'sum(rate(kairos_gateway_offers_total{reason="fallback"}[{window}]))',
        "sum(rate(kairos_gateway_offers_total[{window}]))",
    ),
    Slo(
        "impressions", "KairosImpressionsLost", "Impressions are not logged: learning and CTR miss them.", 0.999,
        "sum(rate(kairos_gateway_impressions_dropped_total[{window}]))",
        f"sum(rate(kairos_gateway_requests_total{{{_SHOPPER}}}[{{window}}]))",
    ),
)  # fmt: skip

# (severity, burn rate, long window, short window): budgets of 2 %, 5 %, 10 % and 10 % are gone when they fire.
BURNS = (
    ("page", 14.4, "1h", "5m"),
    ("page", 6.0, "6h", "30m"),
    ("ticket", 3.0, "1d", "2h"),
    ("ticket", 1.0, "3d", "6h"),
)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

# The learner may be this far behind the log: some checkpoints and a long training batch.
BEHIND_S = 900

# Published prices may be this far behind the catalogue's changes. It is longer than a first walk through 100,000
# products.
PRICES_BEHIND_S = 600
SHOPPER_MODEL_OLD_S = 14 * 86_400

# From this share of memory or disk on, somebody must act; from the second one on, at once.
FILLING, FULL = 0.8, 0.95
# Seconds until the assistant's first words, without a language model.
FIRST_WORDS_S = 0.3
# Seconds that a quote may wait for control. A delivery takes one.
OUTBOX_WAITS_S = 600
# A backup a night, and half a day for one that failed and was repeated by hand.
BACKUP_OLD_S = 36 * 3_600
_BACKUPS = 'cronjob=~"kairos-(backup|postgres-backup|qdrant-snapshots)"'
_JOBS = 'job_name=~"kairos-(backup|postgres-backup|qdrant-snapshots|train)-.*"'
_ENGINES = 'statefulset=~"kairos-(redis|gcs-redis|qdrant|postgres)"'
_DISK = (
    'max by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{persistentvolumeclaim=~".*kairos-.*"}'
    ' / kubelet_volume_stats_capacity_bytes{persistentvolumeclaim=~".*kairos-.*"})'
)

# Of publishers, in a day: periods begin at midnight. Guardrails that hold prices until data or settings change. Limits
# of changes, budgets, freezes and reviews pass with time.
_DECISIONS = "sum(increase(kairos_price_publisher_decisions_total{where}[1d]))"
_LASTING = (
    '{guardrail=~"invalid_proposal|smallest_unit|maximum_increase|minimum_advertised_price|minimum_margin|price_floor'
    '|price_ceiling|maximum_discount"}'
)

# Alerts without an error budget: (alert, severity, for, expression, summary).
CONDITIONS = (
    (
        "KairosGatewayGone", "page", "2m", "absent(kairos_gateway_concurrency_limit)", "No gateway is scraped.",
    ),
    (
        "KairosStageLeftAlone", "page", "2m", "max by (stage) (kairos_gateway_circuit_open) == 1",
        "{{ $labels.stage }} fails repeatedly, and the gateway does not call it.",
    ),
    (
        "KairosNoReplica", "page", "2m", "sum by (application) (ray_serve_deployment_replica_healthy) == 0",
        "{{ $labels.application }} has no healthy replica.",
    ),
    (
        "KairosOverload", "page", "10m",
        "sum(rate(kairos_gateway_overload_refusals_total[5m])) / sum(rate(kairos_gateway_requests_total[5m])) > 0.01",
        "The gateways refuse calls that they could not answer in time.",
    ),
    (
        "KairosEventLoopHeld", "ticket", "5m",
        "sum by (kind) (increase(kairos_gateway_event_loop_long_steps_total[15m])) > 3",
        "Steps hold a gateway's event loop for more than 50 ms ({{ $labels.kind }}): every call waits for them.",
    ),
    (
        "KairosBackgroundFails", "ticket", "0m",
        "sum by (task) (increase(kairos_gateway_background_failures_total[15m])) > 0",
        "The background work {{ $labels.task }} of a gateway fails with an unexpected error, and starts again.",
    ),
    (
        "KairosAtMaximum", "ticket", "30m",
        "sum by (application) (ray_serve_replica_processing_queries)"
        " / sum by (application) (ray_serve_autoscaling_target_replicas)"
        " > 2 * max by (application) (ray_serve_autoscaling_target_ongoing_requests)",
        "{{ $labels.application }} has twice the target of calls per replica, and gets no more replicas.",
    ),
    (
        "KairosGuardrailsHold", "ticket", "15m",
        f"{_DECISIONS.format(where=_LASTING)} / {_DECISIONS.format(where='')} > 0.2"
        f" and {_DECISIONS.format(where='')} > 50",
        "Bounds hold more than a fifth of the prices that were decided in a day: the policy wants prices beyond them.",
    ),
    (
        "KairosPriceWar", "ticket", "0m", "sum(increase(kairos_price_publisher_price_wars_total[1d])) > 0",
        "A product and its competitors undercut one another: the computed price does not follow any more.",
    ),
    (
        "KairosPricesMoved", "ticket", "30m",
        'abs(sum(rate(kairos_gateway_offers_total{change!="none"}[1h])) / sum(rate(kairos_gateway_offers_total[1h]))'
        ' - sum(rate(kairos_gateway_offers_total{change!="none"}[1h] offset 1d))'
        " / sum(rate(kairos_gateway_offers_total[1h] offset 1d))) > 0.2",
        "A fifth more, or fewer, of the shown prices differ from the list price than a day ago.",
    ),
    (
        "KairosClicksFell", "ticket", "2h",
        'sum(rate(kairos_gateway_clicks_total{attribution!="none"}[6h]))'
        " / sum(rate(kairos_gateway_shown_items_total[6h]))"
        ' < 0.5 * sum(rate(kairos_gateway_clicks_total{attribution!="none"}[6h] offset 1w))'
        " / sum(rate(kairos_gateway_shown_items_total[6h] offset 1w))",
        "Shown products are clicked half as often as a week ago.",
    ),
    (
        # The last value of a day: a learner that is gone, or restarts repeatedly, is behind as well.
        "KairosLearnerBehind", "ticket", "15m",
        f"time() - max(max_over_time(kairos_learner_learned_up_to_timestamp_seconds[1d])) > {BEHIND_S}",
        "The learner is behind the log, hangs, or is gone: ranking continues without learning.",
    ),
    (
        # Nothing is reported where no shopper model has ever been live.
        "KairosShopperModelOld", "ticket", "1h",
        'time() - max(kairos_learner_live_version_made_timestamp_seconds{version=~"shopper/.*"}) > '
        f"{SHOPPER_MODEL_OLD_S}",
        "No newer shopper model has gone live for two weeks.",
    ),
    (
        # As above, of the price publisher.
        "KairosPricesBehind", "ticket", "5m",
        f"time() - max(max_over_time(kairos_price_publisher_up_to_date_timestamp_seconds[1d])) > {PRICES_BEHIND_S}",
        "The price publisher is behind, hangs, or is gone: markdowns are missing for prices that have changed since.",
    ),
    (
        "KairosPriceLearningBehind", "ticket", "15m",
        f"time() - max(max_over_time(kairos_price_learning_up_to_date_timestamp_seconds[1d])) > {BEHIND_S}",
        "The price publisher does not count what is shown and bought: prices do not learn from it.",
    ),
    (
        "KairosPricePoliciesRefused", "ticket", "5m",
        "min(kairos_price_publisher_policies_valid) == 0"
        " or sum(increase(kairos_price_publisher_refused_snapshots_total[1h])) > 0",
        "New price policies cannot be used: those before them stay in use.",
    ),
    (
        "KairosPriceReviewsFail", "ticket", "15m",
        "sum(increase(kairos_price_publisher_review_failures_total[1h])) > 5",
        "Changes of prices that a person must decide about do not reach control: these prices stay as they are.",
    ),
    (
        "KairosListPriceOnly", "ticket", "1h", "max(kairos_price_publisher_list_price_only) == 1",
        "Computed prices have been switched off for an hour: the shop's prices apply.",
    ),
    (
        # As of the price publisher.
        "KairosBillsBehind", "ticket", "5m",
        f"time() - max(max_over_time(kairos_biller_up_to_date_timestamp_seconds[1d])) > {BEHIND_S}",
        "Sponsored places are not billed: budgets end by what is shown, not by what is clicked.",
    ),
    (
        "KairosAdsOnNoBill", "ticket", "1h", "max(kairos_biller_unknown_campaign_impressions) > 0",
        "Ads were shown of campaigns that the biller does not know: their clicks are on no bill.",
    ),
    (
        # Every two seconds while control is down.
        "KairosBudgetsNotLeased", "ticket", "5m", "max(increase(ray_kairos_sponsored_lease_failures[15m])) > 60",
        "Replicas of sponsored get no leases of budgets from control: pages have no ads.",
    ),
    (
        "KairosFirstWordsLate", "ticket", "15m",
        "histogram_quantile(0.95, sum by (le) (rate(kairos_gateway_first_words_seconds_bucket[15m]))) "
        f"> {FIRST_WORDS_S}",
        "Shoppers wait too long for the first words of the assistant.",
    ),
    (
        # Of Redis' maxmemory, or of the disk of an SQLite file.
        "KairosStoreFull", "ticket", "10m",
        f"max(ray_kairos_ranker_store_used_bytes / ray_kairos_ranker_store_limit_bytes) > {FILLING}",
        "The ranker's store has used four fifths of its memory or disk. When it is full, it refuses events.",
    ),
    (
        # Exported by the kubelet: Redis, Qdrant, PostgreSQL and the embedded engines.
        "KairosDiskFilling", "ticket", "10m", f"{_DISK} > {FILLING}",
        "Four fifths of the disk {{ $labels.persistentvolumeclaim }} are in use.",
    ),
    (
        "KairosDiskFull", "page", "1m", f"{_DISK} > {FULL}",
        "The disk {{ $labels.persistentvolumeclaim }} is almost full; a full one stops its engine.",
    ),
    (
        # Exported by kube-state-metrics, as are the next two. A job's condition: its last try has failed.
        "KairosJobFailed", "ticket", "0m",
        f'max by (job_name) (kube_job_failed{{{_JOBS},condition="true"}} == 1'
        f" and on (namespace, job_name) time() - kube_job_created{{{_JOBS}}} < 86400)",
        "The job {{ $labels.job_name }} has failed.",
    ),
    (
        # From its creation on where a job has never succeeded.
        "KairosBackupOld", "page", "10m",
        f"time() - max by (cronjob) (kube_cronjob_status_last_successful_time{{{_BACKUPS}}}"
        f" or on (cronjob) kube_cronjob_created{{{_BACKUPS}}}) > {BACKUP_OLD_S}",
        "{{ $labels.cronjob }} has not succeeded for a day and a half.",
    ),
    (
        "KairosEngineDown", "page", "5m",
        f"max by (statefulset) (kube_statefulset_replicas{{{_ENGINES}}}"
        f" - on (namespace, statefulset) kube_statefulset_status_replicas_ready{{{_ENGINES}}}) > 0",
        "{{ $labels.statefulset }} lacks a ready pod.",
    ),
    (
        "KairosControlDown", "ticket", "5m",
        "min(kairos_control_database_up) == 0",
        "Control cannot use its database: nothing can be changed. What is published stays effective.",
    ),
    (
        # Both have the tenant as a label. A gateway that has never had a snapshot of the tenant is not among them.
        "KairosSnapshotBehind", "ticket", "5m",
        "max by (tenant) (kairos_control_snapshot_version)"
        " - on (tenant) min by (tenant) (kairos_gateway_snapshot_version) > 0",
        "A gateway does not follow what control publishes for the tenant {{ $labels.tenant }}.",
    ),
    (
        "KairosAuditNotArchived", "ticket", "10m",
        "sum(increase(kairos_control_audit_archive_failures_total[1h])) > 5",
        "Control cannot archive the audit: it stays in the database, which grows.",
    ),
    (
        # Entries that were recorded a second time are usual after a restart, not all the time.
        "KairosAuditRepeated", "ticket", "1h",
        "sum(rate(kairos_control_audit_duplicates_total[30m])) > sum(rate(kairos_control_audit_entries_total[30m]))",
        "Most audit entries come a second time: a service does not get the answers of control.",
    ),
    (
        # Of quotes: replicas share an outbox, and each exports the same. Of decisions: the price publisher's.
        "KairosOutboxWaits", "ticket", "5m",
        "max(ray_kairos_pricing_outbox_oldest_age_seconds or kairos_price_publisher_outbox_oldest_age_seconds)"
        f" > {OUTBOX_WAITS_S}",
        "Quotes, or decisions about prices, are not delivered to control. They wait in an outbox; prices are quoted.",
    ),
    (
        "KairosOutboxFull", "page", "1m",
        f"max(ray_kairos_pricing_outbox_fill_ratio or kairos_price_publisher_outbox_fill_ratio) > {FILLING}",
        "An outbox is four fifths full: control takes no entries. When it is full, no price is quoted or published.",
    ),
    (
        # Exported by redis_exporter.
        "KairosRedisNotSaved", "page", "1m",
        "min(redis_aof_last_write_status) == 0 or min(redis_aof_last_bgrewrite_status) == 0",
        "Redis cannot write its append-only file: it refuses events, or its file grows until the disk is full.",
    ),
    (
        # Exported by Qdrant: of any shard, on the nodes that answer.
        "KairosQdrantReplicaDead", "page", "10m", "max(collection_dead_replicas) > 0",
        "A replica of a shard is not active: one more lost node, and products are missing.",
    ),
    (
        "KairosNotKeptWithinBounds", "ticket", "10m", "sum(increase(ray_kairos_ranker_upkeep_failures[1h])) > 5",
        "Logs of the ranker are not kept within their bounds, and grow.",
    ),
    (
        "KairosRankingsDropped", "ticket", "10m", "sum(increase(ray_kairos_ranker_rankings_dropped[15m])) > 0",
        "The ranker's store is too slow: rankings are dropped, and with them later pages and impressions.",
    ),
)  # fmt: skip


def anchor(alert: str) -> str:
    """The anchor of its heading in docs/how-to/runbook.md, as GitHub makes it."""
    return alert.lower()


def rule_groups() -> dict[str, Any]:
    """A Prometheus rules file."""
    recorded = [
        {"record": slo.series(window), "expr": _ratio(slo, window)} for slo in SLOS for window in WINDOWS
    ]  # fmt: skip
    burning = [
        {
            "alert": slo.alert,
            "expr": " and ".join(f"{slo.series(w)} > {burn} * {round(1 - slo.objective, 6)}" for w in (long, short)),
            "labels": {"severity": severity, "window": long},
            "annotations": _annotations(slo.alert, f"{slo.summary} The objective is {slo.objective:.1%} good events."),
        }
        for slo in SLOS
        for severity, burn, long, short in BURNS
    ]
    conditions = [
        {
            "alert": alert,
            "expr": expression,
            "for": patience,
            "labels": {"severity": severity},
            "annotations": _annotations(alert, summary),
        }
        for alert, severity, patience, expression, summary in CONDITIONS
    ]
    groups = {"kairos-slo-ratios": recorded, "kairos-slo-burns": burning, "kairos-conditions": conditions}
    return {"groups": [{"name": name, "rules": rules} for name, rules in groups.items()]}


def prometheus_rule() -> dict[str, Any]:
    """The same for the Prometheus operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "kairos"},
        "spec": rule_groups(),
    }


def _ratio(slo: Slo, window: str) -> str:
    # `bad or 0`: before the first bad event its series does not exist, and the ratio must be 0.
    bad, total = slo.bad.replace("{window}", window), slo.all.replace("{window}", window)
    return f"(({bad}) or vector(0)) / ({total})"


def _annotations(alert: str, summary: str) -> dict[str, str]:
    return {"summary": summary, "runbook_url": f"{RUNBOOK}#{anchor(alert)}"}
