"""Builds the biller from its settings, and runs it."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from services.common.periodic import Periodic
from services.common.published import PublishedSnapshots
from services.common.telemetry import configure_telemetry
from services.sponsored.accounts import AccountRules, Accounts
from services.sponsored.adapters.sqlite_ledger import SqliteLedger
from services.sponsored.biller.biller import Biller
from services.sponsored.biller.campaigns import FollowedCampaigns
from services.sponsored.biller.consumer import LogConsumer
from services.sponsored.biller.grpc_bills import GrpcBillBook
from services.sponsored.biller.grpc_gateway import GrpcShopGateway
from services.sponsored.biller.metrics import BillerMetrics
from services.sponsored.biller.settings import BillerSettings
from services.sponsored.campaigns import WATCHED
from services.sponsored.domain.invalid_clicks import ClickRules


def run(settings: BillerSettings, stop: threading.Event) -> None:
    """Until `stop`. Raises ValueError if another biller uses the folder, or if the port of the metrics is taken."""
    configure_telemetry("biller", settings.telemetry)
    metrics = BillerMetrics()
    metrics.serve(settings.metrics)
    with billing(settings, metrics, time.time) as biller:
        turns = Periodic("billing", biller.turn, settings.poll_s)
        turns.wake()
        stop.wait()
        turns.close()


@contextmanager
def billing(settings: BillerSettings, metrics: BillerMetrics, clock: Callable[[], float]) -> Iterator[Biller]:
    """It follows control until the end of the context. Raises ValueError if another biller uses the folder."""
    tenant, rules = settings.tenant, AccountRules(**settings.accounts.model_dump())
    with (
        _alone(settings.data_dir),
        closing(SqliteLedger(settings.data_dir)) as ledger,
        closing(GrpcShopGateway(settings.gateway, ledger.person)) as gateway,
        closing(GrpcBillBook(settings.control, tenant)) as book,
    ):
        campaigns = FollowedCampaigns(ledger, tenant, clock)
        published = PublishedSnapshots(settings.control, WATCHED, [campaigns.prepare], metrics.published)
        published.load()
        accounts = Accounts(ledger, ledger.campaigns, rules, ClickRules(**settings.clicks.model_dump()), clock)
        consumer = LogConsumer(gateway, ledger, tenant, metrics)
        with closing(published.follow_in_thread()):
            yield Biller(consumer, accounts, gateway, book, campaigns, metrics, settings.upkeep_s, clock)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another biller uses {folder}; stop it, or give this one a data_dir of its own") from None
        yield
