"""The part of the demo that learns: events of simulated shoppers, a small `kairos train`, an order before and after."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.tour import TourFailed
from demo.catalogue import DemoProduct
from demo.loading import load_events
from demo.shoppers import build_shoppers
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.settings import SuiteSettings
from services.common.context import DEFAULT_TENANT
from services.common.settings import load_settings
from services.ranker.settings import RankerSettings

# With fewer shoppers the weights of the weighted sum are not fitted.
SHOPPERS, DAYS = 400, 21
# Of these many shoppers, the one whose order changes most is shown.
_LOOKED_AT, _SHOWN = 12, 8
_BUDGET_S = 2.0


def show_training(
    connection: Connection, console: Console, settings: SuiteSettings, folder: Path, products: Sequence[DemoProduct]
) -> None:
    """Raises TourFailed, RowsRejected or grpc.RpcError. `folder` takes the files."""
    # Imported here: they import torch.
    from training.suite.outcome import Result
    from training.suite.progress import Progress
    from training.suite.run import Suite, run
    from training.suite.settings import settings_for
    from training.suite.work import WorkFolder

    _title(console, f"Three weeks of {SHOPPERS} simulated shoppers are imported")
    users = load_events(connection, folder, products, SHOPPERS, DAYS)
    likes = {shopper.id: shopper.shelves for shopper in build_shoppers(list(products), SHOPPERS)}
    before = {user: _recommended(connection, user) for user in users[:_LOOKED_AT]}
    _title(console, "kairos train --small: the shopper model learns from these events")
    models = settings.data_dir.resolve() / "ranker" / "models"
    suite = Suite(connection, models, DEFAULT_TENANT, load_settings(RankerSettings).serving_weights)
    with Progress(console).shown() as bar:
        (outcome,) = run(suite, WorkFolder(folder / "train"), settings_for(small=True), bar, ["shopper"])
    figures = ", ".join(f"{name} {value:.3f}" for name, value in outcome.figures.items() if name != "cases")
    console.print(f"  {outcome.name} {outcome.result.value}: {escape(outcome.reason)}\n  [dim]{escape(figures)}")
    # A version that an earlier demo in the same folder has trained may still be on trial, or be better.
    if outcome.name.endswith("/0001") and outcome.result not in (Result.PROMOTED, Result.SHADOW, Result.SKIPPED):
        raise TourFailed(f"the shopper model was {outcome.result.value}: {outcome.reason}")
    is_live = outcome.result is Result.PROMOTED
    after = _after(connection, before) if is_live else {user: _recommended(connection, user) for user in before}
    user = max(before, key=lambda user: len(set(after[user]) - set(before[user])))
    liked = ", ".join(path[-1] for path in likes[user])
    _title(console, f"Recommendations for {user}, who likes {liked}: before and after the training")
    table = Table("", "before", "after", box=None, pad_edge=False)
    for place, (old, new) in enumerate(zip(before[user], after[user], strict=False), 1):
        table.add_row(str(place), escape(old), escape(new))
    console.print(table)
    if is_live and before == after:
        raise TourFailed("the order did not change after the training")


def _after(connection: Connection, before: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The ranker reads its registry every second: waits until an order is another one, at most ten seconds."""
    for _ in range(10):
        time.sleep(1.0)
        after = {user: _recommended(connection, user) for user in before}
        if after != before:
            break
    return after


def _recommended(connection: Connection, user: str) -> list[str]:
    """Title and shelf of each product."""
    with connection.stub() as stub:
        message = gateway_pb2.RecommendRequest(user_id=user, page_size=_SHOWN)
        answer = stub.Recommend(message, timeout=_BUDGET_S, metadata=connection.metadata)
    return [f"{result.product.title} ({result.product.category_path[-1]})" for result in answer.results]


def _title(console: Console, text: str) -> None:
    console.print(f"\n[bold cyan]{escape(text)}")
