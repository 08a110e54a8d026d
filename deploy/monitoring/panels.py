"""Grafana dashboards: one for the shop, and one each for the gateway, each stage, the learner and control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.monitoring.slos import BEHIND_S, FILLING, FIRST_WORDS_S, OUTBOX_WAITS_S, PRICES_BEHIND_S, SLOS

STAGES = ("query_encoder", "retrieval", "ranker", "sponsored", "pricing", "assistant")
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """`queries`: the legend of each line (Grafana's {{label}}) and its expression. `unit`: a name of Grafana."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    description: str = ""
    # A dashed line, for example a budget.
    limit: float | None = None


def _rate(metric: str, by: str = "", where: str = "") -> str:
    grouped = f"sum by ({by})" if by else "sum"
    selector = f"{{{where}}}" if where else ""
    return f"{grouped} (rate({metric}{selector}[5m]))"


def _count(metric: str, by: str, window: str) -> str:
    return f"sum by ({by}) (increase({metric}[{window}]))"


def _day(metric: str) -> str:
    return f"sum (increase({metric}[1d]))"


def _expected(at: str) -> str:
    return f'sum by (currency) (increase(kairos_price_publisher_expected_profit_total{{at="{at}"}}[1d]))'


def _share(part: str, where: str, whole: str, whole_where: str = "") -> str:
    return f"{_rate(part, where=where)} / {_rate(whole, where=whole_where)}"


def _quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', f'le, {by}' if by else 'le', where)})"


# The drift that the learner detects: a row of the shop's dashboard and of the learner's.
_DRIFT = (
    Panel(
        "Drifts detected in an hour", {"{{measure}}": _count("kairos_learner_drifts_total", "measure", "1h")},
        description="By the learner, if one runs: ADWIN found a change of the log loss of its predictions or of the"
        " click rate.",
    ),
    Panel(
        "Log loss and click rate, now and before the last drift",
        {"{{measure}} {{window}}": "max by (measure, window) (kairos_learner_window_mean)"},
        description="Means over impressions. now: since the last drift, or since the learner started.",
    ),
)  # fmt: skip

SHOP = (
    Panel("Requests", {"{{method}}": _rate("kairos_gateway_requests_total", "method")}, "reqps"),
    Panel(
        "p99 against the budget", {"{{method}}": _quantile(0.99, "kairos_gateway_budget_used", "method")},
        "percentunit", "1 is the whole time that the caller gave.", limit=1.0,
    ),
    Panel(
        "Degraded answers, by stage and reason",
        {"{{stage}}: {{reason}}": _rate("kairos_gateway_degradations_total", "stage, reason")}, "reqps",
    ),
    Panel(
        "Burn rate of error budgets", {slo.name: f"{slo.series('1h')} / {round(1 - slo.objective, 6)}" for slo in SLOS},
        "short", "1 burns a month's budget in a month; above 14.4 an alert pages.", limit=14.4,
    ),
    Panel(
        "Later pages of stored rankings",
        {
            "not recomputed": _share(
                "kairos_gateway_later_pages_total", 'ranking=~"stored|browsed"', "kairos_gateway_later_pages_total"
            )
        },
        "percentunit", "The other rankings were recomputed: the pages of one search may then overlap.",
    ),
    Panel(
        "Clicks on shown products",
        {
            "CTR": _share("kairos_gateway_clicks_total", 'attribution!="none"', "kairos_gateway_shown_items_total")
        },
        "percentunit", "Clicks with an attribution token, divided by the products on answered pages.",
    ),
    Panel(
        "NDCG by clicks",
        {
            "NDCG": _share(
                "kairos_gateway_click_gain_total", "", "kairos_gateway_clicks_total", 'attribution="located"'
            )
        },
        "percentunit", "With the clicked product as the only relevant one: 1 / log2(1 + position). Clicks favour high"
        " positions, so compare it only with its own past.",
    ),
    Panel(
        "Prices that differ from the list price",
        {
            "{{change}}": _rate("kairos_gateway_offers_total", "change", 'change!="none"')
            + " / on () group_left () "
            + _rate("kairos_gateway_offers_total")
        },
        "percentunit",
    ),
    Panel("Events", {"{{type}}": _rate("kairos_gateway_events_total", "type")}, "cps"),
    Panel(
        "Searches in an unknown language, without results or without a good match",
        {
            "language unknown": _share(
                "kairos_gateway_degradations_total", 'reason="DEGRADATION_REASON_UNKNOWN_LANGUAGE"',
                "kairos_gateway_requests_total", 'method="Search"',
            ),
            "nothing found": _share(
                "kairos_gateway_empty_searches_total", "", "kairos_gateway_requests_total", 'method="Search"'
            ),
            "no good match": _share(
                "kairos_gateway_no_good_matches_total", "", "kairos_gateway_requests_total", 'method="Search"'
            ),
        },
        "percentunit", "Of all searches. If it changes, shoppers search for other things than before.",
    ),
    *_DRIFT,
    Panel(
        "Recommendations by source", {"{{source}}": _rate("kairos_gateway_recommendations_total", "source")}, "reqps",
    ),
)  # fmt: skip

_OWN_LIMITER = 'limiter="gateway"'

GATEWAY = (
    Panel("Calls", {"{{method}} {{code}}": _rate("kairos_gateway_requests_total", "method, code")}, "reqps"),
    Panel(
        "Time of calls",
        {
            f"p{round(100 * share)} {{{{method}}}}": _quantile(share, "kairos_gateway_request_seconds", "method")
            for share in (0.5, 0.99)
        },
        "s",
    ),
    Panel(
        "Calls of shoppers in progress, waiting, and admitted at once",
        {
            "in progress": f"sum (kairos_gateway_limiter_in_flight{{{_OWN_LIMITER}}})",
            "waiting": f"sum (kairos_gateway_limiter_waiting{{{_OWN_LIMITER}}})",
            "admitted": f"sum (kairos_gateway_concurrency_limit{{{_OWN_LIMITER}}})",
        },
    ),
    Panel(
        "Refused because the gateway is full",
        {"{{method}}": _rate("kairos_gateway_overload_refusals_total", "method")}, "reqps",
    ),
    Panel(
        "Time of stages, p99", {"{{stage}}": _quantile(0.99, "kairos_gateway_stage_seconds", "stage")}, "s",
    ),
    Panel("Stages with an open circuit", {"{{stage}}": "max by (stage) (kairos_gateway_circuit_open)"}),
    Panel("Degraded answers", {"{{method}}": _rate("kairos_gateway_degraded_answers_total", "method")}, "reqps"),
    Panel(
        "Refused by quota",
        {"{{tenant}} {{quota}}": _rate("kairos_gateway_quota_refusals_total", "tenant, quota")}, "reqps",
        "Not among the calls: these are refused before they are received.",
    ),
    Panel(
        "Event loop: timers late, p99", {"p99": _quantile(0.99, "kairos_gateway_event_loop_lag_seconds")}, "s",
        "What each step of a call waits for its turn.",
    ),
    Panel(
        "Event loop: steps above 50 ms, in 15 minutes",
        {"{{kind}}": _count("kairos_gateway_event_loop_long_steps_total", "kind", "15m")},
    ),
    Panel(
        "Failures of background work, in 15 minutes",
        {"{{task}}": _count("kairos_gateway_background_failures_total", "task", "15m")},
    ),
    Panel("Impressions lost", {"pages": _rate("kairos_gateway_impressions_dropped_total")}, "cps"),
    Panel("Imports", {"{{outcome}}": _rate("kairos_gateway_imported_products_total", "outcome")}, "cps"),
)  # fmt: skip


def _stage(stage: str) -> tuple[Panel, ...]:
    """The gateway's measurements of the stage, and Ray Serve's of its replicas."""
    ours, rays, limiters = f'stage="{stage}"', f'application="{stage}"', f'limiter=~"{stage}[.].*"'
    return (
        Panel("Outcomes", {"{{outcome}}": _rate("kairos_gateway_stage_calls_total", "outcome", ours)}, "reqps"),
        Panel(
            "Time, measured by the gateway",
            {
                f"p{round(100 * share)}": _quantile(share, "kairos_gateway_stage_seconds", where=ours)
                for share in (0.5, 0.99)
            },
            "s",
        ),
        Panel("Skipped", {"{{reason}}": _rate("kairos_gateway_degradations_total", "reason", ours)}, "reqps"),
        Panel(
            "In progress, and limit, by method",
            {
                "{{limiter}}": f"sum by (limiter) (kairos_gateway_limiter_in_flight{{{limiters}}})",
                "{{limiter}}: limit": f"sum by (limiter) (kairos_gateway_concurrency_limit{{{limiters}}})",
            },
        ),
        Panel(
            "Time without load",
            {"{{limiter}}": f"max by (limiter) (kairos_gateway_base_latency_seconds{{{limiters}}})"}, "s",
            "The median that limits and budgets compare with.",
        ),
        Panel("Circuit open", {"circuit": f"max (kairos_gateway_circuit_open{{{ours}}})"}),
        Panel(
            "Replicas",
            {
                "healthy": f"sum (ray_serve_deployment_replica_healthy{{{rays}}})",
                "wanted": f"sum (ray_serve_autoscaling_target_replicas{{{rays}}})",
            },
        ),
        Panel(
            "Calls at the replicas",
            {"all": f"sum (ray_serve_replica_processing_queries{{{rays}}})"},
            description="Autoscaling compares this, divided by the replicas, with its target.",
        ),
        Panel(
            "Time in the replicas, p99",
            {"p99": _quantile(0.99, "ray_serve_deployment_processing_latency_ms", where=rays)}, "ms",
        ),
        *_OWN[stage],
    )  # fmt: skip


def _cache(stage: str) -> Panel:
    """The shares of requests that are not computed. Ray's gauges of them are counts."""
    rates = {outcome: _rate(f"ray_kairos_{stage}_cache_{outcome}") for outcome in ("hits", "shared", "misses")}
    return Panel(
        "Answered from the cache",
        {outcome: f"{rates[outcome]} / ({' + '.join(rates.values())})" for outcome in ("hits", "shared")},
        "percentunit", "hits: kept answers. shared: answers of identical requests in flight.",
    )  # fmt: skip


_OWN: dict[str, tuple[Panel, ...]] = {
    "assistant": (
        Panel(
            "Time until the first words",
            {
                "p50": _quantile(0.5, "kairos_gateway_first_words_seconds"),
                "p95": _quantile(0.95, "kairos_gateway_first_words_seconds"),
            },
            "s",
            limit=FIRST_WORDS_S,
        ),
        Panel("Turns that are being answered", {"turns": "sum (kairos_gateway_conversations)"}),
        Panel(
            "Turns",
            {
                "answered": _rate("ray_kairos_assistant_turns"),
                "degraded": _rate("ray_kairos_assistant_degraded_turns"),
                "declined": _rate("ray_kairos_assistant_declined_turns"),
                "not stored": _rate("ray_kairos_assistant_unstored_turns"),
            },
            "cps",
            "Not stored: turns of shoppers without an id, too.",
        ),
        Panel(
            "Statements of the language model that were removed",
            {"statements": _rate("ray_kairos_assistant_removed_statements")},
            "cps",
            "No fact of the turn supports them. Many: the model or its prompt is wrong for this shop.",
        ),
    ),
    "query_encoder": (_cache("query_encoder"),),
    "retrieval": (
        _cache("retrieval"),
        Panel("Imports", {"{{outcome}}": _rate("kairos_gateway_imported_products_total", "outcome")}, "cps"),
    ),
    "ranker": (
        Panel("Events", {"{{type}}": _rate("kairos_gateway_events_total", "type")}, "cps"),
        Panel("Impressions lost", {"pages": _rate("kairos_gateway_impressions_dropped_total")}, "cps"),
    ),
    "sponsored": (
        Panel(
            "Sponsored products on answered pages", {"products": _rate("kairos_gateway_sponsored_items_total")}, "cps"
        ),
        Panel(
            "Requests for ads, and places that ads were given",
            {
                "requests": _rate("ray_kairos_sponsored_requests"),
                "places": _rate("ray_kairos_sponsored_places"),
            },
            "cps",
            "Far fewer places than before: budgets are spent, leases fail, or fewer ads are relevant enough.",
        ),
        Panel(
            "Leases of budgets that failed, in 15 minutes",
            {"a replica": "max (increase(ray_kairos_sponsored_lease_failures[15m]))"},
            description="While control is down, ads end with their leases.",
        ),
        Panel(
            "Bills behind",
            {"biller": "time() - max (kairos_biller_up_to_date_timestamp_seconds > 0)"},
            "s",
            "Every older click is on a bill in control. Some seconds are normal.",
            limit=BEHIND_S,
        ),
        Panel("Bills recorded", {"changes": _rate("kairos_biller_bills_total")}, "cps"),
        Panel("Ads on no bill", {"campaign is not known": "max (kairos_biller_unknown_campaign_impressions)"}),
        Panel("Size of the ledger", {"disk": "max (kairos_biller_ledger_bytes)"}, "bytes"),
    ),
    "pricing": (
        Panel("Offers, by reason", {"{{reason}}": _rate("kairos_gateway_offers_total", "reason")}, "cps"),
        Panel(
            "Published prices behind",
            {"publisher": "time() - max (kairos_price_publisher_up_to_date_timestamp_seconds > 0)"},
            "s",
            "Every older change of products and offers is in the published prices. A few seconds are normal.",
            limit=PRICES_BEHIND_S,
        ),
        Panel(
            "Price learning behind",
            {"publisher": "time() - max (kairos_price_learning_up_to_date_timestamp_seconds > 0)"},
            "s",
            "Every older record of the log is counted. Some seconds are normal.",
            limit=BEHIND_S,
        ),
        Panel(
            "Pieces bought of which no impression is known",
            {"share": "max (kairos_price_learning_unjoined_share)"},
            "percentunit",
            "They count at the price of their time. Send quote ids, attribution tokens, or the same ids of persons.",
        ),
        Panel(
            "Oldest entry in the outbox",
            {
                "pricing": "max (ray_kairos_pricing_outbox_oldest_age_seconds)",
                "price publisher": "max (kairos_price_publisher_outbox_oldest_age_seconds)",
            },
            "s",
            "Quotes and decisions wait there until control has them. About a second is normal.",
            limit=OUTBOX_WAITS_S,
        ),
        Panel(
            "Outbox, full at 100 %",
            {
                "pricing": "max (ray_kairos_pricing_outbox_fill_ratio)",
                "price publisher": "max (kairos_price_publisher_outbox_fill_ratio)",
            },
            "percentunit",
            "A full outbox refuses quotes; without room for decisions no price is published.",
            limit=FILLING,
        ),
        Panel(
            "Quotes delivered",
            {
                "entries": _rate("ray_kairos_pricing_outbox_delivered_entries"),
                "failures": _rate("ray_kairos_pricing_outbox_delivery_failures"),
            },
            "cps",
        ),
        Panel(
            "Prices published and withdrawn",
            {
                "{{kind}}": _rate("kairos_price_publisher_changes_total", "kind"),
                "rejected": _rate("kairos_price_publisher_rejected_total"),
            },
            "cps",
        ),
        Panel(
            "Decisions in a day, by the guardrail that held them",
            {"{{guardrail}}": _count("kairos_price_publisher_decisions_total", "guardrail", "1d")},
            "short",
            "`none`: as the policy wanted it. `kairos price explain QUOTE` explains one.",
        ),
        Panel(
            "Decided prices in a day, as shares of the list price",
            {
                "mean": f"{_day('kairos_price_publisher_price_ratio_sum')}"
                f" / {_day('kairos_price_publisher_price_ratio_count')}",
                **{
                    f"{round(100 * share)} %": f"histogram_quantile({share},"
                    f" {_count('kairos_price_publisher_price_ratio_bucket', 'le', '1d')})"
                    for share in (0.1, 0.9)
                },
            },
            "percentunit",
        ),
        Panel(
            "Expected profit in a day, as a share of that at list prices",
            {
                f"{name}, {{{{currency}}}}": f"{_expected(at)} / {_expected('list_price')}"
                for name, at in (("decided prices", "price"), ("best prices", "best_price"))
            },
            "percentunit",
            "Of prices that learned policies have decided, by what they know of the demand.",
            limit=1.0,
        ),
        Panel(
            "Regret in a day",
            {"{{currency}}": f"{_expected('best_price')} - {_expected('price')}"},
            "short",
            "Expected profit at the best prices that the guardrails allow, less that at the decided ones: what trying"
            " prices costs. It falls as the demand becomes known.",
        ),
        Panel(
            "Price wars that were ended",
            {"in a day": "sum (increase(kairos_price_publisher_price_wars_total[1d]))"},
            "short",
        ),
        Panel(
            "Changes that wait for a decision",
            {"changes": "max (kairos_price_publisher_waiting_reviews)"},
            "short",
            "`kairos reviews list` shows them. Their prices stay until then.",
        ),
    ),
}

LEARNER = (
    Panel(
        "Behind the log", {"learner": "time() - max (kairos_learner_learned_up_to_timestamp_seconds > 0)"}, "s",
        "The learner has learned and stored all older events. Up to a minute is normal"
        " (KAIROS_LEARNER_TRAINING__CHECKPOINT_S).", limit=BEHIND_S,
    ),
    Panel(
        "Pages and updates",
        {"pages": _rate("kairos_learner_pages_total"), "updates": _rate("kairos_learner_updates_total")},
        "cps",
    ),
    *_DRIFT,
    Panel(
        "Steps of versions in a day", {"{{step}}": _count("kairos_learner_steps_total", "step", "1d")},
        description="Proposed, then refused, or on to shadow, share, promoted, settled; or rolled back.",
    ),
    Panel(
        "Age of the live version",
        {"{{version}}": "time() - max by (version) (kairos_learner_live_version_made_timestamp_seconds)"}, "s",
        "Without a version the scoring function of the settings ranks.",
    ),
)  # fmt: skip


CONTROL = (
    Panel("Calls", {"{{method}} {{code}}": _rate("kairos_control_requests_total", "method, code")}, "reqps"),
    Panel(
        "Time of calls, 99 %", {"{{method}}": _quantile(0.99, "kairos_control_request_seconds", "method")}, "s",
        "A publish checks everything that would be effective: with thousands of rules it takes a second.",
    ),
    Panel(
        "Snapshots", {
            "{{tenant}}, published": "max by (tenant) (kairos_control_snapshot_version)",
            "{{tenant}}, oldest of a gateway": "min by (tenant) (kairos_gateway_snapshot_version)",
        },
        description="The lines of a tenant differ for less than a second.",
    ),
    Panel(
        "Watching", {
            "streams": "sum (kairos_control_watchers)",
            "gateways connected": "sum (kairos_gateway_control_connected)",
            "snapshots refused": _rate("kairos_gateway_refused_snapshots_total"),
        },
    ),
    Panel("Database", {"up": "min (kairos_control_database_up)"}),
    Panel(
        "Audit entries", {
            "stored": _rate("kairos_control_audit_entries_total"),
            "stored already": _rate("kairos_control_audit_duplicates_total"),
            "archived": _rate("kairos_control_audit_archived_entries_total"),
            "failures of the archive": _rate("kairos_control_audit_archive_failures_total"),
        },
        "cps",
    ),
    Panel("Audit entries in the database", {"entries": "max (kairos_control_audit_online_entries)"}),
    Panel(
        "Size of the audit", {
            "database": "max (kairos_control_audit_online_bytes)",
            "archive on this disk": "max (kairos_control_audit_archive_bytes)",
        },
        "bytes",
    ),
)  # fmt: skip


def dashboards() -> dict[str, dict[str, Any]]:
    """By the name of their files."""
    panels = {
        "shop": SHOP,
        "gateway": GATEWAY,
        **{stage: _stage(stage) for stage in STAGES},
        "learner": LEARNER,
        "control": CONTROL,
    }
    return {name: _dashboard(name, each) for name, each in panels.items()}


def _dashboard(name: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    return {
        "uid": f"kairos-{name.replace('_', '-')}",
        "title": f"Kairos: {name}",
        "tags": ["kairos"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    custom = {"fillOpacity": 10, "thresholdsStyle": {"mode": "off" if panel.limit is None else "dashed"}}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": {
            "x": number % _COLUMNS * _WIDTH, "y": number // _COLUMNS * _HEIGHT, "w": _WIDTH, "h": _HEIGHT,
        },
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit, "min": 0, "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend, "datasource": source}
            for place, (legend, expression) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip
