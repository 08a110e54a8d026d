"""Publishes computed prices through the gateway, and counts what was shown and bought, until it is stopped (SIGTERM,
SIGINT).

docs/explanation/pricing.md describes the work, docs/reference/metrics.md its metrics. Settings:
KAIROS_PRICE_PUBLISHER_*, and KAIROS_PRICING_* for the rules and guardrails, as pricing itself reads them.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time

from services.common.errors import InvalidArgument
from services.common.settings import load_settings
from services.common.telemetry import configure_telemetry
from services.pricing.learning.prices import LearnedPrices, seed_of
from services.pricing.learning.settings import LEARNING_FOLDER
from services.pricing.learning.sqlite_table import demand_table
from services.pricing.learning.wiring import learning
from services.pricing.policies import FollowedPolicies
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.grpc_reviews import GrpcReviews
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.outbox_record import recording
from services.pricing.publisher.settings import OUTBOX_FOLDER, PricePublisherSettings
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher, run
from services.pricing.settings import PricingSettings


def main() -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    argparse.ArgumentParser("python -m services.pricing", description=__doc__).parse_args()
    try:
        publish(load_settings(PricePublisherSettings), load_settings(PricingSettings), stop)
    except (InvalidArgument, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def publish(settings: PricePublisherSettings, pricing: PricingSettings, stop: threading.Event) -> None:
    """Until `stop`. Raises ValueError if another publisher uses the folder, or if the port of the metrics is taken."""
    configure_telemetry("price_publisher", settings.telemetry)
    metrics = PublisherMetrics()
    with (
        contextlib.closing(SqlitePublisherState(settings.data_dir)) as state,
        contextlib.closing(GrpcShopGateway(settings.gateway)) as gateway,
        contextlib.closing(GrpcReviews(settings.control, settings.tenant)) as reviews,
        recording(settings.outbox, settings.record, settings.tenant, settings.data_dir / OUTBOX_FOLDER) as record,
        learning(settings.learning, settings.data_dir / LEARNING_FOLDER, settings.gateway, metrics.registry),
        contextlib.closing(
            FollowedPolicies(
                pricing, settings.control, metrics.published, reviews.prepare, learned=learned_prices(settings)
            )
        ) as policies,
    ):
        metrics.policies_valid.set_function(lambda: policies.are_valid)
        if record is not None:
            metrics.outbox_fill.set_function(record.fill_ratio)
            metrics.outbox_age.set_function(record.oldest_age_s)
        metrics.serve(settings.metrics)
        publisher = PricePublisher(
            gateway,
            state,
            lambda: policies.of(settings.tenant),
            metrics,
            time.time,
            reviews if settings.control.target else None,
            record,
            settings.learning.competitor_days,
        )
        run(publisher, metrics, settings.poll_s, stop)


def learned_prices(settings: PricePublisherSettings) -> LearnedPrices | None:
    """None if the log is not read."""
    if not settings.learning.enabled:
        return None
    folder = settings.data_dir / LEARNING_FOLDER
    return LearnedPrices(lambda: demand_table(settings.learning, folder), settings.tenant, seed_of(folder))


if __name__ == "__main__":
    sys.exit(main())
